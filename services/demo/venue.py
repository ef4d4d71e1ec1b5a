"""The simulated venue: lists instruments, books clients, publishes marks, and answers liquidation orders."""

import time
from collections.abc import Sequence
from typing import Final

from services.contracts.codec import decode
from services.contracts.decimals import ONE, to_text
from services.contracts.messages import AccountState, Collateral, Default, Message, Order, Price, Transfer
from services.contracts.records import Record
from services.demo.accounts import Opening
from services.demo.books import Books
from services.demo.crash_path import CrashPath, book_share
from services.demo.figures import Figures
from services.demo.instruments import ASSET, Listing
from services.demo.matching import ORDERS, Answer, MatchingEngine, Verdict
from services.demo.wire import Wire

STATES: Final = "account-states"
DEFAULTS: Final = "defaults"
DEAD_LETTERS: Final = "dead-letters"
READS: Final = (ORDERS, STATES, DEFAULTS, DEAD_LETTERS)
SOURCE: Final = "venue"
MAJOR_DEPTH, OTHER_DEPTH = 2_000_000 * ONE, 150_000 * ONE  # notional that a calm book takes on one mark


class Venue:
    """Everything the venue knows and does; `figures` is what it measured, `books` its ledger, `recording` all it saw."""

    def __init__(self, wire: Wire, market: Sequence[Listing], path: CrashPath) -> None:
        self._wire = wire
        self._market = {listing.name: listing for listing in market}
        self._path = path
        instruments = {listing.name: listing.instrument for listing in market}
        self.books = Books(instruments)
        self.engine = MatchingEngine(self.books, instruments, {listing.name: listing.lot for listing in market})
        self.figures = Figures()
        self.recording: list[Record] = []
        self._sequence = 0
        self._sent: dict[tuple[int, int], float] = {}  # (partition, offset) of a price -> when it was handed over

    async def list_instruments(self) -> None:
        """Instruments, the collateral asset, and the first marks."""
        for listing in self._market.values():
            await self._publish("instruments", listing.name, listing.instrument)
        await self._publish("collateral", ASSET, Collateral(asset=ASSET, ts_ms=0))
        for name in self._market:
            await self.tick(name, 0.0)

    async def book(self, opening: Opening) -> None:
        """Opens an account with its deposits, moves and first positions."""
        account = opening.account
        self.books.open_account(account.account, isolated=account.margin_mode == "isolated")
        await self._publish("accounts", account.account, account)
        for step in opening.steps:
            if isinstance(step, Transfer):
                self.books.transfer(step)
                await self._publish("transfers", step.account, step)
            else:
                self.books.fill(step)
                await self._publish("fills", step.account, step)

    async def tick(self, instrument: str, second: float) -> None:
        """Publishes the mark of a simulated second, then executes what waited for it."""
        listing, now_ms = self._market[instrument], _now_ms()
        price = listing.to_tick(self._path.curves[instrument].at(second))
        self._sequence += 1
        mark = Price(
            instrument=instrument, mark_price=to_text(price), sequence=self._sequence, source=SOURCE, ts_ms=now_ms
        )
        await self._publish("prices", instrument, mark)
        self.books.mark(instrument, price)
        self.figures.saw_price(instrument, price)
        share = book_share(second)
        self.figures.second, self.figures.book = second, share
        depth = int((MAJOR_DEPTH if listing.major else OTHER_DEPTH) * share)
        for answer in self.engine.on_mark(instrument, price, depth, now_ms):
            await self._answer(answer)

    async def listen(self) -> None:
        """Reads what the monitor wrote, and acts on it."""
        for record in await self._wire.read():
            if record.topic == ORDERS:
                await self._receive(record, time.perf_counter())
            elif record.topic == DEAD_LETTERS:
                self.figures.dead_letters += 1
            else:
                self._note(decode(record.topic, record.value))

    def is_seen(self) -> bool:
        """Whether the monitor owns every partition it should and has reported every bucket that holds a position."""
        return all(bucket.key in self.figures.statuses for bucket in self.books.buckets.values() if bucket.positions)

    def _note(self, message: object) -> None:
        if isinstance(message, AccountState):
            self.figures.saw_state(message)
        elif isinstance(message, Default):
            self.figures.saw_default(message)

    async def _receive(self, record: Record, seen: float) -> None:
        self.recording.append(record)
        verdict, order, answer = self.engine.receive(record.partition, record.offset, record.value, _now_ms())
        if order is not None and verdict is not Verdict.STALE_EPOCH and self.figures.saw_order(order):
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

    async def _answer(self, answer: Answer) -> None:
        self.figures.answers[answer.event.status] += 1
        if answer.fill is not None:
            self.figures.fills += 1
            await self._publish("fills", answer.fill.account, answer.fill)
        await self._publish("order-events", answer.event.account, answer.event)

    async def _publish(self, topic: str, key: str, message: Message) -> None:
        handed_over = time.perf_counter()

        def acknowledged(record: Record) -> None:
            self.recording.append(record)
            if record.topic == "prices":
                self._sent[record.partition, record.offset] = handed_over

        await self._wire.publish(topic, key, message, _now_ms(), acknowledged)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
