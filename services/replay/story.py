"""The story of one account: what happened to it and why, in words and numbers, in the order in which a replay saw it."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from services.contracts.codec import decode
from services.contracts.messages import (
    Account,
    AccountState,
    AccountStatement,
    Default,
    Fill,
    Message,
    Order,
    OrderEvent,
    Price,
    Transfer,
)
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.contracts.topics import ACCOUNT_TOPICS
from services.contracts.views import BucketView
from services.engine.effects import Alarm, Cause, DeadLetter, Effect, Emit
from services.replay.engines import ReplayEngine

OWN: Final = frozenset({"liquidation", "takeover", "adl"})
WHY: Final = {
    "maintenance_breach": "equity {equity} was below the maintenance margin {maintenance_margin}",
    "negative_equity": "equity {equity} was below zero",
    "gap_guard": "equity {equity} was below what the market may move before a close fills (maintenance margin {maintenance_margin})",
}
STAGES: Final = {
    "partial": "part of the position", "full": "the whole position", "convert": "collateral into what is owed",
    "takeover": "the whole position, to be taken over at the bankruptcy price", "adl": "the whole position, by deleveraging",
}  # fmt: skip


class Story:
    """Looks on at a replay: shown each record before the engine gets it, each effect, and each answer. Lines go to `tell`."""

    def __init__(self, account: str, tell: Callable[[dict[str, Any]], None]) -> None:
        self._account = account
        self._out = tell
        self._engine: ReplayEngine | None = None
        self._pending: deque[tuple[Record, Message, bool]] = deque()  # with whether the matching made it
        self._last_price: Record | None = None
        self._now_ms = 0
        self._decided: dict[str, Order] = {}
        self.lines = 0

    def attach(self, engine: ReplayEngine) -> None:
        self._engine = engine

    def saw(self, record: Record) -> None:
        """The records before are in the ledger by now: they are told with what the bucket looks like."""
        self._tell(len(self._pending))
        self._now_ms = max(self._now_ms, record.timestamp_ms)
        if record.topic == "prices":
            self._last_price = record
        elif record.topic in ACCOUNT_TOPICS:
            self._remember(record, is_made=False)

    def answered(self, record: Record) -> None:
        """The matching said something of an order, which the engine gets next."""
        self._remember(record, is_made=True)

    def decided(self, effect: Effect) -> None:
        """A record is told before what follows from it; the timers before it come before it."""
        told = next((n for n, each in enumerate(self._pending, 1) if effect.cause == _place(each[0])), 0)
        self._tell(told)
        match effect:
            case Emit(message=AccountState() as state) if state.account == self._account:
                self._status(state, effect.cause)
            case Emit(message=Order() as order) if order.account == self._account:
                self._order(order)
            case Emit(message=Default() as default) if default.account == self._account:
                text = f"{default.deficit} {default.asset} is missing: it is fixed as the deficit of order {default.order_id}"
                self._say(
                    "default", default.bucket, text, deficit=default.deficit, asset=default.asset, ts_ms=default.ts_ms
                )
            case Alarm() if effect.account == self._account:
                text = f"alarm {effect.name.value}" + (f": {effect.detail}" if effect.detail else "")
                self._say("alarm", effect.bucket, text, name=effect.name.value, ts_ms=effect.ts_ms)
            case DeadLetter() if self._names(effect.record):
                record, refusal = effect.record, effect.refusal
                place = f"{record.topic}[{record.partition}]@{record.offset}"
                self._say(
                    "refused",
                    "",
                    f"{place} was refused: {refusal.reason.value}: {refusal.detail}",
                    ts_ms=record.timestamp_ms,
                )
            case _:
                pass

    def finish(self) -> None:
        """What is left at the end of the recording, bucket by bucket."""
        self._tell(len(self._pending))
        assert self._engine is not None, "the story looks on at an engine"
        views = [view for view in self._engine.buckets() if view.account == self._account]
        if not self.lines and not views:
            self._say("end", "", f"the recording holds nothing of {self._account}")
        for view in views:
            numbers = _numbers(view)
            self._say("end", view.bucket, f"at the end {view.status}: {_standing(view)}", status=view.status, **numbers)

    # -- what was read ---------------------------------------------------------------------------------------------------

    def _remember(self, record: Record, *, is_made: bool) -> None:
        if record.key is not None and record.key != self._account.encode():
            return
        message = decode(record.topic, record.value)
        if not isinstance(message, Refusal) and getattr(message, "account", None) == self._account:
            self._pending.append((record, message, is_made))

    def _names(self, record: Record) -> bool:
        return record.key == self._account.encode() or f'"account":"{self._account}"'.encode() in record.value

    def _tell(self, count: int) -> None:
        for _ in range(count):
            record, message, is_made = self._pending.popleft()
            self._fact(record, message, is_made=is_made)

    def _fact(self, record: Record, message: Message, *, is_made: bool) -> None:
        place = [record.topic, record.partition, record.offset]
        told: dict[str, Any] = {"place": None if is_made else place, "ts_ms": record.timestamp_ms}
        match message:
            case Account():
                client = f"client {message.client or message.account}, {message.segregation or 'client'} funds"
                self._say(
                    "opened",
                    "",
                    f"{message.margin_mode} account of {client}, valued in {message.valuation_asset}",
                    **told,
                )
            case Transfer():
                bucket = message.bucket or "main"
                to = f" to {message.to_bucket}" if message.to_bucket else ""
                text = f"{message.reason} of {message.amount} {message.asset}{to}"
                self._say(
                    "transfer", bucket, self._then(text, bucket), amount=message.amount, asset=message.asset, **told
                )
            case Fill():
                self._fill(message, told)
            case OrderEvent():
                filled = (
                    "" if message.average_price is None else f" {message.filled_quantity} at {message.average_price}"
                )
                text = f"the venue answers order #{message.attempt} on {message.instrument}: {message.status}{filled}"
                self._say("answer", message.bucket, text, order_id=message.order_id, status=message.status, **told)
            case Order():
                self._recorded(message, told)
            case AccountStatement():
                self._say("statement", "", "the venue states what the account holds", **told)
            case _:
                pass

    def _fill(self, fill: Fill, told: dict[str, Any]) -> None:
        bucket = self._bucket_of(fill)
        verb = "bought" if fill.side == "buy" else "sold"
        text = f"{verb} {fill.quantity} {fill.instrument} at {fill.price}"
        if fill.fee is not None:
            text += f", fee {fill.fee}"
        if fill.exec_type in OWN:
            text = f"{fill.exec_type}: {text}"
        self._say(
            "fill", bucket, self._then(text, bucket), side=fill.side, quantity=fill.quantity, price=fill.price,
            instrument=fill.instrument, order_id=fill.order_id, **told,
        )  # fmt: skip

    def _bucket_of(self, fill: Fill) -> str:
        """As the engine resolves it: where only one bucket could be meant there is one of that name."""
        if fill.bucket is not None:
            return fill.bucket
        side = fill.position_side or "net"
        own = fill.instrument if side == "net" else f"{fill.instrument}:{side}"
        return own if self._view(own) is not None else "main"

    def _recorded(self, order: Order, told: dict[str, Any]) -> None:
        """The recording's own order: read as it is, and compared with what this replay decided."""
        known = self._decided.get(order.order_id)
        if known is None:
            said = "this replay has not decided it"
        elif (known.quantity, known.limit_price) == (order.quantity, order.limit_price):
            said = "as this replay decided"
        else:
            said = f"this replay decided {known.quantity} at {known.limit_price}"
        text = f"recorded order #{order.attempt}: {order.side} {order.quantity} {order.instrument} at {order.limit_price}; {said}"
        self._say("recorded-order", order.bucket, text, order_id=order.order_id, **told)

    # -- what was decided ------------------------------------------------------------------------------------------------

    def _status(self, state: AccountState, cause: Cause) -> None:
        numbers = {
            name: getattr(state, name)
            for name in ("equity", "initial_margin", "maintenance_margin", "maintenance_excess")
        }
        text = f"{state.previous_status} -> {state.status}{self._because(cause)}"
        if state.equity is not None:
            text += f": equity {state.equity} {state.valuation_asset}, maintenance {state.maintenance_margin}, initial {state.initial_margin}"
        elif state.detail:
            text += f": {state.detail}"
        if state.distance_price is not None:
            text += (
                f"; {state.distance_instrument} is {state.distance_price} ({state.distance_percent} %) from liquidation"
            )
        self._say(
            "status", state.bucket, text, status=state.status, previous_status=state.previous_status, **numbers, ts_ms=state.ts_ms,
            cause=[cause.topic, cause.partition, cause.offset],
        )  # fmt: skip

    def _order(self, order: Order) -> None:
        again = order.order_id in self._decided
        self._decided[order.order_id] = order
        why = WHY[order.trigger].format(equity=order.equity, maintenance_margin=order.maintenance_margin)
        text = (
            f"order #{order.attempt}{' again' if again else ''}: {order.side} {order.quantity} of {order.position_quantity} {order.instrument} "
            f"at {order.limit_price} or better ({STAGES[order.stage]}), because {why} at mark {order.mark_price}"
        )
        edges = [
            f"{name} {price}"
            for name, price in (("liquidation", order.liquidation_price), ("bankruptcy", order.bankruptcy_price))
            if price
        ]
        if edges:
            text += f"; its {' and '.join(edges)} price"
        text += f"; filled at the limit it leaves equity {order.projected_equity} over maintenance {order.projected_maintenance_margin}"
        self._say(
            "order", order.bucket, text, order_id=order.order_id, ts_ms=order.ts_ms, order=msgspec.to_builtins(order)
        )

    def _because(self, cause: Cause) -> str:
        last = self._last_price
        if last is None or cause != _place(last):
            return (
                ""
                if cause.topic in ACCOUNT_TOPICS
                else " as time passed"
                if cause.topic == "timer"
                else f" by {cause.topic}"
            )
        price = decode(last.topic, last.value)
        return f" at {price.instrument} {price.mark_price}" if isinstance(price, Price) else ""

    # -- saying it ---------------------------------------------------------------------------------------------------------

    def _view(self, bucket: str) -> BucketView | None:
        assert self._engine is not None, "the story looks on at an engine"
        return self._engine.view(self._account, bucket)

    def _then(self, text: str, bucket: str) -> str:
        view = self._view(bucket)
        return text if view is None else f"{text}; then {_standing(view)}"

    def _say(self, kind: str, bucket: str, text: str, *, ts_ms: int | None = None, **numbers: Any) -> None:
        self.lines += 1
        when = self._now_ms if ts_ms is None else ts_ms
        line = {
            "effect": "story",
            "ts_ms": when,
            "kind": kind,
            "account": self._account,
            "bucket": bucket,
            "text": text,
        }
        self._out({**line, **numbers})


def _place(record: Record) -> Cause:
    return Cause(record.topic, record.partition, record.offset)


def _numbers(view: BucketView) -> dict[str, Any]:
    return {
        "equity": view.equity, "initial_margin": view.initial_margin, "maintenance_margin": view.maintenance_margin,
        "balances": view.balances, "positions": {each.instrument: each.quantity for each in view.positions},
    }  # fmt: skip


def _standing(view: BucketView) -> str:
    """What the bucket holds and is worth, in a few words."""
    held = [
        f"{p.quantity} {p.instrument}" + (f" from {p.entry_price}" if p.entry_price else "") for p in view.positions
    ]
    cash = [f"{amount} {asset}" for asset, amount in view.balances.items()]
    text = "holds " + (", ".join([*held, *cash]) or "nothing")
    if view.equity is None:
        return f"{text}; its equity is not known"
    return f"{text}; equity {view.equity} {view.valuation_asset}, maintenance {view.maintenance_margin}"
