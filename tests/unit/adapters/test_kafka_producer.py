"""Producers whose broker has no room: what they say, and that none stays behind."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from aiokafka.errors import KafkaTimeoutError

from services.adapters import kafka_snapshots
from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_producer import KafkaProducer
from services.adapters.kafka_snapshots import KafkaSnapshots
from services.adapters.ports import Outgoing, Unreachable

NOWHERE = KafkaConnection(bootstrap="127.0.0.1:1")


async def test_a_broker_that_takes_nothing_is_unreachable() -> None:
    """Else the error ends the worker in the place of its producer."""
    producer = KafkaProducer(NOWHERE)
    producer._producer = cast("Any", AsyncMock())
    cast("Any", producer._producer).send.side_effect = KafkaTimeoutError()
    with pytest.raises(Unreachable):
        await producer.send([Outgoing("fills", 0, b"k", b"v")])


@pytest.mark.parametrize("error", [Unreachable("no room"), asyncio.CancelledError()])
async def test_a_snapshot_that_ends_early_leaves_no_producer_behind(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    producer = AsyncMock()
    producer.send.side_effect = error
    monkeypatch.setattr(kafka_snapshots, "KafkaProducer", lambda _: producer)
    with pytest.raises(type(error)):
        await KafkaSnapshots(NOWHERE, "snapshots").write(0, [(b"a/", b"row")])
    producer.abandon.assert_awaited_once()
    producer.close.assert_not_awaited()
