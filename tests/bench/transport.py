"""Streams on the real broker: records a second into an agent, and tick to order through the worker. One JSON line a figure.

The three ways of reading take turns on the same topic, and so do tick and echo: what the machine does besides hits all alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.adapters.account_streams import AccountStreams
from services.adapters.batch_transport import StreamSettings
from services.adapters.kafka_connection import KafkaConnection
from services.adapters.ports import Batch
from services.contracts.codec import decode
from services.contracts.messages import Order
from tests.integration.venue import INSTRUMENT, ORDERS, PARTITIONS, START_PRICE, Venue, now_ms
from tests.integration.worker_process import ROOT, WorkerProcess
from tests.support.kafka import KafkaServer, create_topics
from tests.support.redis import RedisServer

TOPIC = "throughput"
RECORDS, STOCK_RECORDS = 400_000, 40_000
ROUNDS = 3
TICKS, WARM_UP = 300, 30
PAUSE_S = 0.01
WAIT_S = 60.0
FILL = b'{"fill_id":"f-123456","account":"a-17","instrument":"BTC-PERP","side":"buy","quantity":"0.5","price":"64123.5","fee":"12.8","ts_ms":1700000000000}'


class Count:
    """Counts records up to a goal, and takes the time from the first to the last."""

    def __init__(self, goal: int) -> None:
        self.goal = goal
        self.seen = 0
        self.first = 0.0
        self.rate = 0.0
        self.done = asyncio.Event()

    def add(self, records: int) -> None:
        if not records or self.done.is_set():
            return
        if not self.seen:
            self.first = time.perf_counter()
            self.goal -= records  # the first batch was fetched before the clock ran
        self.seen += records
        if self.seen - records >= self.goal:
            self.rate = self.goal / (time.perf_counter() - self.first)
            self.done.set()


async def read_by_batches(bootstrap: str) -> float:
    """The product's transport and agent."""
    count = Count(RECORDS)
    seeks: list[asyncio.Task[None]] = []

    class Owner:
        def assigned(self, partitions: frozenset[int]) -> None:
            seeks.extend(asyncio.ensure_future(streams.seek(p, {TOPIC: 0})) for p in partitions)

        async def revoked(self) -> None: ...

    async def fold(batch: Batch) -> None:
        count.add(len(batch.records))

    settings = StreamSettings(KafkaConnection(bootstrap=bootstrap), f"b-{uuid.uuid4().hex}", {TOPIC: TOPIC})
    streams = AccountStreams(settings, fold, Owner())
    await streams.app.start()
    await asyncio.wait_for(count.done.wait(), WAIT_S)
    await streams.app.stop()
    return count.rate


async def read_by_stock_faust(bootstrap: str) -> float:
    """An agent as Faust's documentation writes it."""
    count = Count(STOCK_RECORDS)
    app = faust.App(
        f"s-{uuid.uuid4().hex}", broker=f"kafka://{bootstrap}", autodiscover=False, web_enabled=False, store="memory://",
        topic_allow_declare=False, topic_disable_leader=True, stream_wait_empty=False,
    )  # fmt: skip

    async def agent(stream: Any) -> None:
        async for _ in stream:
            count.add(1)

    app.agent(app.topic(TOPIC, value_type=bytes, value_serializer="raw"))(agent)
    await app.start()
    await asyncio.wait_for(count.done.wait(), WAIT_S)
    await app.stop()
    return count.rate


async def read_by_aiokafka(bootstrap: str) -> float:
    """A loop over `getmany`."""
    count = Count(RECORDS)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    consumer.assign([TopicPartition(TOPIC, p) for p in range(PARTITIONS)])
    while not count.done.is_set():
        fetched = await consumer.getmany(timeout_ms=1_000)
        count.add(sum(map(len, fetched.values())))
    await consumer.stop()
    return count.rate


async def throughput(bootstrap: str) -> list[dict[str, Any]]:
    await create_topics(bootstrap, {TOPIC: PARTITIONS})
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=256 * 1024)
    await producer.start()
    for number in range(RECORDS):
        await producer.send(TOPIC, FILL, key=b"a-17", partition=number % PARTITIONS)
    await producer.stop()
    ways: dict[str, Callable[[str], Awaitable[float]]] = {
        "batch": read_by_batches, "stock": read_by_stock_faust, "aiokafka": read_by_aiokafka,
    }  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            rates[name].append(await way(bootstrap))
    best = {name: statistics.median(found) for name, found in rates.items()}
    detail = ", ".join(f"{name} {rate:,.0f}/s" for name, rate in best.items())
    return [
        row("records/s through the batch agent against stock Faust", best["batch"] / best["stock"], ">= 10", detail),
        row("records/s through the batch agent against bare aiokafka getmany", best["batch"] / best["aiokafka"], ">= 0.6", detail),
        row("records/s through the batch agent", best["batch"], ">= 200000", detail),
    ]  # fmt: skip


async def echo(bootstrap: str, source: str, target: str) -> None:
    """Consume, produce idempotently: what a tick would cost if nothing was to decide. Runs as a process of its own."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    consumer.assign([TopicPartition(source, 0)])
    await consumer.seek_to_end()
    print("ready", flush=True)
    while True:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for record in records:
                await producer.send(target, record.value, partition=0)


class Waiting:
    """Reads what comes back and tells when."""

    def __init__(self, consumer: AIOKafkaConsumer, echoed: str) -> None:
        self._consumer = consumer
        self._echoed = echoed
        self.arrived: dict[str, asyncio.Future[float]] = {}
        self.orders: dict[str, Order] = {}

    def expect(self, name: str) -> asyncio.Future[float]:
        return self.arrived.setdefault(name, asyncio.get_running_loop().create_future())

    async def read(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=100)
            now = time.perf_counter()
            for tp, records in fetched.items():
                for record in records:
                    self._note(tp.topic, record.value, now)

    def _note(self, topic: str, value: bytes, now: float) -> None:
        if topic == self._echoed:
            name = value.decode()
        else:
            message = decode(ORDERS, value)
            if not isinstance(message, Order):
                return
            name = message.account
            self.orders[name] = message
        arrived = self.expect(name)
        if not arrived.done():
            arrived.set_result(now)


def threshold(number: int) -> float:
    """The mark under which account `number` is liquidatable."""
    return START_PRICE - 100 - 25 * number


async def open_ladder(venue: Venue) -> None:
    """Accounts that each fall at a mark of their own: one tick, one order."""
    for number in range(TICKS + WARM_UP):
        name = f"a-{number}"
        deposit = str(START_PRICE - 0.995 * threshold(number))
        await venue.put(
            "accounts", name, {"account": name, "margin_mode": "cross", "valuation_asset": "USDT", "client": "c"}
        )
        await venue.put(
            "transfers",
            name,
            {
                "transfer_id": f"t-{number}",
                "account": name,
                "asset": "USDT",
                "amount": f"{float(deposit):.6f}",
                "reason": "deposit",
                "ts_ms": now_ms(),
            },
        )
        await venue.put(
            "fills",
            name,
            {
                "fill_id": f"f-{number}",
                "account": name,
                "instrument": INSTRUMENT,
                "side": "buy",
                "quantity": "1",
                "price": str(START_PRICE),
                "ts_ms": now_ms(),
            },
        )
    await venue.flush()


async def latency(bootstrap: str, redis_url: str, folder: Path) -> list[dict[str, Any]]:
    prefix = "bench-"
    source, target = f"{prefix}ping", f"{prefix}pong"
    await create_topics(bootstrap, {source: 1, target: 1})
    async with Venue(bootstrap, prefix) as venue:
        await venue.price(START_PRICE)
        await open_ladder(venue)
        worker = WorkerProcess(folder, "w-bench", bootstrap, redis_url, prefix)
        worker.config.write_text(worker.config.read_text() + "[engine]\norder_ttl_ms = 600000\n")
        echoing = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.transport",
            "echo",
            bootstrap,
            source,
            target,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100)
        await consumer.start()
        consumer.assign(
            [TopicPartition(f"{prefix}{ORDERS}", p) for p in range(PARTITIONS)] + [TopicPartition(target, 0)]
        )
        await consumer.seek_to_end()
        waiting = Waiting(consumer, target)
        reading = asyncio.ensure_future(waiting.read())
        try:
            await worker.start()
            assert echoing.stdout is not None
            await asyncio.wait_for(echoing.stdout.readline(), WAIT_S)
            await asyncio.sleep(1.0)  # accounts settle
            before = await decided(worker)
            orders, echoes = await ping_pong(venue, waiting, source)
            after = await decided(worker)
            return latency_rows(orders, echoes, (after[0] - before[0]) / (after[1] - before[1]))
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            await worker.kill()
            echoing.kill()
            await echoing.wait()
            await consumer.stop()


async def decided(worker: WorkerProcess) -> tuple[float, float]:
    """Seconds from the arrival of a record to what came of it, and of how many that is the sum."""
    return await worker.metric("ringfence_decision_seconds_sum"), await worker.metric(
        "ringfence_decision_seconds_count"
    )


async def answer(venue: Venue, order: Order) -> None:
    """The client pays in: the account is out of the way of the next ticks."""
    name = order.account
    await venue.put("transfers", name, {
        "transfer_id": f"{order.order_id}", "account": name, "asset": "USDT", "amount": "100000", "reason": "deposit", "ts_ms": now_ms(),
    })  # fmt: skip


async def ping_pong(venue: Venue, waiting: Waiting, source: str) -> tuple[list[float], list[float]]:
    """A tick that makes one order, then an echo, in turns."""
    orders: list[float] = []
    echoes: list[float] = []
    for number in range(TICKS + WARM_UP):
        arrived = waiting.expect(f"a-{number}")
        started = time.perf_counter()
        await venue.price(threshold(number) - 12.5)
        orders.append(await asyncio.wait_for(arrived, WAIT_S) - started)
        await answer(venue, waiting.orders[f"a-{number}"])
        await asyncio.sleep(PAUSE_S)
        arrived = waiting.expect(f"ping-{number}")
        started = time.perf_counter()
        await (await venue.producer.send(source, f"ping-{number}".encode(), partition=0))
        echoes.append(await asyncio.wait_for(arrived, WAIT_S) - started)
        await asyncio.sleep(PAUSE_S)
    return orders[WARM_UP:], echoes[WARM_UP:]


def latency_rows(orders: list[float], echoes: list[float], engine_s: float) -> list[dict[str, Any]]:
    """`engine_s` is the engine's mean time for such a tick, as the worker's own metrics tell it."""
    found = {}
    for name, cut in (("p50", 49), ("p99", 98)):
        found[name] = [statistics.quantiles(values, n=100)[cut] * 1_000 for values in (orders, echoes)]
    detail = ", ".join(f"{name} order {order:.2f} ms, echo {bare:.2f} ms" for name, (order, bare) in found.items())
    detail += f", engine {engine_s * 1_000:.2f} ms mean"
    around = (found["p50"][0] - engine_s * 1_000) / found["p50"][1]
    return [
        row("tick to order less the engine's mean time, p50, against a bare aiokafka echo", around, "<= 1.6", detail),
        row("tick to order, p50, against a bare aiokafka echo", found["p50"][0] / found["p50"][1], "<= 1.6", detail),
        row("tick to order, p99, against a bare aiokafka echo", found["p99"][0] / found["p99"][1], "<= 3", detail),
        row("tick to order, p50, ms", found["p50"][0], "<= 10", detail),
    ]


def row(figure: str, value: float, reach: str, detail: str) -> dict[str, Any]:
    return {"figure": figure, "value": round(value, 3), "reach": reach, "detail": detail}


def rows() -> list[dict[str, Any]]:
    """All figures; starts and stops its own Kafka and Redis."""
    kafka = KafkaServer(lasting=True)
    redis = RedisServer()
    try:
        kafka.start()
        redis.start()
        with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as folder:
            found = asyncio.run(latency(kafka.bootstrap, redis.url, Path(folder)))
            return found + asyncio.run(throughput(kafka.bootstrap))
    finally:
        kafka.close()
        redis.close()


def main() -> None:
    if sys.argv[1:2] == ["echo"]:
        asyncio.run(echo(*sys.argv[2:5]))
    for each in rows():
        print(json.dumps(each), flush=True)


if __name__ == "__main__":
    main()
