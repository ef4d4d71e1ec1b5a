"""A replay's engine, watched: who went negative at which input, what was known right before, and on which ticks orders rest."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct, field

from services.contracts.codec import decode
from services.contracts.decimals import parse
from services.contracts.messages import TERMINAL, Fill, Instrument, Order, OrderEvent, Price
from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.effects import Alarm, AlarmName, DeadLetter, Effect
from services.engine.engine import Engine
from services.engine.views import view_of

Key = tuple[str, str]  # account, bucket
LATE_MS: Final = 1_000


class Tick(Struct, frozen=True):
    """A price record as it arrived. `mark` is e18, None of an option without premium."""

    offset: int
    arrived_ms: int
    ts_ms: int
    mark: int | None


class Moment(Struct, frozen=True, kw_only=True):
    """The input at which a bucket's equity first was below zero, with the bucket before and after."""

    key: Key
    now_ms: int
    price_id: str | None  # of a price record; None of a fill or a timer
    is_fill: bool
    before: BucketView | None
    after: BucketView
    open_orders: tuple[Order, ...]
    jumps: dict[str, int]  # price id -> mark (e18) of the first tick of the jump that was held back last


class Tally(Struct, kw_only=True):
    """What one run did, from its effects and its records."""

    alarms: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    orders: dict[str, Order] = field(default_factory=dict)
    ticks: dict[str, list[Tick]] = field(default_factory=dict)
    max_age_ms: dict[str, int] = field(default_factory=dict)
    late: Counter[str] = field(default_factory=Counter)
    latest_ms: int = 0
    dead_letters: int = 0


class Probe:
    """A `ReplayEngine` around an engine. Inputs are numbered in the order in which the runner gives them.

    `first_negative` says after the run at which input which buckets went negative; given to a second run as `asked`, that run
    fills `moments`: to know what was before, a run must know beforehand when to look.
    """

    def __init__(self, engine: Engine, asked: Mapping[int, list[Key]] | None = None) -> None:
        self._engine = engine
        self._asked = asked or {}
        self._number = 0
        self._negative: set[Key] = set()
        self._open: dict[Key, dict[str, Order]] = {}
        self._jumps: dict[str, int] = {}
        self.first_negative: dict[int, list[Key]] = {}
        self.moments: list[Moment] = []
        self.tally = Tally()

    def apply(self, record: Record) -> list[Effect]:
        message = decode(record.topic, record.value)
        before, orders = self._before()
        effects = self._engine.apply(record)
        self._note(effects, message, record)
        self._look(before, orders, message, record.timestamp_ms)
        if isinstance(message, OrderEvent) and message.status in TERMINAL:
            self._open.get((message.account, message.bucket), {}).pop(message.order_id, None)
        return effects

    def timer(self, time_ms: int) -> list[Effect]:
        before, orders = self._before()
        effects = self._engine.timer(time_ms)
        self._note(effects, None, None)
        self._look(before, orders, None, time_ms)
        return effects

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def _before(self) -> tuple[dict[Key, BucketView], dict[Key, tuple[Order, ...]]]:
        """Views and open orders of the buckets that this input is asked about."""
        keys = self._asked.get(self._number, [])
        return dict(self._viewed(keys)), {key: tuple(self._open.get(key, {}).values()) for key in keys}

    def _viewed(self, keys: list[Key]) -> Iterator[tuple[Key, BucketView]]:
        # The engine shows all buckets or none; a hundred looks at thousands of buckets would take longer than the run.
        context, valuer = self._engine._context, self._engine._valuer
        for key in keys:
            found = context.find(key)
            if found is not None:
                yield key, view_of(*found, valuer, context.ladders, context.now_of(found[0]))

    def _look(
        self, before: dict[Key, BucketView], orders: dict[Key, tuple[Order, ...]], message: object, now_ms: int
    ) -> None:
        keys = self._asked.get(self._number, [])
        for key, after in self._viewed(keys):
            moment = Moment(
                key=key, now_ms=now_ms, price_id=message.instrument if isinstance(message, Price) else None,
                is_fill=isinstance(message, Fill), before=before.get(key), after=after,
                open_orders=orders[key], jumps=dict(self._jumps),
            )  # fmt: skip
            self.moments.append(moment)
        fresh = self._engine.negative_buckets
        if len(fresh) > len(self._negative):
            self.first_negative[self._number] = sorted(fresh - self._negative)
            self._negative = set(fresh)
        self._number += 1

    def _note(self, effects: list[Effect], message: object, record: Record | None) -> None:
        tally = self.tally
        if isinstance(message, Price) and record is not None:
            self._note_tick(message, record)
        elif isinstance(message, Instrument) and message.max_price_age_ms is not None:
            tally.max_age_ms[message.instrument] = message.max_price_age_ms
        for effect in effects:
            if isinstance(effect, Alarm):
                tally.alarms[effect.name.value] += 1
                if effect.name is AlarmName.PRICE_UNCONFIRMED and isinstance(message, Price) and message.mark_price:
                    self._jumps[effect.instrument] = parse(message.mark_price)
            elif isinstance(effect, DeadLetter):
                tally.dead_letters += 1
            elif isinstance(effect.message, Order):
                self._note_order(effect.message)

    def _note_tick(self, tick: Price, record: Record) -> None:
        lateness_ms = record.timestamp_ms - tick.ts_ms
        self.tally.late[tick.instrument] += lateness_ms > LATE_MS
        self.tally.latest_ms = max(self.tally.latest_ms, lateness_ms)
        mark = None if tick.mark_price is None else parse(tick.mark_price)
        self.tally.ticks.setdefault(tick.instrument, []).append(
            Tick(record.offset, record.timestamp_ms, tick.ts_ms, mark)
        )

    def _note_order(self, order: Order) -> None:
        self._open.setdefault((order.account, order.bucket), {})[order.order_id] = order
        if order.order_id not in self.tally.orders:
            self.tally.orders[order.order_id] = order
            self.tally.stages[order.stage] += 1
