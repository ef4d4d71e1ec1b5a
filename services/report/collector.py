"""Looks on while a recording is replayed, and keeps what the page shows. Its memory does not grow with the length of the recording,
except for one id an order and one status a bucket, which the replay itself holds, too.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final, Protocol

from services.contracts.codec import decode
from services.contracts.messages import AccountState, Control, Default, Instrument, Message, Order, OrderEvent, Price
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.contracts.topics import BROADCAST_TOPICS
from services.contracts.views import BucketView
from services.engine.effects import Alarm, DeadLetter, Effect, Emit
from services.report.accounts import Stories
from services.report.equities import Equities
from services.report.grid import Grid
from services.report.guards import Guards
from services.report.latency import Delays
from services.report.market import Timeline
from services.report.orders import Orders
from services.report.quality import Quality
from services.report.statuses import Rungs

DRAWN: Final = 24  # equity paths that may be drawn together; others only with their account,
TOLD: Final = 400  # so many of them
SAMPLED: Final = 4  # bins between two looks at the paths of buckets that the engine had no reason to review
SAMPLED_LEVEL: Final = 8  # no looks while bins are finer than 2^8 ms
BEYOND_MS: Final = 600_000  # how far a record of a client may run ahead of the broker's clock of prices
ORDINARY: Final = "maintenance_breach"


class Watched(Protocol):
    """What the report needs of an engine."""

    def view(self, account: str, bucket: str) -> BucketView | None: ...
    def equity(self, account: str, bucket: str) -> int | None: ...
    def watch_equities(self, listener: Callable[[tuple[str, str], int], None]) -> None: ...


class Collector:
    """An observer of one replay: wrap its records with `records_of`, hand it every effect, `attach` it to the engine."""

    def __init__(self) -> None:
        grid = Grid()
        self._grid = grid
        self._market, self._rungs, self._equities = Timeline(grid), Rungs(grid), Equities(grid)
        self._delays, self._guards, self._orders = Delays(grid), Guards(grid), Orders()
        self._stories, self._quality = Stories(), Quality(self._market)
        self._content = blake2b(digest_size=32)
        self._topics: Counter[str] = Counter()
        self._engine: Watched | None = None
        self._now_ms = self._first_ms = self._last_ms = 0
        self._place = 0
        self._sampled = (0, 0)
        self._made_up = False  # answers come from the matching: those of the recording speak of its own orders

    def attach(self, engine: Watched) -> None:
        self._engine = engine
        engine.watch_equities(self._equity)

    def records_of(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records, each looked at before it is passed on."""
        for record in records:
            self._look(record)
            yield record

    def effect(self, effect: Effect) -> None:
        """One decided effect, in order."""
        match effect:
            case DeadLetter():
                self._guards.refused(self._place, self._now_ms, effect)
            case Alarm():
                self._guards.alarm(self._place, self._now_ms, effect)
            case Emit(message=Order() as order):
                self._order(order, effect)
            case Emit(message=AccountState() as state):
                self._rungs.change(self._place, state)
                self._stories.state(state)
            case Emit(message=Default() as default):
                self._stories.defaulted(default)
            case _:
                pass

    def answered(self, record: Record) -> None:
        """A record that the matching made up."""
        message = decode(record.topic, record.value)
        self._made_up = True
        if isinstance(message, OrderEvent):
            self._orders.answered(message)

    def payload(self) -> dict[str, Any]:
        """Everything that was gathered, as plain JSON values."""
        worst = self._equities.worst()
        told = self._stories.payload(self._view)
        of_stories = [key for key in worst[DRAWN:] if told["stories"].get(key[0], {}).get("is_hit")][:TOLD]
        return {
            "recording": {
                "content": self._content.hexdigest(),
                "first_ms": self._first_ms,
                "last_ms": self._last_ms,
                "topics": dict(sorted(self._topics.items())),
            },
            "grid": self._grid.payload(),
            "market": self._market.payload(),
            "rungs": self._rungs.payload(),
            "equities": {
                "worst": self._equities.rows(),
                "drawn": ["|".join(key) for key in worst[:DRAWN]],
                "paths": self._equities.paths([*worst[:DRAWN], *of_stories]),
            },
            "delays": self._delays.payload(),
            "guards": self._guards.payload(),
            "orders": self._orders.payload(),
            "accounts": told,
            "quality": self._quality.payload(),
        }

    def _look(self, record: Record) -> None:
        head = f"{record.topic}\n{record.partition}\n{record.offset}\n{record.timestamp_ms}\n{len(record.value)}\n"
        self._content.update(head.encode() + record.value)
        self._topics[record.topic] += 1
        self._advance(record)
        self._sample()
        decoded = decode(record.topic, record.value)
        message = None if isinstance(decoded, Refusal) else decoded
        self._quality.record(record, message)
        if message is not None:
            self._note(record, message)

    def _note(self, record: Record, message: Message) -> None:
        match message:
            case Price():
                self._market.price(self._place, message)
                self._delays.price(self._place, record, message)
            case Instrument():
                self._market.listed(message)
            case Control():
                self._guards.control(self._place, self._now_ms, message)
            case OrderEvent():
                self._delays.recorded_answer(self._place, record, message)
                if not self._made_up:
                    self._orders.answered(message)
            case Order():
                self._delays.recorded_order(self._place, record, message)
                self._orders.recorded(message)
            case _:
                pass

    def _advance(self, record: Record) -> None:
        """Time is the broker's, of prices and reference data. A client's record may not drag it far ahead; nothing turns it back.

        What precedes the first price falls into the first bin: reference data is often stamped long before.
        """
        time_ms = record.timestamp_ms
        if record.topic == "prices" and self._grid.origin_ms is None:
            self._first_ms = self._now_ms = time_ms
            self._place = self._grid.at(time_ms)
        if self._grid.origin_ms is None:
            self._now_ms = max(self._now_ms, time_ms)
        if self._grid.origin_ms is None or time_ms <= self._now_ms:
            return
        if record.topic in BROADCAST_TOPICS or time_ms - self._now_ms <= BEYOND_MS:
            self._now_ms = self._last_ms = time_ms
            self._place = self._grid.at(time_ms)

    def _sample(self) -> None:
        """A few hundred times a recording: the equity of followed buckets between two reviews."""
        grid = self._grid
        moment = grid.level, self._place // SAMPLED
        if self._engine is None or grid.level < SAMPLED_LEVEL or moment == self._sampled:
            return
        self._sampled = moment
        for key in self._equities.stale(self._place):
            equity = self._engine.equity(*key)
            if equity is not None:
                self._equities.note(key, equity, self._place, self._now_ms)

    def _order(self, order: Order, effect: Emit) -> None:
        notional = self._market.notional(order)
        if not self._orders.decided(order, effect.cause, notional):
            return
        self._market.order(self._place, order, notional)
        self._delays.decided(self._place, order)
        self._equities.ordered((order.account, order.bucket))
        self._stories.ordered(order.account, order.client, order.bucket, self._view)
        if order.trigger != ORDINARY:
            self._guards.triggered(
                self._place, self._now_ms, order.trigger, order.account, f"{order.account}|{order.bucket}"
            )

    def _equity(self, key: tuple[str, str], equity_e18: int) -> None:
        self._equities.note(key, equity_e18, self._place, self._now_ms)

    def _view(self, account: str, bucket: str) -> BucketView | None:
        return None if self._engine is None else self._engine.view(account, bucket)
