"""Tick in Kafka to order in Kafka with a worker full of buckets, against a bare aiokafka echo; a tick and an echo take turns.

The worker starts from a Redis table that was filled before, as after a restart. Accounts of a ladder then each fall at a mark of
their own: one tick, one order; each tick also moves the price of every eighth bucket. `python -m tests.bench.latency 1000000` fills
the table with so many. Excluded: reading the order back, and whatever the matching engine does with it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from services.contracts.messages import Order
from tests.bench.figures import row
from tests.bench.filled import fill_table
from tests.bench.parts import (
    INSTRUMENTS,
    MARK,
    PARTITIONS,
    Message,
    account,
    append,
    instruments,
    make_topics,
    marks,
    on_own_servers,
    place_of,
    price,
    written,
)
from tests.bench.transport import ORDERS, Waiting, decided
from tests.integration.venue import until
from tests.integration.worker_process import ROOT, WorkerProcess
from tests.support.kafka import create_topics

PREFIX = "bench-"
SOURCE, TARGET = f"{PREFIX}ping", f"{PREFIX}pong"
FALLING = INSTRUMENTS[0]
USUAL = 200_000
TICKS, WARM_UP = 500, 50
MAINTENANCE = 0.001  # of the falling instrument: with more, accounts further up the ladder would change their status at the same tick
STEP = 0.24  # between the marks at which two accounts of the ladder fall
PAUSE_S = 0.01
WAIT_S, START_S = 60.0, 300.0


def threshold(number: int) -> float:
    """The mark under which account `number` of the ladder is liquidatable."""
    return MARK - 2 - STEP * number


def ladder() -> list[Message]:
    """Each holds one contract, and just enough for its threshold."""
    found: list[Message] = []
    for number in range(TICKS + WARM_UP):
        name = f"a-{number}"
        found += account(name, f"{MARK - (1 - MAINTENANCE) * threshold(number):.6f}")
        found.append(written("fills", name, {
            "fill_id": f"f-{number}", "account": name, "instrument": FALLING, "side": "buy", "quantity": "1", "price": str(MARK),
            "ts_ms": 1_700_000_000_000,
        }))  # fmt: skip
    return found


class Turns:
    """Sends ticks and pings, and waits for what comes of them."""

    def __init__(self, producer: AIOKafkaProducer, waiting: Waiting) -> None:
        self._producer = producer
        self._waiting = waiting

    async def take(self, number: int) -> tuple[float, float]:
        """Seconds from tick to order, and from ping to pong."""
        arrived = self._waiting.expect(f"a-{number}")
        tick = price(FALLING, f"{threshold(number) - STEP / 2:.3f}")
        began = time.perf_counter()
        await self._put(tick)
        ordered = await asyncio.wait_for(arrived, WAIT_S) - began
        await self._answer(self._waiting.orders[f"a-{number}"])
        await asyncio.sleep(PAUSE_S)
        arrived = self._waiting.expect(f"ping-{number}")
        began = time.perf_counter()
        await (await self._producer.send(SOURCE, f"ping-{number}".encode(), partition=0))
        echoed = await asyncio.wait_for(arrived, WAIT_S) - began
        await asyncio.sleep(PAUSE_S)
        return ordered, echoed

    async def _answer(self, order: Order) -> None:
        """The client pays in: the account is out of the way of the next ticks."""
        name = order.account
        await self._put(written("transfers", name, {
            "transfer_id": order.order_id, "account": name, "asset": "USDT", "amount": "100000", "reason": "deposit", "ts_ms": 1_700_000_000_000,
        }))  # fmt: skip

    async def _put(self, message: Message) -> None:
        sent = await self._producer.send(
            f"{PREFIX}{message.topic}", message.value, key=message.key.encode(), partition=place_of(message)
        )
        await sent


async def start_worker(worker: WorkerProcess) -> float:
    """Seconds until it is ready, from a table that is full."""
    worker.config.write_text(worker.config.read_text() + "[engine]\norder_ttl_ms = 600000\n")
    began = time.perf_counter()
    await worker.start(ready=False)
    await until("the worker is ready", worker.is_ready, START_S)
    return time.perf_counter() - began


async def start_echo(bootstrap: str) -> asyncio.subprocess.Process:
    """The echo of `transport`, as a process of its own."""
    echo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.transport", "echo", bootstrap, SOURCE, TARGET, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    assert echo.stdout is not None
    await asyncio.wait_for(echo.stdout.readline(), WAIT_S)
    return echo


async def measured(bootstrap: str, redis_url: str, folder: Path, buckets: int) -> None:
    async with Redis.from_url(redis_url) as redis:
        await fill_table(redis, PREFIX, buckets)
    await make_topics(bootstrap, PREFIX)
    await create_topics(bootstrap, {SOURCE: 1, TARGET: 1})
    await append(bootstrap, PREFIX, [*instruments({FALLING: str(MAINTENANCE)}), *marks(), *ladder()])
    worker = WorkerProcess(
        folder, "w-bench", bootstrap, redis_url, PREFIX, max_price_silence_ms=600_000, price_look_back_ms=600_000
    )
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    waiting, echo, reading = Waiting(consumer, TARGET), None, None
    await producer.start()
    await consumer.start()
    try:
        started_s = await start_worker(worker)
        echo = await start_echo(bootstrap)
        orders = [TopicPartition(f"{PREFIX}{ORDERS}", p) for p in range(PARTITIONS)]
        consumer.assign([*orders, TopicPartition(TARGET, 0)])
        await consumer.seek_to_end()
        reading = asyncio.ensure_future(waiting.read())
        turns = Turns(producer, waiting)
        before = await decided(worker)
        found = [await turns.take(number) for number in range(TICKS + WARM_UP)]
        seconds, count = (now - then for now, then in zip(await decided(worker), before, strict=True))
        show(
            found[WARM_UP:],
            buckets,
            f"engine {seconds / count * 1e3:.2f} ms mean, ready {started_s:.1f} s after its start",
        )
    finally:
        if reading is not None:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        await worker.kill()
        if echo is not None:
            echo.kill()
            await echo.wait()
        await consumer.stop()
        await producer.stop()


def show(found: list[tuple[float, float]], buckets: int, more: str) -> None:
    """Both percentiles, each against the echo's."""
    cuts: dict[str, tuple[float, ...]] = {}
    for name, cut in (("p50", 49), ("p99", 98)):
        cuts[name] = tuple(statistics.quantiles(times, n=100)[cut] * 1e3 for times in zip(*found, strict=True))
    detail = ", ".join(f"{name} order {order:.2f} ms, echo {echo:.2f} ms" for name, (order, echo) in cuts.items())
    for (name, (order, echo)), reach in zip(cuts.items(), ("<= 1.2", "<= 1.5"), strict=True):
        row(
            f"tick in Kafka to order in Kafka with {buckets} buckets in the worker / bare aiokafka echo, {name}",
            order / echo, reach, f"{detail}; {more}; {TICKS} ticks",
        )  # fmt: skip


if __name__ == "__main__":
    on_own_servers(measured, int(sys.argv[1]) if len(sys.argv) > 1 else USUAL)
