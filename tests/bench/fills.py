"""Durable fills a second of one worker, against Kafka Streams, stock Faust and Quix Streams keeping the same ledger.

All read the same topic (JSON, 8 partitions, written beforehand), add each fill's cash, quantity and fee to its account with exact
decimals, skip ids among the account's newest 256, and keep the accounts: the worker in Redis through its checkpoint, Kafka Streams
and Quix in RocksDB and Faust in memory with a changelog topic, at least once. What counts is durable progress: offsets in Redis, or
committed by the group. The worker does more for each fill: it values the bucket and draws its certificate anew, and keeps a
journal. Everything shares the machine with the broker, one after the other, in rounds:
`python -m tests.bench.fills 1` runs one.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from redis.asyncio import Redis

from services.adapters.redis_table import RedisTable, TableSettings
from tests.bench.figures import row
from tests.bench.parts import (
    INSTRUMENTS,
    MARK,
    PARTITIONS,
    Message,
    account,
    append,
    copy_tables,
    instruments,
    keep_pricing,
    make_topics,
    marks,
)
from tests.bench.peers.programs import PEERS, Peer, Unavailable
from tests.integration.venue import until
from tests.integration.worker_process import WorkerProcess
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

PREFIX, SAVED = "bench-", "saved-"
FILLS = 1_000_000
HOT = 2_500  # accounts that trade at a time, each 40 times, before others do
LAP = 40 * HOT
ROUNDS = 3
WARM_UP_S, MEASURED_S, GIVE_UP_S = 3.0, 8.0, 120.0
LOOK_S = 0.05
LOOP_GAP_MS = 20_000
Progress = Callable[[], Awaitable[int]]


class Rate(NamedTuple):
    """Fills a second that became durable, and the processor time of the program itself for each, in microseconds."""

    fills: float
    cpu_us: float


class Seen(NamedTuple):
    """Progress, and when it was first seen."""

    at: float
    fills: int
    cpu_s: float


def name_of(lap: int, number: int) -> str:
    return f"a-{lap}-{number}"


def fills() -> Iterator[Message]:
    """Each account trades three instruments, in both directions."""
    dice = random.Random(5)
    for number in range(FILLS):
        lap, trader = number // LAP, dice.randrange(HOT)
        name, instrument = name_of(lap, trader), INSTRUMENTS[(trader + dice.randrange(3)) % len(INSTRUMENTS)]
        side, cents = ("buy", "sell")[dice.getrandbits(1)], MARK * 100 + dice.randrange(-900, 900)
        raw = (
            f'{{"fill_id":"f-{number}","account":"{name}","instrument":"{instrument}","side":"{side}","quantity":"{dice.randrange(1, 400) / 100}",'
            f'"price":"{cents / 100}","fee":"0.{dice.randrange(100, 999)}","ts_ms":1700000000000}}'
        )
        yield Message("fills", name, raw.encode())


async def durable_rate(progress: Progress, pid: int) -> Rate:
    """What became durable after the warm-up, between the first and the last change that was seen."""
    seen = [Seen(time.perf_counter(), await progress(), 0.0)]
    warm: list[Seen] = []
    deadline = seen[0].at + GIVE_UP_S
    while seen[-1].fills < FILLS and not (warm and warm[-1].at - warm[0].at >= MEASURED_S):
        assert time.perf_counter() < deadline, f"too little became durable to measure: {seen[-3:]}"
        await asyncio.sleep(LOOK_S)
        fills = await progress()
        if fills != seen[-1].fills:
            seen.append(Seen(time.perf_counter(), fills, cpu_seconds(pid)))
            warm = [each for each in seen[1:] if each.at >= seen[1].at + WARM_UP_S]
    assert len(warm) > 1, "all became durable while it warmed up"
    fills, took = warm[-1].fills - warm[0].fills, warm[-1].at - warm[0].at
    return Rate(fills / took, (warm[-1].cpu_s - warm[0].cpu_s) / fills * 1e6)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    """The broker, the tables, and the ways of reading the fills."""

    def __init__(self, bootstrap: str, redis_url: str, folder: Path) -> None:
        self._bootstrap = bootstrap
        self._redis_url = redis_url
        self._folder = folder
        self._redis = Redis.from_url(redis_url)
        self._runs = 0

    async def prepare(self) -> None:
        """Accounts with money in Redis, as a worker stored them; then the fills."""
        await make_topics(self._bootstrap, PREFIX)
        await append(self._bootstrap, PREFIX, [*instruments(), *marks()])
        names = [name_of(lap, number) for lap in range(FILLS // LAP) for number in range(HOT)]
        written = await append(self._bootstrap, PREFIX, (each for name in names for each in account(name, "1000000")))
        async with self._worker():

            async def all_stored() -> bool:
                return await self._stored("accounts", "transfers") == written

            await until("the accounts are stored", all_stored, GIVE_UP_S)
        await copy_tables(self._redis, PREFIX, SAVED)
        await append(self._bootstrap, PREFIX, fills())

    async def _stored(self, *topics: str) -> int:
        """Sum of the offsets in Redis."""
        table = RedisTable(self._redis, TableSettings(PREFIX, ""))
        found = [await table.stored_offsets(p) or {} for p in range(PARTITIONS)]
        return sum(offsets.get(topic, 0) for offsets in found for topic in topics)

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[int]:
        """Its process id."""
        # A worker that stood still for longer stores nothing until it has read its whole backlog: others use this machine too.
        worker = WorkerProcess(
            self._folder, "w-bench", self._bootstrap, self._redis_url, PREFIX, loop_gap_ms=LOOP_GAP_MS
        )
        pricing = asyncio.ensure_future(keep_pricing(self._bootstrap, PREFIX, 1.0))
        try:
            await worker.start(ready=False)
            assert worker.process is not None
            yield worker.process.pid
            assert worker.process.returncode is None, worker.log()
            await worker.terminate()
        finally:
            await worker.kill()
            pricing.cancel()
            with suppress(asyncio.CancelledError):
                await pricing

    async def worker(self) -> Rate:
        """One worker, from the accounts as they were stored before any fill."""
        await copy_tables(self._redis, SAVED, PREFIX)
        async with self._worker() as pid:
            return await durable_rate(lambda: self._stored("fills"), pid)

    async def peer(self, peer: Peer) -> Rate:
        """A peer of a new name: no state, no offsets."""
        self._runs += 1
        name = f"{peer.name}-{self._runs}"
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()

        async def committed() -> int:
            try:
                found = await admin.list_consumer_group_offsets(name)
            except GroupCoordinatorNotAvailableError:
                return 0  # nobody has joined it yet
            return sum(max(0, at.offset) for tp, at in found.items() if tp.topic == f"{PREFIX}fills")

        command = peer.command(self._bootstrap, f"{PREFIX}fills", name, self._folder / name, PARTITIONS)
        with (self._folder / f"{name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, cwd=self._folder, stdout=log, stderr=log)
        try:
            return await durable_rate(committed, process.pid)
        except AssertionError as error:
            raise AssertionError((self._folder / f"{name}.log").read_text()[-4_000:]) from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await admin.close()


async def measured(bootstrap: str, redis_url: str, folder: Path, peers: list[Peer], rounds: int) -> None:
    bench = Bench(bootstrap, redis_url, folder)
    await bench.prepare()
    ours: list[Rate] = []
    theirs: dict[str, list[Rate]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        ours.append(await bench.worker())
        for peer in peers:
            theirs[peer.name].append(await bench.peer(peer))
        shown = ", ".join(f"{name} {rates[-1].fills:,.0f}/s" for name, rates in theirs.items())
        print(f"fills: round {number + 1}: worker {ours[-1].fills:,.0f}/s, {shown}", file=sys.stderr, flush=True)
    for peer in peers:
        mine, other = middle(ours), middle(theirs[peer.name])
        row(
            f"durable fills/s of one worker / {peer.title}", mine.fills / other.fills, peer.reach,
            f"worker {mine.fills:,.0f}/s, {peer.name} {other.fills:,.0f}/s; processor time a fill {mine.cpu_us:.0f} and {other.cpu_us:.0f} us; "
            f"medians of {rounds} rounds, {PARTITIONS} partitions",
        )  # fmt: skip


def middle(rates: Sequence[Rate]) -> Rate:
    return Rate(statistics.median(each.fills for each in rates), statistics.median(each.cpu_us for each in rates))


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as name:
        peers = []
        for peer in PEERS:
            try:
                peer.prepare(Path(name))
                peers.append(peer)
            except Unavailable as error:
                print(f"fills: no {peer.name}: {error}", file=sys.stderr, flush=True)
        kafka, redis = KafkaServer(), RedisServer(appendfsync="everysec")
        try:
            kafka.start()
            redis.start()
            asyncio.run(measured(kafka.bootstrap, redis.url, Path(name), peers, rounds))
        finally:
            kafka.close()
            redis.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
