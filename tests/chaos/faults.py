"""What goes wrong, when, and with what: drawn from the seed."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.chaos.venue import Venue
from tests.chaos.workers import Place
from tests.support.kafka import KafkaServer
from tests.support.process import ServerProcess
from tests.support.redis import RedisServer

MEAN_S: Final = 3.0
# How often each comes in a round of all; each round is in an order of its own.
BAG: Final = {
    "kill": 7, "pause": 3, "redis_restart": 1, "redis_rollback": 2, "flush": 2, "cut": 3, "broker_restart": 1, "silence": 1,
}  # fmt: skip
LOST_BYTES: Final = 200_000  # of the append-only file, at the most


class Faults:
    """Draws and causes faults until told to stop; `mend` then repairs what is broken outside of the workers."""

    def __init__(  # noqa: PLR0917  # the world hands over its parts, once
        self, draw: random.Random, places: Sequence[Place], kafka: KafkaServer, redis: RedisServer, client: Redis, venue: Venue, only: Collection[str] = ()
    ) -> None:  # fmt: skip
        self._draw = draw
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
        self._causes: dict[str, Callable[[], Coroutine[Any, Any, bool]]] = {
            "kill": self._kill, "pause": self._pause, "redis_restart": self._restart_redis,
            "redis_rollback": self._roll_redis_back, "flush": self._flush,
            "cut": self._cut, "broker_restart": self._restart_broker, "silence": self._silence,
        }  # fmt: skip

    async def run(self, seconds: float) -> None:
        """One after the other, `MEAN_S` apart; what lasts, lasts while others begin."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for kind in self._kinds():
            wait = self._draw.expovariate(1 / MEAN_S)
            if loop.time() + wait >= end:
                await asyncio.sleep(end - loop.time())
                return
            await asyncio.sleep(wait)
            task = asyncio.ensure_future(self._cause(kind))
            self._under_way.add(task)

    async def mend(self) -> None:
        """Until every fault that began is over. Raises what went wrong in causing one."""
        await asyncio.gather(*self._under_way)

    def _kinds(self) -> Iterator[str]:
        """First one of each, then the rest of the bag; and again."""
        once = Counter(dict.fromkeys(self._bag, 1))
        while True:
            for part in (once, self._bag - once):
                kinds = sorted(part.elements())
                self._draw.shuffle(kinds)
                yield from kinds

    async def _cause(self, kind: str) -> None:
        self.told.append(f"{asyncio.get_running_loop().time():.1f} {kind}")
        if await self._causes[kind]():
            self.counts[kind] += 1

    # -- kinds: each answers whether it happened -------------------------------------------------------------------------

    async def _kill(self) -> bool:
        """SIGKILL of a process that is past its start: the others have nothing to lose yet."""
        up = [place for place in self._places if place.is_up]
        return bool(up) and self._draw.choice(up).kill()

    async def _pause(self) -> bool:
        """SIGSTOP, mostly for longer than a session, and SIGCONT."""
        up, seconds = [place for place in self._places if place.is_up], self._draw.uniform(1, 7)
        if not up:
            return False
        place = self._draw.choice(up)
        life = place.freeze()
        if life is None:
            return False
        await asyncio.sleep(seconds)
        place.thaw(life)
        return True

    async def _restart_redis(self) -> bool:
        return await self._restart(self._redis, self._draw.uniform(0, 2))

    async def _restart_broker(self) -> bool:
        return await self._restart(self._kafka, self._draw.uniform(0, 1))

    async def _roll_redis_back(self) -> bool:
        """As a failover to a replica that was behind: the last writes, which were acknowledged, are gone."""
        return await self._restart(self._redis, self._draw.uniform(0, 1), self._cut_log)

    def _cut_log(self) -> None:
        log = max((self._redis.directory / "appendonlydir").glob("*.incr.aof"))
        os.truncate(log, max(0, log.stat().st_size - self._draw.randrange(LOST_BYTES)))

    async def _restart(
        self, server: ServerProcess, away_s: float, while_down: Callable[[], None] = lambda: None
    ) -> bool:
        """SIGKILL, and start again on the same folder."""
        if server.name in self._busy:
            return False
        self._busy.add(server.name)
        await asyncio.to_thread(server.kill)
        while_down()
        await asyncio.sleep(away_s)
        await asyncio.to_thread(server.start)
        self._busy.discard(server.name)
        return True

    async def _flush(self) -> bool:
        """FLUSHALL: the tables are gone."""
        try:
            await self._client.flushall()
        except (RedisError, OSError):  # being restarted
            return False
        return True

    async def _cut(self) -> bool:
        """Between one worker and Redis, silently or with a reset."""
        place, silently, seconds = (
            self._draw.choice(self._places),
            self._draw.random() < 0.5,
            self._draw.uniform(0.5, 5),
        )
        name = f"cable of {place.name}"
        if name in self._busy:
            return False
        self._busy.add(name)
        place.proxy.cut(silently=silently)
        await asyncio.sleep(seconds)
        place.proxy.mend()
        self._busy.discard(name)
        return True

    async def _silence(self) -> bool:
        """The matching engine reads orders and executes none."""
        self._venue.silent_until = asyncio.get_running_loop().time() + self._draw.uniform(2, 6)
        return True
