"""What goes wrong, when, and with what: drawn from the seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.venue import Venue
from tests.chaos.workers import Place
from tests.support.kafka import KafkaServer
from tests.support.process import ServerProcess
from tests.support.redis import RedisServer

MEAN_S: Final = 3.0
CHANCE_S: Final = 150.0  # within which a fault finds its chance: longer than a server may take to start
RETRY_S: Final = 0.2
# How often each comes in a round of all; each round is in an order of its own.
BAG: Final = {
    "kill": 7, "pause": 3, "redis_restart": 1, "redis_rollback": 2, "flush": 2, "cut": 3, "broker_restart": 1, "silence": 1,
}  # fmt: skip
Fault = AsyncGenerator[str, None]
LOST_BYTES: Final = 200_000  # of the append-only file, at the most


class Faults:
    """Draws and causes faults until told to stop; `mend` then repairs what is broken outside of the workers."""

    def __init__(  # noqa: PLR0917  # the world hands over its parts, once
        self, draw: random.Random, places: Sequence[Place], kafka: KafkaServer, redis: RedisServer, client: Redis, venue: Venue, only: Collection[str] = ()
    ) -> None:  # fmt: skip
        self._draw = (
            draw  # of the schedule alone: what a fault draws comes from a source of its own, and changes no other
        )
        self._places = places
        self._kafka = kafka
        self._redis = redis
        self._client = client
        self._venue = venue
        self._bag = Counter({kind: count for kind, count in BAG.items() if kind in (only or BAG)})
        self._busy: set[str] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        self.counts: Counter[str] = Counter()
        self.told: list[str] = []
        self._began = 0.0  # loop time
        self._causes: dict[str, Callable[[random.Random], Fault]] = {
            "kill": self._kill, "pause": self._pause, "redis_restart": self._restart_redis,
            "redis_rollback": self._roll_redis_back, "flush": self._flush,
            "cut": self._cut, "broker_restart": self._restart_broker, "silence": self._silence,
        }  # fmt: skip

    async def run(self, seconds: float) -> None:
        """One after the other, `MEAN_S` apart; what lasts, lasts while others begin. Goes on until there was one of each kind."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        end = self._began + seconds
        for kind in self._kinds():
            wait, own = self._draw.expovariate(1 / MEAN_S), random.Random(self._draw.getrandbits(64))
            if loop.time() + wait >= end and self.counts.keys() == self._bag.keys():
                await asyncio.sleep(end - loop.time())
                return
            assert loop.time() < end + CHANCE_S, f"no fault of some kind: {dict(self.counts)}"
            await asyncio.sleep(wait)
            self._under_way.add(asyncio.ensure_future(self._finish(await self._begin(kind, own))))

    async def mend(self) -> None:
        """Until every fault that began is over. Raises what went wrong in causing one."""
        await asyncio.gather(*self._under_way)

    async def end(self) -> None:
        """Whatever a run that failed left behind."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _kinds(self) -> Iterator[str]:
        """First one of each, then the rest of the bag; and again."""
        once = Counter(dict.fromkeys(self._bag, 1))
        while True:
            for part in (once, self._bag - once):
                kinds = sorted(part.elements())
                self._draw.shuffle(kinds)
                yield from kinds

    async def _begin(self, kind: str, draw: random.Random) -> Fault:
        """What finds nobody up, or a server that is away already, waits for its chance."""
        loop = asyncio.get_running_loop()
        drawn = loop.time()
        while not (hit := await anext(fault := self._causes[kind](draw), "")):
            assert loop.time() - drawn < CHANCE_S, f"{kind} found no chance in {CHANCE_S:g} s"
            await asyncio.sleep(RETRY_S)
        self.told.append(f"{loop.time() - self._began:.1f} {kind} {hit}")
        self.counts[kind] += 1
        return fault

    @staticmethod
    async def _finish(fault: Fault) -> None:
        async for _ in fault:
            raise AssertionError("a fault begins once")

    # -- kinds: each begins and tells whom it hits, and is mended after that; or has no chance and tells nothing ----------

    async def _kill(self, draw: random.Random) -> Fault:
        """SIGKILL of a process that is past its start: the others have nothing to lose yet."""
        if up := [place for place in self._places if place.is_up]:
            yield draw.choice(up).kill()

    async def _pause(self, draw: random.Random) -> Fault:
        """SIGSTOP, mostly for longer than a session, and SIGCONT."""
        if up := [place for place in self._places if place.is_up and not place.is_frozen]:
            place = draw.choice(up)
            life = place.freeze()
            yield life.worker.name
            await asyncio.sleep(draw.uniform(1, 7))
            place.thaw(life)

    def _restart_redis(self, draw: random.Random) -> Fault:
        return self._restart(self._redis, draw.uniform(0, 2))

    def _restart_broker(self, draw: random.Random) -> Fault:
        return self._restart(self._kafka, draw.uniform(0, 1))

    def _roll_redis_back(self, draw: random.Random) -> Fault:
        """As a failover to a replica that was behind: the last writes, which were acknowledged, are gone."""
        return self._restart(self._redis, draw.uniform(0, 1), partial(self._cut_log, draw.randrange(LOST_BYTES)))

    def _cut_log(self, lost: int) -> None:
        log = max((self._redis.directory / "appendonlydir").glob("*.incr.aof"), key=_number)
        os.truncate(log, max(0, log.stat().st_size - lost))

    async def _restart(
        self, server: ServerProcess, away_s: float, while_down: Callable[[], None] = lambda: None
    ) -> Fault:
        """SIGKILL, and start again on the same folder."""
        if server.name not in self._busy:
            self._busy.add(server.name)
            await asyncio.to_thread(server.kill)
            yield server.name
            while_down()
            await asyncio.sleep(away_s)
            await asyncio.to_thread(server.start)
            self._busy.discard(server.name)

    async def _flush(self, _: random.Random) -> Fault:
        """FLUSHALL: the tables are gone."""
        with contextlib.suppress(RedisError, OSError):  # it is away
            await self._client.flushall()
            yield self._redis.name

    async def _cut(self, draw: random.Random) -> Fault:
        """Between one worker and Redis, silently or with a reset."""
        place, silently = draw.choice(self._places), draw.random() < 0.5
        name = f"cable of {place.name}"
        if name not in self._busy:
            self._busy.add(name)
            place.proxy.cut(silently=silently)
            yield name
            await asyncio.sleep(draw.uniform(0.5, 5))
            place.proxy.mend()
            self._busy.discard(name)

    async def _silence(self, draw: random.Random) -> Fault:
        """The matching engine reads orders and executes none."""
        self._venue.silent_until = asyncio.get_running_loop().time() + draw.uniform(2, 6)
        yield "venue"


def _number(log: Path) -> int:
    """Of the parts of the append-only file: `appendonly.aof.12.incr.aof`. Only the last may end in the middle of a write."""
    return int(log.name.split(".")[-3])
