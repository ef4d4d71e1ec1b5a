"""Buckets restored from Redis until the engine decides on them, against reading the same rows with HGETALL and dropping them.

Restoring is loading each shard with its rows' checksums verified, handing the rows to an engine that knows instruments and prices,
and opening its gate. `python -m tests.bench.restore 1000000` does it once with so many buckets. Excluded: filling the table, starting a
process, reading what was written to Kafka since.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from itertools import pairwise
from typing import NamedTuple

from redis.asyncio import Redis

from services.adapters.redis_table import RedisTable, TableSettings
from services.contracts.messages import Order
from services.contracts.records import Record
from services.engine.effects import Emit
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.bench.figures import row
from tests.bench.filled import fill_table
from tests.bench.parts import INSTRUMENTS, MARK, PARTITIONS, Message, instruments, marks, now_ms, price
from tests.support.redis import RedisServer

PREFIX = "bench-"
USUAL = 200_000
ROUNDS = 3
STEP, STEPS = 0.015, 20  # of a fall that is believed at once, and that nobody at leverage 5 stands


class Parts(NamedTuple):
    """Seconds."""

    load: float  # HGETALL and checksums
    restore: float  # rows to accounts, and their boxes
    gate: float
    processor: float  # of all three

    @property
    def whole(self) -> float:
        return self.load + self.restore + self.gate


async def read_and_drop(redis: Redis) -> float:
    """Seconds for HGETALL of all shards, one after the other."""
    began = time.perf_counter()
    for partition in range(PARTITIONS):
        await redis.hgetall(f"{PREFIX}{{p{partition}}}:buckets")
    return time.perf_counter() - began


class Feed:
    """An engine's broadcast records, with offsets."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._offset = 0

    def put(self, message: Message) -> int:
        """Orders that the record led to."""
        self._offset += 1
        record = Record(
            topic=message.topic, partition=0, offset=self._offset, timestamp_ms=now_ms(), key=message.key.encode(),
            value=message.value,
        )  # fmt: skip
        return sum(isinstance(each, Emit) and isinstance(each.message, Order) for each in self._engine.apply(record))


def decides(feed: Feed) -> bool:
    """Whether prices that fall in small steps lead to orders."""
    mark = float(MARK)
    for _ in range(STEPS):
        mark *= 1 - STEP
        if any(feed.put(price(name, f"{mark:.3f}")) for name in INSTRUMENTS):
            return True
    return False


async def restore(redis: Redis) -> Parts:
    """A new engine, from nothing to deciding."""
    engine = Engine(Settings(account_partitions=PARTITIONS), gates_open=False)
    feed = Feed(engine)
    for message in (*instruments(), *marks()):
        feed.put(message)
    table = RedisTable(redis, TableSettings(PREFIX, ""))
    spent = [0.0, 0.0, 0.0]
    processor = time.process_time()
    for partition in range(PARTITIONS):
        times = [time.perf_counter()]
        stored = await table.load(partition)
        times.append(time.perf_counter())
        engine.restore(partition, stored.rows)
        times.append(time.perf_counter())
        engine.open_gate(partition)
        times.append(time.perf_counter())
        spent = [sum(each) for each in zip(spent, (b - a for a, b in pairwise(times)), strict=True)]
    parts = Parts(*spent, processor=time.process_time() - processor)
    assert decides(feed), "a fall of every price led to no order"
    return parts


async def measured(redis_url: str, buckets: int, rounds: int) -> None:
    async with Redis.from_url(redis_url) as redis:
        count = await fill_table(redis, PREFIX, buckets)
        await read_and_drop(redis)
        reads: list[float] = []
        restores: list[Parts] = []
        for _ in range(rounds):
            gc.collect()
            reads.append(await read_and_drop(redis))
            restores.append(await restore(redis))
            print(f"restore: {restores[-1].whole:.2f} s, HGETALL {reads[-1]:.2f} s", file=sys.stderr, flush=True)
    read = statistics.median(reads)
    middle = sorted(restores, key=lambda parts: parts.whole)[rounds // 2]
    row(
        f"{buckets} buckets restored from Redis / reading the same rows with HGETALL and dropping them, time",
        middle.whole / read, "<= 3",
        f"{middle.whole:.2f} s for {count} rows ({middle.processor:.2f} s of the processor), HGETALL {read:.2f} s; checksums "
        f"{middle.load - read:.2f} s, accounts and boxes {middle.restore:.2f} s, gates {middle.gate:.2f} s; "
        f"medians of {rounds} rounds",
    )  # fmt: skip


def main(buckets: int) -> None:
    redis = RedisServer(appendfsync="everysec")
    try:
        redis.start()
        asyncio.run(measured(redis.url, buckets, ROUNDS if buckets <= USUAL else 1))
    finally:
        redis.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else USUAL)
