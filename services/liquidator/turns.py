"""Whose turn it is with the engine: one event after the other, each in pieces, and between two pieces the loop does something else.

An event concerns one account as a rule, and then it is over in one piece, at once. It may concern a million; then it stands
half done whenever others run. What keeps that safe:

- *One at a time.* What changes the engine is begun here and nowhere else. What is asked for while an event stands half done is begun
  after it, in the order in which it was asked for: a timer, a shard to be forgotten; a gate that is to be shut comes before them. So the
  engine sees the calls in an order in which it could have seen them without pieces, and the journal, which writes them down as they are
  begun, tells that order.
- *An event is never left half done.* A task of its own goes on with it; whoever waits for it may be cancelled. What has to follow
  (`then`) is part of it. Should it fail in the middle, the worker ends, and nothing is asked of the engine any more.
- *What an event wants done is done as it comes*, in order. Whether its orders may still leave is asked when they leave
  (`Worker._may_send`): a reason against that holds from the moment it is there, also for what the event under way has still to decide.
- *Answers*, of what changes with every record, are only given when nothing is half done. `turn` waits for that, first come, first
  served; who does not wait has the event finished first, in one go, and that is counted: nobody should.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from services.adapters.ports import Clock, Meter
from services.contracts.messages import Order
from services.contracts.records import Record
from services.engine.basis import Basis
from services.engine.effects import Effect
from services.engine.pieces import Piece, Pieces, nothing
from services.liquidator.engine_port import EnginePort

FORCED: Final = "event_forced"  # counted


class Event:
    """Work of the engine, what is done with its pieces, and what follows it before anything else does."""

    def __init__(
        self, begin: Callable[[], Pieces], carry: Callable[[Piece], None], then: Callable[[], None] = lambda: None
    ) -> None:  # fmt: skip
        self.begin = begin
        self._carry = carry
        self.then = then
        self.over = asyncio.Event()
        self.records = 0  # how many of those given were begun

    def told(self, piece: Piece) -> None:
        self.records = piece.records
        self._carry(piece)


class Turns:
    """The engine as the worker uses it. `carry_out` is what is done with effects where nothing else was said."""

    def __init__(self, engine: EnginePort, clock: Clock, meter: Meter, fail: Callable[[BaseException], None]) -> None:
        self._engine = engine
        self._clock = clock
        self._meter = meter
        self._fail = fail
        self.carry_out: Callable[[list[Effect]], None] = lambda _: None
        self._waiting: deque[Event | Callable[[], None]] = deque()
        self._event: Event | None = None  # half done
        self._pieces: Pieces | None = None
        self._is_running = self._is_broken = False
        self._free = asyncio.Event()
        self._free.set()
        self._line = asyncio.Lock()
        self._driver: asyncio.Task[None] | None = None

    # -- asking for something -------------------------------------------------------------------------------------------

    @property
    def is_free(self) -> bool:
        """Whether nothing stands half done, and nothing waits to be begun."""
        return self._free.is_set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """From here to the first wait inside nothing is half done, and who asked before us had a turn before."""
        async with self._line:
            while not self.is_free:
                await self._free.wait()
            yield

    async def rest(self) -> None:
        """Wait until nothing is half done."""
        async with self.turn():
            pass

    async def apply(self, records: Sequence[Record], carry: Callable[[Piece], None]) -> int:
        """Inside a turn: the next of the records, as many as one piece holds; how many that were. They count as read with the
        piece that says so, whoever waits here."""
        event = Event(lambda: self._engine.applying(records), carry)
        await self._through(event)
        return event.records

    async def apply_one(self, record: Record, then: Callable[[], None] = lambda: None) -> None:
        """Inside a turn: a record after which `then` is to be done before anything else is."""
        await self._through(self._usual(lambda: self._engine.applying([record]), then))

    async def fold_prices(self, records: Sequence[Record], carry: Callable[[Piece], None]) -> None:
        """Inside a turn."""
        await self._through(Event(lambda: self._engine.folding_prices(records), carry))

    async def restore(
        self, partition: int, rows: Sequence[tuple[str, bytes]], claim: Record | None, then: Callable[[], None]
    ) -> None:
        """Inside a turn: take the rows over and read the claim that they were stored under. `then` follows in any case."""
        self.soon(self._usual(lambda: self._engine.restoring(partition, rows)))
        records = [] if claim is None else [claim]
        await self._through(self._usual(lambda: self._engine.applying(records), then))

    def timer(self, now_ms: Callable[[], int], then: Callable[[], None]) -> None:
        self.soon(self._usual(lambda: self._engine.at_time(now_ms()), then))

    def open_gate(self, partition: int, may_open: Callable[[], bool]) -> None:
        """Unless a reason against it is there again when its turn comes."""
        self.soon(self._usual(lambda: self._engine.opening_gate(partition) if may_open() else nothing()))

    def shut_gate(self, partition: int) -> None:
        """Before all that waits: a timer that was asked for earlier decides by the reasons of its turn. An event that is half done
        still decides, as one does that was over a moment before."""
        self._waiting.appendleft(lambda: self._engine.shut_gate(partition))
        self._start()

    def drop(self, partition: int) -> None:
        self.soon(self._usual(lambda: self._engine.dropping(partition)))

    def forget_unconfirmed(self, partition: int) -> None:
        self.soon(self._usual(lambda: self._engine.forgetting_unconfirmed(partition)))

    def decide_again(self, places: Sequence[tuple[str, str, str]]) -> None:
        self.soon(self._usual(lambda: self._engine.deciding_again(places)))

    # -- answers --------------------------------------------------------------------------------------------------------

    def take_dirty(self, partition: int) -> dict[str, bytes | None]:
        self._finish()
        return self._engine.take_dirty(partition)

    def overlooked(self, accounts: int) -> list[tuple[int, str, str]]:
        self._finish()
        return self._engine.overlooked(accounts)

    def dirty_count(self, partition: int) -> int:
        """Of an event that is half done so far."""
        return self._engine.dirty_count(partition)

    def forget_dirty(self, partition: int) -> None:
        """Whoever calls this compares all rows afterwards: also those that an event half done has changed so far."""
        self._engine.forget_dirty(partition)

    def differing(self, partition: int, stored: dict[str, bytes]) -> Iterator[dict[str, bytes | None]]:
        """Each account as it is when it is come to. What an event changes of it afterwards is dirty."""
        return self._engine.differing(partition, stored)

    def notional(self, order: Order) -> int:
        """Asked about an order that is just being carried out: its bucket is decided, whatever else is not."""
        return self._engine.notional(order)

    def basis(self, order: Order) -> Basis | None:
        """As `notional`."""
        return self._engine.basis(order)

    # -- going on -------------------------------------------------------------------------------------------------------

    def _usual(self, begin: Callable[[], Pieces], then: Callable[[], None] = lambda: None) -> Event:
        return Event(begin, lambda piece: self.carry_out(piece.effects), then)

    def soon(self, what: Event | Callable[[], None]) -> None:
        """Now, or after what is half done and what was asked for before."""
        self._waiting.append(what)
        self._start()

    def _start(self) -> None:
        self._free.clear()
        if self._is_running or self._driver is not None or self._is_broken:
            return  # whoever is at it comes to it
        while self._step():
            pass
        if self._event is not None:
            self._driver = asyncio.ensure_future(self._drive())

    async def _through(self, event: Event) -> None:
        self.soon(event)
        if not event.over.is_set():
            await event.over.wait()

    async def _drive(self) -> None:
        """Go on, a piece at a time, until nothing is left."""
        try:
            while not self.is_free:
                await self._clock.sleep(0)
                if not self.is_free:  # else it was finished meanwhile
                    self._step()
        except Exception as error:  # noqa: BLE001  # nobody awaits this task: what happens here ends the worker
            self._fail(error)
        finally:
            self._driver = None

    def _step(self) -> bool:
        """One piece, or one call that waited. Whether to go on at once: something waits, and nothing is half done."""
        self._is_running = True
        try:
            self._go_on()
        except BaseException:
            self._is_broken = True
            raise
        finally:
            self._is_running = False
        if self._event is None and not self._waiting:
            self._free.set()
        return self._event is None and bool(self._waiting)

    def _go_on(self) -> None:
        assert not self._is_broken, "the engine failed in the middle of an event"
        if self._event is None:
            what = self._waiting.popleft()
            if not isinstance(what, Event):
                what()
                return
            self._event, self._pieces = what, what.begin()
        event, pieces = self._event, self._pieces
        assert pieces is not None
        try:
            event.told(next(pieces))
        except StopIteration as end:
            event.told(end.value)
            event.then()
            self._event = self._pieces = None
            event.over.set()

    def _finish(self) -> None:
        """Have what is half done finished now."""
        if self._event is not None:
            assert not self._is_running, "what is being carried out asks for more than may be known"
            self._meter.event(FORCED)
            while self._event is not None:
                self._step()
