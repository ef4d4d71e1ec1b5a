"""One recorded order computed again from the evidence that it carries, and what differs.

An engine without accounts is given the reference records and ticks that the order names, then its account as it stood, and one
decision is asked for at the order's time. Ticks are taken as graded when they were used: they are believed at once here, and only
their age is judged again. The rule that an account must have settled is not asked again either: it needs times of arrival.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from services.contracts.codec import decode, encode
from services.contracts.decimals import to_text
from services.contracts.journal import known_claim
from services.contracts.messages import Order
from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.effects import Alarm, Effect, Emit
from services.engine.engine import Engine
from services.engine.orders import open_order_of
from services.engine.portfolio.preset import Preset
from services.engine.rows import AccountRow, BucketRow, OrderRow, decode_row
from services.engine.settings import Settings
from services.replay.specification import presets_of

ORDERS: Final = "liquidation-orders"
Tries = Mapping[str, list[tuple[int, int]]]  # instrument -> (attempt, time)
_rows: Final = msgspec.msgpack.Encoder()


class Case(Struct, frozen=True, kw_only=True):
    """What one recorded order rests on, the account aside. `reference` are broadcast records but prices, in order; `ticks` the
    prices that it names; `later` ticks that came after those and may have made them doubtful; `claimed`: its epoch is a claim's offset.
    """  # fmt: skip

    order: Order
    partition: int
    reference: Sequence[Record]
    ticks: Sequence[Record]
    later: Sequence[Record] = ()
    claimed: bool

    @property
    def epoch(self) -> list[Record]:
        return [known_claim(self.partition, self.order.epoch)] if self.claimed else []


class Reading(Struct, frozen=True):
    """What the evidence leaves open. `doubtful`: ticks that came later are jumps that waited to be confirmed. `timers_ms`: timers had
    fired up to this time only, and the account's own records had brought it to the order's time.
    """  # fmt: skip

    doubtful: bool = False
    timers_ms: int | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """What a computation said: the order of the recorded one's id or, failing that, another of its bucket; the bucket as it stood."""

    order: Order | None
    view: BucketView | None


class Difference(Struct, frozen=True):
    """One field of an order: as recorded, as computed."""

    field: str
    recorded: Any
    computed: Any


# -- the fast engine, on the account's rows ------------------------------------------------------------------------------


def recompute(
    case: Case,
    rows: Mapping[str, bytes],
    settings: Settings,
    presets: Mapping[str, Preset],
    reading: Reading,
) -> Answer:
    """The engine's decision. `rows` are the account's, by field."""
    engine = Engine(_believing(settings, doubtful=reading.doubtful), presets, search="full_scan", gates_open=False)
    for record in (*case.reference, *case.epoch):
        engine.apply(record)
    if reading.timers_ms is not None:
        engine.timer(reading.timers_ms)
    for record in (*case.ticks, *(case.later if reading.doubtful else ())):
        engine.apply(record)
    if reading.timers_ms is None:
        engine.timer(case.order.ts_ms)
    engine.restore(case.partition, sorted(_at(rows, case.order).items()))
    return _answer(case.order, engine.open_gate(case.partition), engine.buckets())


def timer_times(case: Case) -> list[int]:
    """Moments before which a timer of the broadcast records may not have fired yet: what took effect then had not."""
    times = []
    for record in case.reference:
        message = decode(record.topic, record.value)
        due_ms = getattr(message, "effective_ms", None) or getattr(message, "expires_ms", None)
        if due_ms is not None and record.timestamp_ms < due_ms <= case.order.ts_ms:
            times.append(due_ms - 1)
    return sorted(set(times), reverse=True)


def as_it_stood(rows: Mapping[str, bytes], order: Order, waiting: Iterable[Order], tries: Tries) -> dict[str, bytes]:
    """The rows with what the order's bucket had beside its records: orders that were decided and not read back, and the tries of
    the present distress.
    """  # fmt: skip
    field = f"{order.account}|{order.bucket}"
    row = decode_row(rows[field]) if field in rows else None
    if not isinstance(row, BucketRow):
        return dict(rows)
    orders = dict(row.orders)
    for other in waiting:
        known = orders.get(other.order_id)
        if other.bucket == order.bucket and (known is None or known.quantity == "0"):
            orders[other.order_id] = _order_row(other, known)
    return {**rows, field: _rows.encode(structs.replace(row, orders=orders, tries=dict(tries)))}


def _at(rows: Mapping[str, bytes], order: Order) -> dict[str, bytes]:
    """The rows with the account's own time moved on to the order's."""
    field = f"{order.account}|"
    row = decode_row(rows[field]) if field in rows else None
    if not isinstance(row, AccountRow):
        return dict(rows)
    return {**rows, field: _rows.encode(structs.replace(row, time_ms=max(row.time_ms, order.ts_ms)))}


def _order_row(order: Order, known: OrderRow | None) -> OrderRow:
    """The order as decided; `known` is what fills and events had said of it before it was read back."""
    made = open_order_of(order)
    filled, reported, terminal = ("0", "0", False) if known is None else (known.filled, known.reported, known.terminal)
    return OrderRow(
        made.instrument, made.position_side, made.side, to_text(made.quantity), to_text(made.limit_price), filled, reported,
        terminal=terminal, attempt=made.attempt, stage=made.stage, issued_ms=made.issued_ms,
        valid_until_ms=made.valid_until_ms, resends=0, confirmed=False, content=order,
    )  # fmt: skip


# -- the reference, on the account's records --------------------------------------------------------------------------------


def recompute_by_reference(
    case: Case, account_records: Iterable[Record], settings: Settings, presets: Mapping[str, Preset]
) -> Answer:
    """The reference's decision: nothing is shared with the engine that decided but the messages.

    The account's records come before the marks: until then its buckets are incomplete, so that no distress of it ends here.
    """
    from services.reference.portfolio import PortfolioModel
    from services.reference.reference import Reference

    reference = Reference(_believing(settings, doubtful=False), portfolio=PortfolioModel(presets_of(presets)))
    for record in (*case.reference, *case.epoch, *account_records):
        reference.apply(record)
    now = [structs.replace(tick, timestamp_ms=case.order.ts_ms) for tick in case.ticks]
    effects = reference.fold_prices(now) + reference.timer(case.order.ts_ms)
    return _answer(case.order, effects, reference.buckets())


# -- comparing -----------------------------------------------------------------------------------------------------------


def differences(recorded: Order, computed: Order, *, evidence: bool = True) -> list[Difference]:
    """Field by field, in the order of the message; none: the same bytes (the evidence aside, where it is not to count)."""
    if encode(recorded) == encode(computed):
        return []
    ours, theirs = msgspec.to_builtins(recorded), msgspec.to_builtins(computed)
    return [
        Difference(name, ours.get(name), theirs.get(name))
        for name in ours
        if ours.get(name) != theirs.get(name) and (evidence or name != "evidence")
    ]


def is_sent_again(order: Order, earlier: Order) -> bool:
    """Whether nothing but epoch, validity and time is new: nobody had answered, or a successor took it over."""
    return structs.replace(order, epoch=0, valid_until_ms=0, ts_ms=0) == structs.replace(
        earlier, epoch=0, valid_until_ms=0, ts_ms=0
    )


def _believing(settings: Settings, *, doubtful: bool) -> Settings:
    return structs.replace(settings, account_partitions=None, account_settle_ms=0, grade_prices=doubtful)


def _answer(order: Order, effects: Sequence[Effect], views: Iterable[BucketView]) -> Answer:
    again = {effect.detail for effect in effects if isinstance(effect, Alarm)}  # names what is only sent again
    made = [
        effect.message
        for effect in effects
        if isinstance(effect, Emit)
        and isinstance(effect.message, Order)
        and (effect.message.account, effect.message.bucket) == (order.account, order.bucket)
    ]
    same = [each for each in made if each.order_id == order.order_id]
    new = [each for each in made if not any(each.order_id in detail for detail in again)]
    found = next(iter(same or new), None)
    view = next((v for v in views if (v.account, v.bucket) == (order.account, order.bucket)), None)
    return Answer(order=found, view=view)
