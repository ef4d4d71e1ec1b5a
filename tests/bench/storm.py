"""A storm: orders a second into Kafka on the worker's way out, against aiokafka's batch API with the same bytes.

The worker's way: an effect of the engine is counted, encoded, remembered as outstanding, queued in the outbox and sent by the
idempotent producer, until the broker has acknowledged it and the outbox has said so. aiokafka alone gets the finished bytes, sorted
by partition. Excluded on both sides: deciding (see `engine`), the brakes, and reading the orders back.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from msgspec import structs

from services.adapters.clock import SystemClock
from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_producer import KafkaProducer
from services.adapters.metrics import Metrics
from services.adapters.tracing import NoTracing
from services.contracts.examples import EXAMPLES
from services.contracts.identifiers import order_id
from services.contracts.messages import Order
from services.contracts.records import Record
from services.engine.effects import Cause, Effect, Emit
from services.liquidator.dispatch import Alarms, Arrival, Dispatch, TopicNames
from services.liquidator.order_watch import OrderWatch
from services.liquidator.outbox import Item, Outbox
from services.liquidator.shard import ORDERS, Shard
from tests.bench.figures import row
from tests.bench.parts import BATCH_BYTES, PARTITIONS, shard_of
from tests.support.kafka import KafkaServer, create_topics

COUNT = 100_000
AT_ONCE = 500  # orders that one call of the engine answers
ROUNDS = 7
TIMEOUT_S = 60.0


def decided() -> list[Effect]:
    """Orders of as many accounts, the worst bucket first: in no order of partitions."""
    example = next(each.message for each in EXAMPLES if isinstance(each.message, Order))
    dice = random.Random(3)
    cause = Cause("prices", 0, 7)
    effects: list[Effect] = []
    for number in range(COUNT):
        name = f"a-{number}"
        order = structs.replace(
            example, account=name, client=f"c-{number}", order_id=order_id(name, example.bucket, example.instrument, 1),
            quantity=f"{dice.randrange(1, 10**6) / 1000}", equity=f"{dice.randrange(1, 10**9) / 1000}",
        )  # fmt: skip
        effects.append(Emit(cause=cause, topic=ORDERS, key=name, partition=shard_of(name), message=order))
    return effects


def owned() -> dict[int, Shard]:
    """Shards as a worker has them that decides on them."""
    shards = {partition: Shard(partition) for partition in range(PARTITIONS)}
    for shard in shards.values():
        shard.loaded = True
    return shards


class Way:
    """The worker's way out, from effects to acknowledgements."""

    def __init__(self, bootstrap: str) -> None:
        clock, log, meter = SystemClock(), structlog.get_logger(), Metrics()
        connection = KafkaConnection(bootstrap=bootstrap)
        self._shards = owned()
        self._outbox = Outbox(lambda: KafkaProducer(connection), clock, log)
        self._outbox.on_acked = self._acked
        self._clock, self._watch = clock, OrderWatch(clock, NoTracing())
        self._dispatch = Dispatch(
            names=TopicNames(), outbox=self._outbox, shards=self._shards, clock=clock, meter=meter,
            alarms=Alarms(clock, log, meter), orders=self._watch,
        )  # fmt: skip
        self._meter = meter
        self._left = 0
        self._done = asyncio.Event()

    async def start(self) -> None:
        await self._outbox.connect()
        self._running = asyncio.ensure_future(self._outbox.run())

    async def stop(self) -> None:
        self._running.cancel()
        await self._outbox.close()

    async def send(self, effects: list[Effect]) -> float:
        """Orders a second, from the first effect to the last acknowledgement."""
        price = Record(topic="prices", partition=0, offset=7, timestamp_ms=self._clock.now_ms(), key=None, value=b"")
        self._left, began = len(effects), time.perf_counter()
        self._done.clear()
        for first in range(0, len(effects), AT_ONCE):
            await self._outbox.room()
            self._dispatch.carry_out(effects[first : first + AT_ONCE], Arrival([price], self._clock.monotonic()))
            await asyncio.sleep(0)
        await asyncio.wait_for(self._done.wait(), TIMEOUT_S)
        for shard in self._shards.values():
            shard.outstanding.clear()
        return len(effects) / (time.perf_counter() - began)

    def _acked(self, items: Sequence[Item], first: int) -> None:
        """As the worker."""
        now_ms, waits = self._clock.now_ms(), Counter[int]()
        for offset, item in enumerate(items, first):
            self._watch.acknowledged(item.ident, offset)
            assert item.caused_ms is not None
            waits[max(0, now_ms - item.caused_ms)] += 1
            self._shards[item.outgoing.partition or 0].unacked.pop(item.number, item)
        for waited_ms, count in waits.items():
            self._meter.acked(waited_ms / 1000, count)
        self._left -= len(items)
        if not self._left:
            self._done.set()


def as_bytes(effects: list[Effect]) -> list[list[tuple[bytes | None, bytes, Any]]]:
    """What the worker sends for them, by partition: key, value, headers."""
    items: list[Item] = []
    clock, log, meter = SystemClock(), structlog.get_logger(), Metrics()

    class Collecting(Outbox):
        def put(self, item: Item) -> None:
            items.append(item)

    Dispatch(
        names=TopicNames(), outbox=Collecting(lambda: KafkaProducer(KafkaConnection(bootstrap="")), clock, log),
        shards=owned(), clock=clock, meter=meter, alarms=Alarms(clock, log, meter),
        orders=OrderWatch(clock, NoTracing()),
    ).carry_out(effects)  # fmt: skip
    found: list[list[tuple[bytes | None, bytes, Any]]] = [[] for _ in range(PARTITIONS)]
    for item in items:
        assert item.outgoing.partition is not None
        found[item.outgoing.partition].append((item.outgoing.key, item.outgoing.value, list(item.outgoing.headers)))
    return found


async def send_alone(producer: AIOKafkaProducer, parts: list[list[tuple[bytes | None, bytes, Any]]]) -> float:
    """Orders a second by the batch API, each partition for itself."""

    async def fill(partition: int) -> None:
        sent, builder = [], producer.create_batch()
        for key, value, headers in parts[partition]:
            if builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
                sent.append(await producer.send_batch(builder, ORDERS, partition=partition))
                builder = producer.create_batch()
                builder.append(timestamp=None, key=key, value=value, headers=headers)
        sent.append(await producer.send_batch(builder, ORDERS, partition=partition))
        await asyncio.gather(*sent)

    began = time.perf_counter()
    await asyncio.wait_for(asyncio.gather(*map(fill, range(PARTITIONS))), TIMEOUT_S)
    return sum(map(len, parts)) / (time.perf_counter() - began)


async def measured(bootstrap: str) -> None:
    await create_topics(bootstrap, {ORDERS: PARTITIONS})
    effects = decided()
    parts = as_bytes(effects)
    gc.collect()
    gc.freeze()
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    way = Way(bootstrap)
    await producer.start()
    await way.start()
    ours, alone = [], []
    for _ in range(ROUNDS):
        ours.append(await way.send(effects))
        alone.append(await send_alone(producer, parts))
        print(f"storm: {ours[-1]:,.0f} orders/s, aiokafka {alone[-1]:,.0f}/s", file=sys.stderr, flush=True)
    await way.stop()
    await producer.stop()
    mine, other = statistics.median(ours[1:]), statistics.median(alone[1:])
    size = sum(len(value) for part in parts for _, value, _ in part) / COUNT
    row(
        "storm: orders/s into Kafka / aiokafka's batch API alone with the same bytes", mine / other, ">= 0.5",
        f"{mine:,.0f} orders/s, aiokafka {other:,.0f}/s; {COUNT} orders of {size:.0f} bytes over {PARTITIONS} partitions, "
        f"medians of {ROUNDS - 1} rounds",
    )  # fmt: skip


def main() -> None:
    kafka = KafkaServer()
    try:
        kafka.start()
        asyncio.run(measured(kafka.bootstrap))
    finally:
        kafka.close()


if __name__ == "__main__":
    main()
