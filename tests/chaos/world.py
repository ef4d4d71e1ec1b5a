"""One run: servers, workers, a standby and venue; faults; healing; the last judgement. A seed decides what is drawn, not who is up."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from services.adapters.ports import Unreachable
from services.adapters.redis_table import RedisTable, TableSettings
from services.contracts.topics import ACCOUNT_TOPICS
from tests.chaos.faults import Faults
from tests.chaos.proof import Recorded, prove
from tests.chaos.proxy import Proxy
from tests.chaos.topics import read_topics
from tests.chaos.venue import PARTITIONS, Venue
from tests.chaos.workers import Place
from tests.integration.venue import until
from tests.support.kafka import KafkaServer
from tests.support.process import StartFailed
from tests.support.redis import RedisServer

# Far above what anything takes (see `open_again_ms` and `healed_ms`), for a machine that does much else: that it happens is the promise.
HEAL_S = 120.0
STORE_S = 60.0
TURNS = 5  # in which a standby must have taken over
TELL_EVERY_S = 5.0
PREFIX = "chaos-"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of everything."""

    workers: int = 2
    standbys: int = 1
    accounts: int = 80
    fills_per_s: int = 200
    keep: Path | None = None  # where to save the topics if a fault was found
    only: frozenset[str] = frozenset()  # these kinds of faults; none named: all


@dataclass
class Outcome:
    """What a run came to. `found`: promises that were broken; nothing else makes a run fail."""

    seed: int
    minutes: float
    figures: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    logs: str = ""
    faults: list[str] = field(default_factory=list)

    def line(self) -> str:
        shown = " ".join(f"{name}={count}" for name, count in self.figures.items())
        return f"seed={self.seed} minutes={self.minutes:g} {shown} faults_found={len(self.found)}"

    def reason(self) -> str:
        """The first thing that was found, in one line."""
        return self.found[0].partition("\n")[0] if self.found else "nothing found"


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class World:
    """Used once: `run`."""

    def __init__(self, seed: int, minutes: float, size: Size) -> None:
        self._seed = seed
        self._minutes = minutes
        self._size = size
        self._started = time.monotonic()

    def _draw(self, who: str) -> random.Random:
        """A source for each: what one draws, as often as the scheduling lets it, changes nothing for the others."""
        return random.Random(f"{self._seed} {who}")

    async def run(self) -> Outcome:
        """Everything that was started is stopped when this returns or raises.

        Raises:
            Unavailable: Kafka or Redis cannot be had on this machine.
        """
        outcome = Outcome(self._seed, self._minutes)
        async with AsyncExitStack() as stack:
            await self._set_up(stack)
            try:
                await self._faults_and_healing(outcome)
                await self._judge(outcome)
            except (AssertionError, TimeoutError, StartFailed, KafkaError, Unreachable) as error:
                outcome.found.append(str(error) or repr(error))
            self._sum_up(outcome)
        return outcome

    async def _set_up(self, stack: AsyncExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringfence-chaos-")))
        self._kafka, self._redis = await asyncio.to_thread(KafkaServer), await asyncio.to_thread(RedisServer)
        for server in (self._kafka, self._redis):
            stack.callback(server.close)
            await asyncio.to_thread(server.start)
        self._client = await stack.enter_async_context(Redis.from_url(self._redis.url, socket_timeout=5))
        self._venue = await stack.enter_async_context(
            Venue(
                self._kafka.bootstrap,
                PREFIX,
                self._draw("venue"),
                accounts=self._size.accounts,
                fills_per_s=self._size.fills_per_s,
            )
        )
        self._places = []
        names = [f"w-{n}" for n in range(self._size.workers)] + [f"standby-{n}" for n in range(self._size.standbys)]
        for name in names:
            proxy = await Proxy(self._redis.port).start()
            stack.push_async_callback(proxy.close)
            standby = name.startswith("standby")
            self._places.append(
                Place(name, folder, self._kafka.bootstrap, PREFIX, proxy, self._draw(name), standby=standby)
            )
        self._keepers = [asyncio.ensure_future(place.keep()) for place in self._places]
        stack.push_async_callback(self._end_workers)
        self._faults = Faults(
            self._draw("faults"), self._places, self._kafka, self._redis, self._client, self._venue, self._size.only
        )
        stack.push_async_callback(self._faults.end)

    async def _end_workers(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for place in self._places:
            await place.destroy()

    # -- phases --------------------------------------------------------------------------------------------------------

    async def _faults_and_healing(self, outcome: Outcome) -> None:
        await until("the shards are open before the first fault", self._is_open, HEAL_S)
        self._say("faults begin")
        teller = asyncio.ensure_future(self._tell())
        try:
            await self._faults.run(self._minutes * 60)
            await self._faults.mend()
        finally:
            teller.cancel()
        self._say("healing")
        self._venue.calm = True
        began = time.monotonic()
        await until("every shard is open again", self._is_open, HEAL_S)
        outcome.figures["open_again_ms"] = round((time.monotonic() - began) * 1000)
        await self._nothing_is_stuck()
        outcome.figures["healed_ms"] = round((time.monotonic() - began) * 1000)
        await self._give_a_standby_its_turn()
        await until("the venue has said all", self._venue.is_settled, STORE_S)
        await until("every worker is up", self._is_up, HEAL_S)  # so that it hears that it is asked to stop

    async def _give_a_standby_its_turn(self) -> None:
        """If no owner was killed while a standby stood ready, as on a slow machine, where all have only begun: now."""
        for _ in range(TURNS):
            if self._taken_over() or self._size.only or not self._size.standbys:
                return
            self._say("no standby took over yet: all owners are killed once more")
            await until("every shard is open and a standby ready", self._is_guarded, HEAL_S)
            for place in self._places:
                if place.is_up and not place.standby:
                    place.kill()
            await until("every shard is open again, or a standby took over", self._is_taken_over_or_open, HEAL_S)
        assert self._taken_over(), f"no standby took over, though all owners were killed {TURNS} times"

    def _taken_over(self) -> int:
        return sum(place.takeovers for place in self._places)

    async def _is_guarded(self) -> bool:
        if not await self._is_up() or not await self._is_open():
            return False
        return all([await place.is_ready() for place in self._places if place.standby])

    async def _is_taken_over_or_open(self) -> bool:
        return self._taken_over() > 0 or (await self._is_up() and await self._is_open())

    async def _nothing_is_stuck(self) -> None:
        """Whoever is under the requirement gets an order, and it executes."""
        try:
            await until("nothing is under its requirement", self._is_unstuck, HEAL_S)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._venue.stuck()[:5]}") from error

    async def _judge(self, outcome: Outcome) -> None:
        table = RedisTable(self._client, TableSettings(PREFIX, ""))
        await until("everything is stored", lambda: self._is_stored(table), STORE_S)
        codes = await asyncio.gather(*(place.end() for place in self._places))
        if any(codes):
            outcome.found.append(f"workers ended with {codes} when they were asked to stop")
        topics = await read_topics(self._kafka.bootstrap, PREFIX)
        stored = [await table.load(partition) for partition in range(PARTITIONS)]
        self._say(f"judging {len(topics.all())} records")
        self.recorded = Recorded(
            topics,
            {partition: dict(each.rows) for partition, each in enumerate(stored)},
            {partition: each.offsets or {} for partition, each in enumerate(stored)},
            {life.worker.name: life.killed_ms for p in self._places for life in p.lives if life.killed_ms is not None},
            self._venue.positions, self._venue.fill_ids, self._venue.executed,
        )  # fmt: skip
        proof = await asyncio.to_thread(prove, self.recorded, self._say)
        outcome.figures += proof.figures
        outcome.found += proof.found
        if proof.found and self._size.keep is not None:
            topics.save(self._size.keep)

    def _sum_up(self, outcome: Outcome) -> None:
        outcome.figures |= {f"fault_{name}": count for name, count in sorted(self._faults.counts.items())}
        outcome.figures["taken_over_by_standby"] = self._taken_over()
        outcome.figures["refused_starts"] = sum(place.refused_starts for place in self._places)
        outcome.figures["crashes_of_the_market"] = self._venue.path.crashes
        outcome.found += [text for place in self._places for text in place.unexpected]
        if self._venue.error is not None:
            outcome.found.append(f"the venue itself failed: {self._venue.error!r}")
        outcome.faults = self._faults.told
        if outcome.found:
            outcome.logs = "\n".join(place.logs() for place in self._places)

    # -- conditions ----------------------------------------------------------------------------------------------------

    async def _is_open(self) -> bool:
        self._check_harness()
        counts = [await place.open_gates() for place in self._places]
        return sum(counts) == PARTITIONS

    async def _is_up(self) -> bool:
        self._check_harness()
        return all(place.is_up for place in self._places)

    async def _is_unstuck(self) -> bool:
        self._check_harness()
        return not self._venue.stuck()

    async def _is_stored(self, table: RedisTable) -> bool:
        """To the ends that the account topics have now."""
        ends = await self._venue.ends(ACCOUNT_TOPICS)
        try:
            stored = [await table.load(partition) for partition in range(PARTITIONS)]
        except Unreachable:  # the connection is of before the last restart
            return False
        return all((stored[p].offsets or {}).get(topic, 0) == end for (topic, p), end in ends.items())

    def _check_harness(self) -> None:
        assert self._venue.error is None, f"the venue itself failed: {self._venue.error!r}"
        for keeper in self._keepers:
            assert not keeper.done(), f"the supervisor itself failed: {keeper!r}"

    # -- telling -------------------------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            faults = " ".join(f"{name}={count}" for name, count in sorted(self._faults.counts.items()))
            states = await asyncio.gather(*(place.state() for place in self._places))
            self._say(
                f"fills={len(self._venue.fill_ids)} executed={len(self._venue.executed)} workers=[{' '.join(states)}] stuck={len(self._venue.stuck())} {faults}"
            )

    def _say(self, text: str) -> None:
        tell(f"{time.monotonic() - self._started:7.1f} s  {text}")


def run(seed: int, minutes: float, size: Size) -> Outcome:
    return asyncio.run(World(seed, minutes, size).run())


def total(outcomes: Sequence[Outcome]) -> Outcome:
    """Several rounds as one."""
    figures = sum((outcome.figures for outcome in outcomes), Counter[str]())
    found = [text for outcome in outcomes for text in outcome.found]
    return Outcome(outcomes[0].seed, sum(outcome.minutes for outcome in outcomes), figures, found)
