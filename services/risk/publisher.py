"""A term of office: take over from the topic's own last records, follow the prices, write what follows from them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.adapters.broadcast import BroadcastSettings
from services.adapters.kafka_connection import KafkaConnection
from services.adapters.metrics import Reading
from services.adapters.ports import Clock, Logger
from services.contracts.codec import decode
from services.contracts.decimals import ONE
from services.contracts.messages import RiskParameters
from services.contracts.records import Record
from services.engine.risk_fold import RiskFold
from services.engine.volatility import RiskModel
from services.risk.election import Election, ElectionSettings
from services.risk.feed import RiskFeed
from services.risk.writer import Deposed, Writer

RISK_TOPIC: Final = "risk-parameters"
READS: Final = ("instruments", RISK_TOPIC, "prices")
PAUSE_S: Final = 1.0  # after a failed term, while still elected
STEP_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class PublisherSettings:
    """How to reach the topics, how to be elected, and the model."""

    connection: KafkaConnection
    prefix: str
    election: ElectionSettings
    model: RiskModel
    look_back_ms: int = 600_000
    fetch_max_wait_ms: int = 100

    @property
    def topic(self) -> str:
        return f"{self.prefix}{RISK_TOPIC}"


class Term:
    """From an election to its loss."""

    def __init__(self, settings: PublisherSettings, clock: Clock, log: Logger) -> None:
        self._settings, self._log = settings, log
        self.fold = RiskFold(settings.model)
        self.fold.live = False
        self.written = 0
        self._last: dict[str, RiskParameters] = {}
        self._resumed = False
        self._writer = Writer(settings.connection, settings.topic)
        self._feed = RiskFeed(
            BroadcastSettings(
                settings.connection, {f"{settings.prefix}{name}": name for name in READS}, settings.look_back_ms,
                settings.fetch_max_wait_ms,
            ),
            clock, self._take, self._go_live, self._resume,
        )  # fmt: skip

    async def run(self) -> None:
        """Publish until cancelled.

        Raises:
            Deposed: another publisher writes now.
            Unreachable: the brokers do not answer.
        """
        await self._writer.start()  # first: what the one before had begun is decided before its records are read
        try:
            await self._feed.start()
            await self._feed.wait_first(asyncio.Event().wait())
            if self._feed.crash_reason is not None:
                raise self._feed.crash_reason
        finally:
            await self._feed.stop()
            await self._writer.stop()

    async def _take(self, records: Sequence[Record]) -> None:
        found: list[RiskParameters] = []
        for record in records:
            if record.topic == RISK_TOPIC:
                self._remember(record)
            else:
                found += self.fold.apply(record)
        if found:
            await self._writer.write(found)
            self.written += len(found)

    def _remember(self, record: Record) -> None:
        """Until the term has its start: the newest of each instrument. Later ones are our own."""
        message = None if self._resumed else decode(RISK_TOPIC, record.value)
        if isinstance(message, RiskParameters):
            known = self._last.get(message.instrument)
            if known is None or message.effective_ms >= known.effective_ms:
                self._last[message.instrument] = message

    def _resume(self) -> dict[int, int]:
        """Hand the fold what it goes on from; answers where to read prices from, by partition."""
        self._resumed = True
        self.fold.resume(self._last)
        places: dict[int, int] = {}
        for record in self._last.values():
            if record.as_of is not None:
                partition, offset = record.as_of
                places[partition] = min(places.get(partition, offset), offset)
        return places

    def _go_live(self) -> None:
        self.fold.live = True
        self._log.info("publishing", instruments=len(self.fold.tracks))


class Publisher:
    """Stands for election again and again."""

    def __init__(self, settings: PublisherSettings, clock: Clock, log: Logger) -> None:
        self._settings, self._clock, self._log = settings, clock, log
        self.election = Election(settings.election)
        self.term: Term | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set.

        Raises:
            Unreachable: no broker answers.
            Refused: a topic is missing.
        """
        await self.election.start()
        keeping = asyncio.ensure_future(self.election.keep())
        try:
            while await _first(stop.wait(), self.election.elected.wait(), keeping) == 1:
                await self._serve(stop, keeping)
            if keeping.done():
                keeping.result()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await self.election.stop()

    async def _serve(self, stop: asyncio.Event, keeping: asyncio.Future[None]) -> None:
        """One term."""
        self.term = term = Term(self._settings, self._clock, self._log)
        self._log.info("elected")
        serving = asyncio.ensure_future(term.run())
        try:
            await _first(stop.wait(), serving, self.election.lost.wait(), keeping)
            if serving.done():
                serving.result()
        except Deposed as error:
            self._log.warning("deposed", error=str(error))
            await _first(stop.wait(), asyncio.sleep(PAUSE_S))
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            self.term = None
            self._log.info("term_ended", written=term.written)

    def why_not_ready(self) -> list[str]:
        """A stand-by is ready; one that is elected is once it has caught up."""
        return ["catching up"] if self.term is not None and not self.term.fold.live else []

    def readings(self) -> Iterable[Reading]:
        """The gauges: what is in force, and how it fared."""
        yield Reading("risk_elected", {(): float(self.term is not None)})
        if self.term is None:
            return
        tracks, tests = self.term.fold.tracks, self.term.fold.backtests
        yield Reading("risk_multiplier", {(name,): track.multiplier / ONE for name, track in tracks.items()})
        yield Reading("risk_variance", {(name,): track.variance / ONE for name, track in tracks.items()})
        yield Reading("risk_backtest_observations", {(name,): test.observations for name, test in tests.items()})
        yield Reading("risk_backtest_breaches", {(name,): test.breaches for name, test in tests.items()})


async def _first(*waits: Awaitable[Any]) -> int:
    """The place of the first that is done; the others that we made are cancelled, futures handed in go on."""
    futures = [(w, w) if isinstance(w, asyncio.Future) else (None, asyncio.ensure_future(w)) for w in waits]
    try:
        await asyncio.wait([future for _, future in futures], return_when=asyncio.FIRST_COMPLETED)
        return next(place for place, (_, future) in enumerate(futures) if future.done())
    finally:
        made = [future for given, future in futures if given is None]
        for future in made:
            future.cancel()
        await asyncio.gather(*made, return_exceptions=True)
