"""The rates of one worker, measured in one short run, and the page that is computed from them: `deploy/capacity.md`.

`python -m tests.bench.capacity` measures on this machine and writes the page; with `--rates FILE` it takes them from a file instead
(JSON, the fields of `capacity_page.Rates`), with `--rates deploy/capacity.md` from the page itself. `--print` only prints the rates.
Memory, index and falls are measured in engines of their own, all else on one real worker, Kafka and Redis, on two cores or more.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis.asyncio import Redis

from services.adapters.redis_table import RedisTable, TableSettings
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.bench.capacity_page import PAGE, Rates, rates_on, render
from tests.bench.engine import Market
from tests.bench.figures import resident_bytes
from tests.bench.fills import cpu_seconds
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
    price,
    written,
)
from tests.integration.venue import ORDERS, until
from tests.integration.worker_process import WorkerProcess
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

PREFIX = "capacity-"
FEW, MANY = 50_000, 200_000  # buckets of the two engines
TICKS = 40_000
FALL = 0.05
SIGMA, PULL = 0.0002, 0.99  # of a tick, relative; what stays of a level from one tick of it to the next
ACCOUNTS, HOT = 10_000, 2_500  # accounts, and how many of them trade at a time
FILLS = 8  # of each account, after those that opened it
PRICES_A_SECOND, PRICING_S, IDLE_S = 2_000, 6.0, 3.0
BEAT_S = 0.02
GIVE_UP_S = 180.0
QUIET_S = 4.0  # without an order: the storm is over
TOPICS_OF = {
    "price_bytes": "prices", "fill_bytes": "fills", "transfer_bytes": "transfers", "order_bytes": ORDERS, "state_bytes": "account-states",
}  # fmt: skip
READ_OF = ("accounts", "fills", "transfers")


class InEngine(msgspec.Struct):
    """What an engine of so many buckets takes; times in seconds of the processor."""

    buckets: int
    resident: int
    tick: float
    fall: float


def in_engine(buckets: int) -> InEngine:
    """Mean tick with everything that it makes the index redraw, and a fall of all instruments."""
    market = Market(buckets, len(INSTRUMENTS), (2, 3))
    market.tick(0)
    resident = market.resident()
    gc.freeze()
    dice, levels = random.Random(14), [0.0] * len(INSTRUMENTS)

    def quiet(count: int) -> None:
        """Ticks of prices that come back to where they were, so that the index works and nothing is liquidated."""
        for number in range(count):
            at = number % len(levels)
            levels[at] = levels[at] * PULL + dice.gauss(0, SIGMA)
            market.tick(at, 1000 * (1 + levels[at]) / market.marks[at] - 1)

    quiet(TICKS // 4)
    tick = busy(lambda: quiet(TICKS)) / TICKS
    fall = busy(lambda: [market.tick(instrument, -FALL) for instrument in range(len(INSTRUMENTS))])
    return InEngine(buckets, resident, tick, fall)


def busy(work: Callable[[], object]) -> float:
    """Seconds of this process's processor time."""
    began = time.process_time()
    work()
    return time.process_time() - began


def in_process_of_its_own(buckets: int) -> InEngine:
    """In a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "tests.bench.capacity", "--engine", str(buckets)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=GIVE_UP_S)
    return msgspec.json.decode(done.stdout, type=InEngine)


def population() -> Iterator[Message]:
    """Cross accounts with two or three positions each, between 3 and 50 percent of their worth as money."""
    dice = random.Random(11)
    for number in range(ACCOUNTS):
        name, held = f"a-{number}", dice.choice((2, 3))
        yield from account(name, f"{held * MARK * dice.uniform(0.03, 0.5):.2f}")
        for instrument in dice.sample(INSTRUMENTS, held):
            yield fill(name, instrument, f"o-{number}-{instrument}", dice)


def more_fills() -> Iterator[Message]:
    """`FILLS` for each account, in small quantities, `HOT` accounts at a time."""
    dice = random.Random(12)
    for first in range(0, ACCOUNTS, HOT):
        for number in range(HOT * FILLS):
            name = f"a-{first + dice.randrange(HOT)}"
            yield fill(name, dice.choice(INSTRUMENTS[:3]), f"f-{first}-{number}", dice, "0.001")


def fill(name: str, instrument: str, fill_id: str, dice: random.Random, quantity: str = "1") -> Message:
    return written("fills", name, {
        "fill_id": fill_id, "account": name, "instrument": instrument, "side": dice.choice(("buy", "sell")), "quantity": quantity,
        "price": str(MARK), "fee": "0.01", "ts_ms": 1_700_000_000_000,
    })  # fmt: skip


class Bench:
    """One broker, one Redis, one worker."""

    def __init__(self, kafka: KafkaServer, redis: RedisServer, folder: Path) -> None:
        self._bootstrap = kafka.bootstrap
        self._logs = kafka.directory / "data"
        self._redis_url = redis.url
        self._redis = Redis.from_url(redis.url)
        self._table = RedisTable(self._redis, TableSettings(PREFIX, ""))
        self._folder = folder

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[int]:
        """Its process id, when it is ready."""
        worker = WorkerProcess(self._folder, "w-bench", self._bootstrap, self._redis_url, PREFIX)
        worker.config.write_text(worker.config.read_text() + "[engine]\norder_ttl_ms = 600000\n")
        await append(self._bootstrap, PREFIX, marks())
        try:
            await worker.start(ready=False)
            await until("the worker is ready", worker.is_ready, GIVE_UP_S)
            assert worker.process is not None
            yield worker.process.pid
            await worker.terminate()
        finally:
            await worker.kill()

    async def stored(self) -> int:
        """Account records that are durable."""
        found = [await self._table.stored_offsets(p) or {} for p in range(PARTITIONS)]
        return sum(offsets.get(topic, 0) for offsets in found for topic in READ_OF)

    async def wait_stored(self, records: int) -> None:
        async def all_stored() -> bool:
            return await self.stored() >= records

        await until(f"{records} records are stored", all_stored, GIVE_UP_S)

    async def redis_bytes(self) -> int:
        """Of all rows, with what Redis keeps about them."""
        keys = [key async for key in self._redis.scan_iter(f"{PREFIX}*")]
        return sum([await self._redis.memory_usage(key, samples=0) or 0 for key in keys])

    def log_bytes(self, topic: str) -> int:
        return sum(log.stat().st_size for log in self._logs.glob(f"{PREFIX}{topic}-[0-9]*/*.log"))

    async def ends(self, *topics: str) -> int:
        """Records of topics, by their end offsets."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            count = 1 if topics == ("prices",) else PARTITIONS
            places = [TopicPartition(f"{PREFIX}{topic}", p) for topic in topics for p in range(count)]
            return sum((await consumer.end_offsets(places)).values())
        finally:
            await consumer.stop()

    async def price_us(self, pid: int) -> tuple[float, float]:
        """Processor time of the worker for a price record, at a steady rate, less what it takes when only time passes; and the
        bytes of journal that it writes a second meanwhile."""
        began, idle = time.monotonic(), cpu_seconds(pid)
        await asyncio.sleep(IDLE_S)
        idle = (cpu_seconds(pid) - idle) / (time.monotonic() - began)
        dice, levels = random.Random(13), dict.fromkeys(INSTRUMENTS, float(MARK))
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, linger_ms=5)
        await producer.start()
        journal = self.log_bytes("journal")
        began, busy, sent = time.monotonic(), cpu_seconds(pid), 0
        while (elapsed := time.monotonic() - began) < PRICING_S:
            while sent < elapsed * PRICES_A_SECOND:
                name = INSTRUMENTS[sent % len(INSTRUMENTS)]
                levels[name] *= 1 + dice.gauss(0, SIGMA)
                tick = price(name, f"{levels[name]:.4f}")
                await producer.send(f"{PREFIX}prices", tick.value, key=tick.key.encode(), partition=0)
                sent += 1
            await asyncio.sleep(BEAT_S)
        await producer.stop()
        took = time.monotonic() - began
        return (cpu_seconds(pid) - busy - idle * took) / sent * 1e6, (self.log_bytes("journal") - journal) / took

    async def fill_us(self, pid: int) -> float:
        """Processor time of the worker for each fill that became durable, written as fast as they can be."""
        before, began = await self.stored(), cpu_seconds(pid)
        count = await append(self._bootstrap, PREFIX, more_fills())
        await self.wait_stored(before + count)
        return (cpu_seconds(pid) - began) / count * 1e6

    async def restore_s(self) -> float:
        """Processor time to read all rows from Redis, check them and take them over."""
        engine, began = Engine(Settings(), gates_open=False), time.process_time()
        for partition in range(PARTITIONS):
            engine.restore(partition, (await self._table.load(partition)).rows)
        return time.process_time() - began

    async def fall(self, pid: int) -> tuple[float, int]:
        """Processor time of the worker in a fall of everything, seconds, and its orders."""
        before, busy = await self.ends(ORDERS), cpu_seconds(pid)
        await append(self._bootstrap, PREFIX, (price(name, f"{MARK * (1 - FALL):.1f}") for name in INSTRUMENTS))
        seen, last = before, time.perf_counter()
        while time.perf_counter() < last + (QUIET_S if seen > before else GIVE_UP_S):
            await asyncio.sleep(BEAT_S)
            if (found := await self.ends(ORDERS)) != seen:
                seen, last = found, time.perf_counter()
        assert seen > before, "the fall makes orders"
        return cpu_seconds(pid) - busy, seen - before


async def on_real_parts(bench: Bench, bootstrap: str, found: dict[str, float]) -> None:
    """Adds the rates that a worker, Kafka and Redis show; of the fall, what it takes beyond the engine's look at every bucket."""
    await make_topics(bootstrap, PREFIX)
    await append(bootstrap, PREFIX, instruments())
    opened = await append(bootstrap, PREFIX, population())
    async with bench.worker() as pid:
        await bench.wait_stored(opened)
        found["worker_mib"] = resident_bytes(pid) / 2**20 - ACCOUNTS * found["bucket_bytes"] / 2**20
        found["price_us"], found["journal_bytes"] = await bench.price_us(pid)
    few = await bench.redis_bytes()
    found["redis_bytes"] = few / ACCOUNTS
    found["restore_s"] = await bench.restore_s() / ACCOUNTS * 100_000
    async with bench.worker() as pid:
        found["fill_us"] = await bench.fill_us(pid)
    found["id_bytes"] = (await bench.redis_bytes() - few) / (ACCOUNTS * FILLS)
    async with bench.worker() as pid:
        took, orders = await bench.fall(pid)
        found["order_us"] = (took - found["fall_s"] * ACCOUNTS / 100_000) / orders * 1e6
    for name, topic in TOPICS_OF.items():
        found[name] = bench.log_bytes(topic) / await bench.ends(topic)


def measure() -> Rates:
    """Everything; starts and stops its own Kafka and Redis."""
    few, many = in_process_of_its_own(FEW), in_process_of_its_own(MANY)
    more = many.buckets - few.buckets
    found = {
        "bucket_bytes": (many.resident - few.resident) / more,
        "redraw_us": max(0.0, (many.tick - few.tick) / more * 1e11),  # so little that it can drown in noise
        "fall_s": (many.fall - few.fall) / more * 1e5,
    }
    kafka, redis = KafkaServer(lasting=True), RedisServer(appendfsync="everysec")
    try:
        kafka.start()
        redis.start()
        with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as folder:
            asyncio.run(on_real_parts(Bench(kafka, redis, Path(folder)), kafka.bootstrap, found))
    finally:
        kafka.close()
        redis.close()
    return msgspec.convert(found, Rates)


def read_rates(path: Path) -> Rates:
    """From JSON, or from a page that notes them."""
    text = path.read_text()
    return rates_on(text) if path.suffix == ".md" else msgspec.json.decode(text, type=Rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--rates", type=Path, metavar="FILE", help="do not measure: JSON, or a page like the one that is written"
    )
    parser.add_argument("--print", action="store_true", help="print the rates as JSON and write nothing")
    parser.add_argument("--engine", type=int, help=argparse.SUPPRESS)  # what `measure` runs in processes of their own
    asked = parser.parse_args()
    if asked.engine:
        print(msgspec.json.encode(in_engine(asked.engine)).decode())
        return
    rates = read_rates(asked.rates) if asked.rates else measure()
    if asked.print:
        print(msgspec.json.encode(rates).decode())
        return
    # Rounded as they are noted, so that the page follows from what can be read on it.
    PAGE.write_text(render(rates_on(render(rates))))


if __name__ == "__main__":
    main()
