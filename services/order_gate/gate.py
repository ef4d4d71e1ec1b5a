"""The order gate: the rules that the contract sets to whoever executes liquidation orders, for one partition.

No I/O and no clock: the caller reads the records in order, says what time it is and what it holds, and tells what became of the
orders that it was let execute. Everything that the gate must remember over a restart is `state`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, structs

from services.contracts.answers import answer_to
from services.contracts.codec import decode
from services.contracts.decimals import parse
from services.contracts.identifiers import order_id, partition_of
from services.contracts.messages import TERMINAL, Claim, Order, OrderEvent, OrderStatus

ORDERS: Final = "liquidation-orders"
Position = Callable[[Order], int]


class Action(StrEnum):
    """What the caller has to do with a record."""

    CLAIM = "claim"  # nothing: another epoch begins
    IGNORE = "ignore"  # nothing: the record does not count
    ANSWER = "answer"  # publish the event; execute nothing
    EXECUTE = "execute"  # cancel what rests, then execute `quantity` at the most
    SUPERSEDE = "supersede"  # as execute, in place of the same order as it was accepted before


class Reason(StrEnum):
    """Why a record is not executed."""

    UNREADABLE = "unreadable"
    STALE_EPOCH = "stale_epoch"  # not the latest claim before it, or no claim at all
    WRONG_PARTITION = "wrong_partition"
    WRONG_ID = "wrong_id"  # the id does not follow from what it names, so it cannot protect against a second execution
    ANSWERED = "answered"  # the id has its answer: it is given again
    EXPIRED = "expired"
    NO_POSITION = "no_position"


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The gate's word on one record. `quantity` is e18; `event` is to be published as it is."""

    action: Action
    reason: Reason | None = None
    order: Order | None = None
    quantity: int = 0
    event: OrderEvent | None = None


class Held(Struct, kw_only=True):
    """An order that the caller was let execute and has not finished. `event` is the last that was told of it."""

    order: Order
    quantity: int
    event: OrderEvent | None = None

    @property
    def executed(self) -> int:
        """What of it executed, e18."""
        filled = None if self.event is None else self.event.filled_quantity
        return 0 if filled is None else parse(filled)


class State(Struct, kw_only=True):
    """What must survive a restart, together with the offset that was read; it encodes to JSON as it is."""

    epoch: int | None = None  # offset of the latest claim
    held: dict[str, Held] = msgspec.field(default_factory=dict)  # by order id
    answers: dict[str, OrderEvent] = msgspec.field(default_factory=dict)  # by order id: the terminal event


class OrderGate:
    """One partition of `liquidation-orders`. `partitions`, where it is given, is the count that accounts are spread over."""

    def __init__(self, partition: int, partitions: int | None = None, state: State | None = None) -> None:
        self._partition = partition
        self._partitions = partitions
        self.state = state if state is not None else State()

    def read(self, offset: int, value: bytes, now_ms: int, position: Position) -> Verdict:
        """Judge the record at `offset`; `now_ms` is the reader's own clock.

        `position` answers what may be sold (positive) or bought back (negative) for an order's account, bucket, instrument and
        side, e18 contracts; of a `convert` the unlocked holding. It is asked only for an order that counts.
        """
        message = decode(ORDERS, value)
        if isinstance(message, Claim):
            self.state.epoch = offset
            return Verdict(action=Action.CLAIM)
        if not isinstance(message, Order):
            return Verdict(action=Action.IGNORE, reason=Reason.UNREADABLE)
        return self._judge(message, now_ms, position)

    def told(self, event: OrderEvent) -> None:
        """What became of an order that was to be executed; after a terminal event its id never executes again."""
        if event.status in TERMINAL:
            self.state.held.pop(event.order_id, None)
            self.state.answers[event.order_id] = event
        elif event.order_id in self.state.held:
            self.state.held[event.order_id].event = event

    def forget(self, before_ms: int) -> None:
        """Drop answers from before that time. Only for ids that cannot come again: see README.md."""
        self.state.answers = {name: event for name, event in self.state.answers.items() if event.ts_ms >= before_ms}

    def room(self, order: Order, position: int) -> int:
        """What of the position the order may close at the most, e18: never more than there is, less what others may close."""
        there = position if order.side == "sell" else -position
        others = sum(held.quantity - held.executed for held in self.state.held.values() if _rivals(held.order, order))
        return max(0, min(parse(order.quantity), there - others))

    def _judge(self, order: Order, now_ms: int, position: Position) -> Verdict:
        reason = self._why_void(order)
        if reason is not None:
            return Verdict(action=Action.IGNORE, reason=reason, order=order)
        answered, held = self._answered(order.order_id), self.state.held.get(order.order_id)
        if answered is not None:
            event = structs.replace(answered, ts_ms=now_ms)
            return Verdict(action=Action.ANSWER, reason=Reason.ANSWERED, order=order, event=event)
        if now_ms >= order.valid_until_ms:
            if held is not None:  # accepted while it was valid: what becomes of it is the caller's to tell
                return Verdict(action=Action.IGNORE, reason=Reason.EXPIRED, order=order)
            return self._closed(order, "expired", Reason.EXPIRED, now_ms)
        quantity = self.room(order, position(order))
        if quantity <= 0:
            return self._closed(order, "rejected", Reason.NO_POSITION, now_ms)
        self.state.held[order.order_id] = Held(order=order, quantity=quantity)
        action = Action.EXECUTE if held is None else Action.SUPERSEDE
        return Verdict(action=action, order=order, quantity=quantity)

    def _why_void(self, order: Order) -> Reason | None:
        if order.epoch != self.state.epoch:
            return Reason.STALE_EPOCH
        if self._partitions is not None and partition_of(order.account, self._partitions) != self._partition:
            return Reason.WRONG_PARTITION
        if order.order_id != order_id(order.account, order.bucket, order.instrument, order.attempt):
            return Reason.WRONG_ID
        return None

    def _answered(self, ident: str) -> OrderEvent | None:
        """The event of an id that has its terminal answer, or of which something executed already."""
        held = self.state.held.get(ident)
        if held is not None and held.executed:
            return held.event
        return self.state.answers.get(ident)

    def _closed(self, order: Order, status: OrderStatus, reason: Reason, now_ms: int) -> Verdict:
        event = answer_to(order, status, "0", now_ms, reason=reason.value)
        self.told(event)
        return Verdict(action=Action.ANSWER, reason=reason, order=order, event=event)


def _rivals(one: Order, other: Order) -> bool:
    """Whether both close the same position, as different orders."""
    return one.order_id != other.order_id and _place(one) == _place(other)


def _place(order: Order) -> tuple[str, str, str, str]:
    return order.account, order.bucket, order.instrument, order.position_side
