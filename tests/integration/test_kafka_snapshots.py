"""Snapshots on the real broker: what was written comes back, and the newest whole one of it is found."""

from __future__ import annotations

import pytest

from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_snapshots import KafkaSnapshots
from services.adapters.ports import Stored, Unreachable
from services.liquidator.recovery import encode_snapshot, newest_snapshot
from tests.support.kafka import KafkaServer, create_topics
from tests.support.process import free_port

ROWS = 1_500  # more than one chunk


def stored(at: int) -> Stored:
    rows = [(f"a-{number}|main", f"{at}:{number}".encode()) for number in range(ROWS)]
    return Stored(epoch=at, claim=at, offsets={"fills": at}, rows=rows, settings="s")


async def test_the_newest_whole_snapshot_comes_back(kafka: KafkaServer, topic_prefix: str) -> None:
    topic = f"{topic_prefix}snapshots"
    await create_topics(kafka.bootstrap, {topic: 2}, config={"cleanup.policy": "compact"})
    log = KafkaSnapshots(KafkaConnection(bootstrap=kafka.bootstrap), topic)
    assert await log.read(1) == []
    await log.write(1, encode_snapshot("a", "first", stored(10)))
    await log.write(1, encode_snapshot("b", "second", stored(20)))
    found = newest_snapshot(await log.read(1))
    assert found is not None
    assert (found[0], found[1].offsets, dict(found[1].rows)) == ("b", {"fills": 20}, dict(stored(20).rows))
    half = list(encode_snapshot("a", "third", stored(30)))[: ROWS // 2]
    await log.write(1, half)
    again = newest_snapshot(await log.read(1))
    assert again is not None
    assert again[1].offsets == {"fills": 20}
    assert await log.read(0) == []


async def test_a_broker_that_is_not_there_is_unreachable() -> None:
    log = KafkaSnapshots(KafkaConnection(bootstrap=f"127.0.0.1:{free_port()}", request_timeout_ms=1_000), "snapshots")
    with pytest.raises(Unreachable):
        await log.read(0)
    with pytest.raises(Unreachable):
        await log.write(0, [(b"k", b"v")])
