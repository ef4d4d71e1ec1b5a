"""Links between a process and a server: latency, loss, cuts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from services.adapters.ports import Unreachable
from tests.simulation.loop import VirtualLoop

REQUEST_TIMEOUT_S = 1.5
Answer = TypeVar("Answer")


@dataclass
class Weather:
    """How bad the network is. All rates are probabilities a request; a calm network has none."""

    latency_s: float = 0.003
    lost: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    dropped_batches: float = 0.0
    slow_topic: str | None = None


class Link:
    """One process's connection to one server."""

    def __init__(self, loop: VirtualLoop, draw: random.Random, weather: Weather, count: Callable[[str], None]) -> None:
        self._loop = loop
        self._draw = draw
        self.weather = weather
        self._count = count
        self.up = True
        self._restored: asyncio.Event = asyncio.Event()

    def cut(self) -> None:
        self.up = False
        self._restored.clear()

    def restore(self) -> None:
        self.up = True
        self._restored.set()

    def latency(self) -> float:
        return self._draw.expovariate(1 / self.weather.latency_s)

    def fate(self) -> str:
        """What becomes of a request."""
        at, weather = self._draw.random(), self.weather
        for name, rate in (("lost", weather.lost), ("unanswered", weather.unanswered), ("late", weather.late)):
            if at < rate:
                self._count(name)
                return name
            at -= rate
        return "ok"

    def drops(self) -> bool:
        dropped = self._draw.random() < self.weather.dropped_batches
        if dropped:
            self._count("batch_dropped")
        return dropped

    async def fetch(self, topic: str) -> None:
        """The delay of a fetch; while the link is cut it waits."""
        slow = 40 if self.weather.slow_topic == topic else 1
        await asyncio.sleep(self.latency() * slow)
        while not self.up:
            await self._restored.wait()
            await asyncio.sleep(self.latency())

    async def request(self, carry_out: Callable[[], Answer], what: str) -> Answer:
        """Have the server do something and answer.

        Raises:
            Unreachable: no answer in time; it may have been done, or may still be.
        """
        fate = self.fate() if self.up else "lost"
        answer: asyncio.Future[Answer] = self._loop.create_future()

        def arrive() -> None:
            found = carry_out()
            if fate == "ok":
                self._loop.later(self.latency(), lambda: answer.done() or answer.set_result(found))

        if fate != "lost":
            late = self._draw.uniform(0, 2 * REQUEST_TIMEOUT_S) if fate == "late" else 0.0
            self._loop.later(self.latency() + late, arrive)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                return await answer
        except TimeoutError as error:
            raise Unreachable(f"{what}: no answer") from error
