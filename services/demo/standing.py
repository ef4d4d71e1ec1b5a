"""The simulated venue on a deployment's own Kafka: clients, a crash, and from then on marks that stay fresh, until it is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiokafka.errors import KafkaError
from structlog.stdlib import BoundLogger

from services.adapters.ports import Unreachable
from services.contracts.codec import decode
from services.contracts.messages import Claim
from services.contracts.records import Record
from services.demo.clock import now_ms
from services.demo.matching import ORDERS
from services.demo.rounds import Rounds
from services.demo.story import Crash
from services.demo.venue import READS, Venue
from services.demo.wire import Acknowledged, Wire


class SinceStart:
    """A market without what the monitor wrote before this venue stood: its orders were another run's. Claims count for ever."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._since_ms = now_ms()

    async def publish(
        self, topic: str, key: str, value: bytes, timestamp_ms: int, acknowledged: Acknowledged, /
    ) -> None:
        await self._wire.publish(topic, key, value, timestamp_ms, acknowledged)

    async def read(self) -> list[Record]:
        return [record for record in await self._wire.read() if self._counts(record)]

    def _counts(self, record: Record) -> bool:
        if record.timestamp_ms >= self._since_ms:
            return True
        return record.topic == ORDERS and isinstance(decode(ORDERS, record.value), Claim)


async def stand(bootstrap: str, story: Callable[[str], Crash], stop: asyncio.Event, log: BoundLogger) -> None:
    """Play `story(run)` once, then hold the market until `stop` is set. `run` makes the clients' names this run's own.

    Raises:
        Unreachable: no broker answers at `bootstrap`.
    """
    wire = Wire(bootstrap, READS)
    try:
        await wire.start()
    except (KafkaError, OSError, TimeoutError) as error:
        await wire.close()
        raise Unreachable(f"no Kafka broker answers at {bootstrap}: {error!r}") from error
    played = story(f"{now_ms() // 1000:x}")
    venue = Venue(SinceStart(wire), played.instruments, records=False)
    tasks = [asyncio.ensure_future(each) for each in (_listen(venue), _play(venue, played, wire, log))]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await wire.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def _listen(venue: Venue) -> None:
    while True:
        await venue.listen()


async def _play(venue: Venue, story: Crash, wire: Wire, log: BoundLogger) -> None:
    rounds, shards = Rounds(venue, story), wire.partitions(ORDERS)
    await story.announce(venue)
    log.info("venue_waits", shards=shards)
    await rounds.hold(until=lambda: len(venue.engine.claimed) == shards)
    log.info("venue_opens", accounts=story.accounts)
    await rounds.open(story.openings(venue))
    log.info("venue_plays", story=story.name, seconds=story.seconds)
    await rounds.play()
    log.info("venue_holds", orders=len(venue.figures.order_ids), negative=len(venue.books.negatives))
    await rounds.hold(until=lambda: False)
