"""Everything that the worker appends to Kafka leaves through here, in order, over one producer.

Orders and claims are sent once: after any error of the producer their fate is unknown, and their shard must claim again. Other
records are sent until they are acknowledged, over as many producers as it takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Final

from msgspec import Struct

from services.adapters.ports import Clock, Logger, Outgoing, Producer, Unreachable

FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 2.0
MOST_WAITING: Final = 50_000  # items; whoever produces more of them waits
AT_ONCE: Final = 4_000  # items handed to the producer before the loop may do something else


class Kind(Enum):
    """What may be repeated and what may not."""

    ORDER = auto()
    CLAIM = auto()
    OTHER = auto()


class Item(Struct, frozen=True, gc=False):
    """One record on its way. `number` orders all of them; `ident` is the order's id or the claim's nonce."""

    number: int
    kind: Kind
    shard: int | None
    ident: str
    outgoing: Outgoing
    caused_ms: int | None = None  # broker time of the record that made it due


class Outbox:
    """Queue, producer, and what became of each item."""

    def __init__(
        self,
        make_producer: Callable[[], Producer],
        clock: Clock,
        log: Logger,
    ) -> None:
        self._make_producer = make_producer
        self._clock = clock
        self._log = log
        self._producer: Producer | None = None
        self._queue: deque[Item] = deque()
        self._in_flight: dict[int, Item] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._room = asyncio.Event()
        self._room.set()
        self._broken: BaseException | None = None
        self.may_send: Callable[[int], bool] = lambda _: True  # orders of this shard
        self.on_acked: Callable[[Sequence[Item], int], None] = lambda *_: None  # and the offset of the first of them
        self.on_lost: Callable[[frozenset[int]], None] = lambda _: None

    @property
    def queued(self) -> int:
        """Items that wait to be handed to the producer."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Items handed over and not acknowledged."""
        return len(self._in_flight)

    def put(self, item: Item) -> None:
        """Send after everything that was put before."""
        self._queue.append(item)
        if len(self._queue) == 1:  # else somebody is at it already
            self._idle.clear()
            self._wake.set()
        if len(self._queue) + len(self._in_flight) >= MOST_WAITING:
            self._room.clear()

    @property
    def waiting(self) -> int:
        """Items that are not acknowledged."""
        return len(self._queue) + len(self._in_flight)

    async def room(self) -> None:
        """Wait while so much is unacknowledged that nothing more should be read that could add to it."""
        await self._room.wait()

    async def connect(self) -> None:
        """Start the first producer.

        Raises:
            Unreachable: no broker answers.
        """
        self._producer = self._make_producer()
        await self._producer.start()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._broken is not None:
                await self._replace_producer()
            await self._send_queued()
            self._note_idle()

    async def idle(self) -> None:
        """Wait until all that was put is acknowledged or given up."""
        await self._idle.wait()

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.close()

    async def _send_queued(self) -> None:
        while self._queue and self._broken is None:
            if items := self._take():
                await self._send(items)

    def _take(self) -> list[Item]:
        """The next items to hand over; orders that may not go any more are dropped."""
        items: list[Item] = []
        may_send: dict[int, bool] = {}
        for _ in range(min(AT_ONCE, len(self._queue))):
            item = self._queue.popleft()
            if item.kind is Kind.ORDER:
                assert item.shard is not None, "an order is of a shard"
                if item.shard not in may_send:
                    may_send[item.shard] = self.may_send(item.shard)
                if not may_send[item.shard]:
                    continue
            items.append(item)
        if withheld := sorted(shard for shard, may in may_send.items() if not may):
            self._log.warning("orders_withheld", partitions=withheld)
        return items

    async def _send(self, items: Sequence[Item]) -> None:
        self._in_flight.update((item.number, item) for item in items)
        assert self._producer is not None
        try:
            sent = await self._producer.send([item.outgoing for item in items])
        except Unreachable as error:
            self._break(error)
            return
        for each in sent:
            together = [items[number] for number in each.which]
            each.first.add_done_callback(partial(self._settle, self._producer, together))

    def _settle(self, producer: Producer, items: Sequence[Item], first: asyncio.Future[int]) -> None:
        error = first.exception()
        if producer is not self._producer:
            return  # their fate was declared unknown when the producer was given up
        if error is not None:
            self._break(error)
            return
        for item in items:
            del self._in_flight[item.number]
        self.on_acked(items, first.result())
        self._note_idle()

    def _note_idle(self) -> None:
        if self.waiting < MOST_WAITING // 2:
            self._room.set()
        if not self._queue and not self._in_flight:
            self._idle.set()

    def _break(self, error: BaseException) -> None:
        if self._broken is None:
            self._broken = error
            self._wake.set()

    async def _replace_producer(self) -> None:
        """Give the producer up; what it did not acknowledge is unknown if it is an order or claim, and sent again if not."""
        self._log.warning("producer_replaced", error=repr(self._broken))
        old, self._producer, self._broken = self._producer, None, None
        waiting = [*self._in_flight.values(), *self._queue]
        self._in_flight.clear()
        self._queue = deque(sorted((i for i in waiting if i.kind is Kind.OTHER), key=lambda item: item.number))
        self.on_lost(frozenset(i.shard for i in waiting if i.kind is not Kind.OTHER and i.shard is not None))
        if old is not None:
            await old.abandon()
        self._producer = await self._connected()
        self._give_up_late_orders()

    def _give_up_late_orders(self) -> None:
        """Orders that were decided while nothing could be sent: by now their accounts may not be what they were, and nobody would
        have decided them. Never sent, they are as unknown as the others, and decided again from the level."""
        late = {item.shard for item in self._queue if item.kind is Kind.ORDER and item.shard is not None}
        if late:
            self._log.warning("orders_withheld", partitions=sorted(late))
            self._queue = deque(item for item in self._queue if item.kind is not Kind.ORDER)
            self.on_lost(frozenset(late))

    async def _connected(self) -> Producer:
        backoff = FIRST_BACKOFF_S
        while True:
            producer = self._make_producer()
            try:
                await producer.start()
            except Unreachable as error:
                self._log.warning("producer_unreachable", error=str(error))
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, LAST_BACKOFF_S)
            else:
                return producer
