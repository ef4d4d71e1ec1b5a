"""What can be checked of the transport without a broker; the rest is in tests/integration."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from services.adapters.batch_transport import _Fetched, foreign_names, to_batch, verify_private_names
from services.adapters.ports import Refused


def test_the_installed_faust_and_aiokafka_fit() -> None:
    assert foreign_names() == []


def test_a_changed_signature_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def changed(self: object, consumer: object) -> None: ...

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", changed)
    with pytest.raises(Refused, match=r"AIOKafkaConsumerThread\._fetch_records"):
        verify_private_names()


def test_a_name_that_is_gone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(AIOKafkaConsumerThread, "_create_worker_consumer")
    with pytest.raises(Refused, match="_create_worker_consumer"):
        verify_private_names()


def test_a_batch_says_which_offsets_it_covers() -> None:
    raw = [SimpleNamespace(offset=o, timestamp=5, key=b"k", value=v) for o, v in ((3, b"x"), (7, None))]
    batch = to_batch("fills", 2, _Fetched(1, 3, 9, raw))
    assert (batch.start, batch.end) == (3, 9)
    assert [(r.topic, r.partition, r.offset, r.value) for r in batch.records] == [
        ("fills", 2, 3, b"x"),
        ("fills", 2, 7, b""),
    ]
