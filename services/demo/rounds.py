"""The pace of the market: rounds of marks in even steps."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

from services.demo.story import Story
from services.demo.venue import Venue

INTERVAL_S: Final = 0.07  # between two marks of one instrument
QUIET_S: Final = 0.5  # without a new answer, after the last mark: everything is settled
DRAIN_TIMEOUT_S: Final = 5.0
STEPS_A_ROUND: Final = 50
AHEAD: Final = 100  # buckets that the monitor may still have to report while more are opened
STALLED_S: Final = 2.0  # without a new report: what is missing then was refused


class Rounds:
    """Publishes marks in even steps. A late step is published late and never skipped: a slow machine makes no gaps.

    All marks of a round at once: the embedded broker hands out one appended batch of a partition a fetch, so marks that
    travel together reach the worker together.
    """

    def __init__(self, venue: Venue, story: Story) -> None:
        self._venue = venue
        self._story = story

    async def hold(self, *, until: Callable[[], bool]) -> None:
        """The newest marks again and again, so that they stay fresh."""
        due = time.monotonic()
        while not until():
            due = await self._round(self._venue.mark_again, due)

    async def open(self, steps: Iterable[Awaitable[None]]) -> None:
        """Does the steps, `STEPS_A_ROUND` of them between two rounds of the newest marks, and all are reported in the end.

        Never more than `AHEAD` buckets ahead of the monitor: deposits and fills travel in different topics, and one that lags
        would see the fills of clients whose deposits it has not read yet.
        """
        refused = 0
        for number, step in enumerate(steps):
            await step
            if number % STEPS_A_ROUND == 0:
                self._venue.figures.progress = min(1.0, self._venue.books.accounts / max(1, self._story.accounts))
                await self._round(self._venue.mark_again, time.monotonic())
                refused = max(refused, await self._reported(refused + AHEAD) - AHEAD)
        await self._reported(refused)

    async def _reported(self, missing: int) -> int:
        """Holds the market until at most `missing` buckets are not reported, or no more of them are; how many are not."""
        left, since = self._venue.unseen(), time.monotonic()
        due = since
        while left > missing and time.monotonic() - since < STALLED_S:
            due = await self._round(self._venue.mark_again, due)
            if (now := self._venue.unseen()) != left:
                left, since = now, time.monotonic()
        return left

    async def play(self) -> None:
        """The whole story at its length."""
        rounds = max(1, round(self._story.seconds / INTERVAL_S))
        due = time.monotonic()
        for number in range(1, rounds + 1):
            share = number / rounds
            self._venue.figures.progress = share
            due = await self._round(partial(self._story.play, self._venue, share), due)

    async def settle(self) -> None:
        """The last marks until nothing was answered for `QUIET_S`, at most `DRAIN_TIMEOUT_S`."""
        ends = time.monotonic() + DRAIN_TIMEOUT_S
        answered, since = -1, time.monotonic()
        due = since
        while time.monotonic() < ends and time.monotonic() - since < QUIET_S:
            due = await self._round(self._venue.mark_again, due)
            total = self._venue.figures.answers.total()
            if total != answered or self._venue.engine.waiting:
                answered, since = total, time.monotonic()

    async def _round(self, step: Callable[[], Awaitable[None]], due: float) -> float:
        """One step at `due`; when the next one is due."""
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await step()
        return max(due + INTERVAL_S, time.monotonic())
