"""The demo from start to end: parts, worker, story, summary. Everything it starts it also ends."""

import asyncio
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from services.adapters.embedded import BROKER_PARTITIONS, EmbeddedBroker, EmbeddedValkey
from services.contracts.records import Record
from services.demo.figures import Summary, explain, summarise
from services.demo.process import WorkerFailed, WorkerProcess
from services.demo.rounds import Rounds
from services.demo.settings import CRASH_ENGINE, worker_config
from services.demo.story import Story
from services.demo.venue import READS, Venue
from services.demo.wire import Wire

SCREEN_S: Final = 0.25
READY_TIMEOUT_S: Final = 60.0
OVERRUN: Final = 3.0  # how many times longer than asked for a slow machine may take


class Screen(Protocol):
    """Who watches. Called from the event loop: it must be quick."""

    def show(self, venue: Venue) -> None:
        """The state of things, several times a second."""


class Outcome(Struct, frozen=True):
    """The summary, why buckets went negative, and the records as the venue saw them."""

    summary: Summary
    negatives: list[str]
    recording: list[Record]


async def play(story: Story, screen: Screen) -> Outcome:
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
        wire = Wire(broker.bootstrap, READS)
        venue = Venue(wire, story.instruments)
        await wire.start()
        try:
            await worker.start()
            started = time.monotonic()
            await _run(story, venue, wire, worker, screen)
            seconds = time.monotonic() - started
        finally:
            await worker.stop()
            await wire.close()
    return _outcome(story, venue, seconds)


async def _run(story: Story, venue: Venue, wire: Wire, worker: WorkerProcess, screen: Screen) -> None:
    """The story, with its helpers beside it; the first failure of any of them ends all."""
    try:
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(_forever(venue.listen)),
                group.create_task(_forever(lambda: _refresh(venue, screen))),
                group.create_task(worker.watch()),
            ]
            await _tell(story, venue, wire, worker)
            screen.show(venue)
            for helper in helpers:
                helper.cancel()
    except ExceptionGroup as group:
        raise group.exceptions[0] from group  # what came first ended the others


async def _tell(story: Story, venue: Venue, wire: Wire, worker: WorkerProcess) -> None:
    figures, rounds = venue.figures, Rounds(venue, story)
    figures.phase = "waiting for the worker"
    await story.announce(venue)
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await rounds.hold(until=lambda: len(venue.engine.claimed) == BROKER_PARTITIONS)
            figures.phase = f"opening {story.accounts:,} accounts"
            await rounds.open(story.openings(venue))
    except TimeoutError as late:
        raise WorkerFailed(
            f"after {READY_TIMEOUT_S:.0f} s the worker owned {len(venue.engine.claimed)} partitions, "
            f"{venue.unseen()} buckets were missing\n{worker.log_tail()}"
        ) from late
    figures.phase = f"playing {story.name}"
    async with asyncio.timeout(story.seconds * OVERRUN + READY_TIMEOUT_S):
        await rounds.play()
    figures.phase, figures.progress = "settling", None
    await rounds.settle()
    await wire.flush()
    figures.phase = "done"


async def _refresh(venue: Venue, screen: Screen) -> None:
    screen.show(venue)
    await asyncio.sleep(SCREEN_S)


async def _forever(step: Callable[[], Awaitable[None]]) -> None:
    while True:
        await step()


def _outcome(story: Story, venue: Venue, seconds: float) -> Outcome:
    summary = summarise(venue.figures, venue.books, played=story.name, seconds=seconds)
    return Outcome(summary, [explain(negative) for negative in venue.books.negatives.values()], venue.recording)
