"""The simulated venue: books what its clients do, publishes marks, and answers liquidation orders."""

import time
from collections.abc import Mapping
from typing import Final, Protocol

from msgspec import structs

from services.contracts.codec import decode, encode
from services.contracts.decimals import parse
from services.contracts.messages import (
    Account,
    AccountState,
    Default,
    Fill,
    Instrument,
    Message,
    Order,
    Price,
    Transfer,
)
from services.contracts.records import Record
from services.demo.books import Books
from services.demo.clock import now_ms as _now_ms
from services.demo.figures import Figures
from services.demo.matching import ORDERS, Answer, MatchingEngine
from services.demo.wire import Acknowledged
from services.order_gate.gate import Action

STATES: Final = "account-states"
DEFAULTS: Final = "defaults"
DEAD_LETTERS: Final = "dead-letters"
READS: Final = (ORDERS, STATES, DEFAULTS, DEAD_LETTERS)
MARKS_TIMED: Final = 100_000  # newest marks whose time of sending is known: an order rests on the newest
SMALLEST_LOT: Final = "0.000000000000000001"


class Market(Protocol):
    """Where the venue appends and reads: `Wire`."""

    async def publish(
        self, topic: str, key: str, value: bytes, timestamp_ms: int, acknowledged: Acknowledged, /
    ) -> None: ...

    async def read(self) -> list[Record]: ...


class Venue:
    """Everything the venue knows and does; `figures` is what it measured, `books` its ledger, `recording` all it saw."""

    def __init__(self, wire: Market, instruments: Mapping[str, Instrument], *, records: bool = True) -> None:
        """`records`: keep all that was seen. Off for a venue that stands for days."""
        self._wire = wire
        self._records = records
        self.books = Books(instruments)
        lots = {name: parse(instrument.lot_size or SMALLEST_LOT) for name, instrument in instruments.items()}
        self.engine = MatchingEngine(self.books, dict(instruments), lots)
        self.figures = Figures()
        self.recording: list[Record] = []
        self._sequence = 0
        self._newest: dict[str, tuple[Price, int | None]] = {}
        self._sent: dict[tuple[int, int], float] = {}  # (partition, offset) of a price -> when it was handed over

    async def enter(self, topic: str, key: str, message: Message) -> None:
        """Publishes a record of reference data or of a client, and books what it says."""
        match message:
            case Account():
                self.books.open_account(message.account, isolated=message.margin_mode == "isolated")
            case Transfer():
                self.books.transfer(message)
            case Fill():
                self.books.fill(message)
            case _:
                pass
        await self._publish(topic, key, encode(message))

    async def pass_on(self, topic: str, key: str, value: bytes) -> None:
        """Publishes a record that the books need not know, or cannot: it reaches the monitor as it is."""
        await self._publish(topic, key, value)

    async def mark(self, price: Price, depth: int | None = None) -> None:
        """Publishes a mark under a new sequence and the time of now, then executes what waited for it.

        `depth` is what the book takes on this mark, e18 notional; None: everything.
        """
        now_ms, name = _now_ms(), price.instrument
        self._sequence += 1
        fresh = structs.replace(price, sequence=self._sequence, source_epoch=None, ts_ms=now_ms)
        self._newest[name] = fresh, depth
        await self._publish("prices", name, encode(fresh))
        if fresh.mark_price is None:
            return
        mark = parse(fresh.mark_price)
        self.books.mark(name, mark)
        self.figures.saw_price(name, mark)
        for answer in self.engine.on_mark(name, mark, depth, now_ms):
            await self._answer(answer)

    async def mark_again(self) -> None:
        """The newest marks once more: a market that stands still is not a dead feed."""
        for price, depth in list(self._newest.values()):
            await self.mark(price, depth)

    async def listen(self) -> None:
        """Reads what the monitor wrote, and acts on it."""
        for record in await self._wire.read():
            if record.topic == ORDERS:
                await self._receive(record, time.perf_counter())
            elif record.topic == DEAD_LETTERS:
                self.figures.dead_letters += 1
            else:
                self._note(decode(record.topic, record.value))

    def unseen(self) -> int:
        """Buckets with a position that the monitor has not reported yet."""
        held = (bucket.key for bucket in self.books.buckets.values() if bucket.positions)
        return sum(key not in self.figures.statuses for key in held)

    def _note(self, message: object) -> None:
        if isinstance(message, AccountState):
            self.figures.saw_state(message)
        elif isinstance(message, Default):
            self.figures.saw_default(message)

    async def _receive(self, record: Record, seen: float) -> None:
        self._keep(record)
        verdict, answer = self.engine.receive(record.partition, record.offset, record.value, _now_ms())
        order, is_void = verdict.order, verdict.action is Action.IGNORE
        if order is not None and not is_void and self.figures.saw_order(order):
            self._measure(order, seen)
        if answer is not None:
            await self._answer(answer)

    def _measure(self, order: Order, seen: float) -> None:
        """From handing over the newest price that the order rests on, to the order. First orders only: later ones follow answers."""
        sent = [
            self._sent[place[0], place[1]]
            for place in (order.evidence.prices or {}).values()
            if (place[0], place[1]) in self._sent
        ]
        if order.attempt == 1 and sent:
            self.figures.latencies.append(seen - max(sent))

    def _keep(self, record: Record) -> None:
        if self._records:
            self.recording.append(record)

    async def _answer(self, answer: Answer) -> None:
        self.figures.answers[answer.event.status] += 1
        if answer.fill is not None:
            self.figures.fills += 1
            await self._publish("fills", answer.fill.account, encode(answer.fill))
        await self._publish("order-events", answer.event.account, encode(answer.event))

    async def _publish(self, topic: str, key: str, value: bytes) -> None:
        handed_over = time.perf_counter()

        def acknowledged(record: Record) -> None:
            self._keep(record)
            if record.topic == "prices":
                self._sent[record.partition, record.offset] = handed_over
                if len(self._sent) > MARKS_TIMED:
                    del self._sent[next(iter(self._sent))]

        await self._wire.publish(topic, key, value, _now_ms(), acknowledged)
