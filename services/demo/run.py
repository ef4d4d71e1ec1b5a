"""The demo from start to end: parts, worker, clients, crash, summary. Everything it starts it also ends."""

import asyncio
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from services.adapters.embedded import BROKER_PARTITIONS, EmbeddedBroker, EmbeddedValkey
from services.contracts.records import Record
from services.demo.accounts import openings
from services.demo.crash_path import crash_path, second_at
from services.demo.figures import Summary, explain, summarise
from services.demo.instruments import MARKET, Listing
from services.demo.process import WorkerFailed, WorkerProcess
from services.demo.settings import CRASH_ENGINE, worker_config
from services.demo.venue import READS, Venue
from services.demo.wire import Wire

INTERVAL_S: Final = 0.04  # between two marks of one instrument
SCREEN_S: Final = 0.25
READY_TIMEOUT_S: Final = 60.0
QUIET_S: Final = 0.5  # without a new answer, after the last mark: everything is settled
DRAIN_TIMEOUT_S: Final = 5.0
STEPS_A_ROUND: Final = 50
OVERRUN: Final = 3.0  # how many times longer than asked for a slow machine may take


class Options(Struct, frozen=True, kw_only=True):
    """What a person may choose. `seconds` is the length of the crash; starting and ending take some more."""

    seconds: float = 40.0
    seed: int = 1
    accounts: int = 2_000


class Screen(Protocol):
    """Who watches. Called from the event loop: it must be quick."""

    def show(self, venue: Venue) -> None:
        """The state of things, several times a second."""


class Outcome(Struct, frozen=True):
    """The summary, why buckets went negative, and the records as the venue saw them."""

    summary: Summary
    negatives: list[str]
    recording: list[Record]


async def play(options: Options, screen: Screen) -> Outcome:
    """Runs the whole demo.

    Raises:
        EmbeddedUnavailable: a wheel is missing.
        WorkerFailed: the worker ended, or was not ready in time; its log says why.
        asyncio.CancelledError: SIGTERM asked for the end; everything was stopped.
    """
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with (
        tempfile.TemporaryDirectory(prefix="ringfence-demo-") as folder,
        EmbeddedBroker() as broker,
        EmbeddedValkey() as valkey,
    ):
        place = Path(folder)
        config = place / "liquidator.toml"
        config.write_text(worker_config(broker.bootstrap, valkey.url, CRASH_ENGINE))
        worker = WorkerProcess(config, place / "worker.log")
        wire = Wire(broker.bootstrap, BROKER_PARTITIONS, READS)
        venue = Venue(wire, MARKET, crash_path(options.seed, MARKET))
        await wire.start()
        try:
            await worker.start()
            started = time.monotonic()
            await _run(options, venue, wire, worker, screen)
            seconds = time.monotonic() - started
        finally:
            await worker.stop()
            await wire.close()
    return _outcome(options, venue, seconds)


async def _run(options: Options, venue: Venue, wire: Wire, worker: WorkerProcess, screen: Screen) -> None:
    """The story, with its helpers beside it; the first failure of any of them ends all."""
    try:
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(_forever(venue.listen)),
                group.create_task(_forever(lambda: _refresh(venue, screen))),
                group.create_task(worker.watch()),
            ]
            await _story(options, venue, wire, worker)
            screen.show(venue)
            for helper in helpers:
                helper.cancel()
    except ExceptionGroup as group:
        raise group.exceptions[0] from group  # what came first ended the others


async def _story(options: Options, venue: Venue, wire: Wire, worker: WorkerProcess) -> None:
    figures, crash = venue.figures, _Ticker(venue, MARKET)
    figures.phase = "waiting for the worker"
    await venue.list_instruments()
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await crash.hold(until=lambda: len(venue.engine.claimed) == BROKER_PARTITIONS)
            figures.phase = f"opening {options.accounts} accounts"
            prices, now_ms = dict(venue.books.marks), time.time_ns() // 1_000_000
            await crash.hold_while(
                venue.book(opening)
                for opening in openings(options.seed, options.accounts, MARKET, prices, ts_ms=now_ms)
            )
            await crash.hold(until=venue.is_seen)
    except TimeoutError as late:
        missing = sum(bool(bucket.positions) for bucket in venue.books.buckets.values()) - len(figures.statuses)
        raise WorkerFailed(
            f"after {READY_TIMEOUT_S:.0f} s the worker owned {len(venue.engine.claimed)} partitions, "
            f"{missing} buckets were missing\n{worker.log_tail()}"
        ) from late
    figures.phase = "crash"
    async with asyncio.timeout(options.seconds * OVERRUN + READY_TIMEOUT_S):
        await crash.fall(options.seconds)
    figures.phase = "settling"
    await crash.settle()
    await wire.flush()
    figures.phase = "done"


class _Ticker:
    """Publishes marks in even steps. A late step is published late and never skipped: a slow machine makes no gaps."""

    def __init__(self, venue: Venue, market: Sequence[Listing]) -> None:
        self._venue = venue
        self._names = [listing.name for listing in market]

    async def hold(self, *, until: Callable[[], bool]) -> None:
        """The first marks again and again, so that they stay fresh."""
        due = time.monotonic()
        while not until():
            due = await self._round(0.0, due)

    async def hold_while(self, steps: Iterable[Awaitable[None]]) -> None:
        """Does the steps, `STEPS_A_ROUND` of them between two rounds of the first marks."""
        for number, step in enumerate(steps):
            await step
            if number % STEPS_A_ROUND == 0:
                await self._round(0.0, time.monotonic())

    async def fall(self, seconds: float) -> None:
        rounds = max(1, round(seconds / INTERVAL_S))
        due = time.monotonic()
        for number in range(rounds):
            due = await self._round(second_at(number / rounds), due)

    async def settle(self) -> None:
        """The last marks until nothing was answered for `QUIET_S`, at most `DRAIN_TIMEOUT_S`."""
        ends = time.monotonic() + DRAIN_TIMEOUT_S
        answered, since = -1, time.monotonic()
        due = since
        while time.monotonic() < ends and time.monotonic() - since < QUIET_S:
            due = await self._round(second_at(1.0), due)
            total = self._venue.figures.answers.total()
            if total != answered or self._venue.engine.waiting:
                answered, since = total, time.monotonic()

    async def _round(self, second: float, due: float) -> float:
        """One mark of each instrument at `due`; when the next round is due.

        All at once: the embedded broker hands out one appended batch of a partition a fetch, so marks that travel together
        reach the worker together.
        """
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        for name in self._names:
            await self._venue.tick(name, second)
        return max(due + INTERVAL_S, time.monotonic())


async def _refresh(venue: Venue, screen: Screen) -> None:
    screen.show(venue)
    await asyncio.sleep(SCREEN_S)


async def _forever(step: Callable[[], Awaitable[None]]) -> None:
    while True:
        await step()


def _outcome(options: Options, venue: Venue, seconds: float) -> Outcome:
    summary = summarise(venue.figures, venue.books, accounts=options.accounts, seconds=seconds, seed=options.seed)
    return Outcome(summary, [explain(negative) for negative in venue.books.negatives.values()], venue.recording)
