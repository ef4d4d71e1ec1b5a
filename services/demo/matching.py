"""The venue's matching engine as a consumer of `liquidation-orders`, with the rules that the contract sets it.

Which records it acts on, and how far, is the order gate's to say (`services/order_gate`). What is accepted waits for the next mark of its
instrument and executes there, as far as the book goes, or not at all; a takeover needs no market and executes at once.
"""

from typing import Final, NamedTuple

from msgspec import Struct

from services.contracts.answers import answer_to
from services.contracts.decimals import ONE, ceil_div, parse, to_text
from services.contracts.messages import ExecType, Fill, Instrument, Order, OrderEvent, OrderStatus
from services.demo.books import Books
from services.order_gate.gate import Action, OrderGate, Verdict

ORDERS: Final = "liquidation-orders"
AT_BANKRUPTCY: Final = (
    "takeover",
    "adl",
)  # somebody else takes the position at the order's price, whatever the market does


class Answer(Struct, frozen=True, kw_only=True):
    """What the venue publishes about an order: what became of it, and the execution if there was one."""

    event: OrderEvent
    fill: Fill | None = None


class MatchingEngine:
    """Orders in, answers out. It holds no clock: the caller says what time it is."""

    def __init__(self, books: Books, market: dict[str, Instrument], lots: dict[str, int]) -> None:
        self._books = books
        self._market = market
        self._lots = lots
        self._gates: dict[int, OrderGate] = {}  # by partition
        self._open: dict[str, dict[str, _Open]] = {name: {} for name in market}

    @property
    def claimed(self) -> frozenset[int]:
        """The partitions that some worker owns."""
        return frozenset(partition for partition, gate in self._gates.items() if gate.state.epoch is not None)

    @property
    def waiting(self) -> int:
        """Accepted orders that wait for a mark."""
        return sum(len(orders) for orders in self._open.values())

    def receive(self, partition: int, offset: int, value: bytes, now_ms: int) -> tuple[Verdict, Answer | None]:
        """The gate's verdict on one record, and an answer if one is due at once."""
        gate = self._gates.setdefault(partition, OrderGate(partition))
        verdict = gate.read(offset, value, now_ms, self._position)
        order = verdict.order
        if order is None or verdict.action is Action.IGNORE:
            return verdict, None
        if verdict.event is not None:
            self._open.get(order.instrument, {}).pop(order.order_id, None)
            return verdict, Answer(event=verdict.event)
        if order.stage in AT_BANKRUPTCY:  # no market is needed for it
            return verdict, self._filled(_Open(gate, order), verdict.quantity, parse(order.limit_price), now_ms)
        self._open[order.instrument][order.order_id] = _Open(gate, order)
        return verdict, None

    def on_mark(self, instrument: str, price: int, depth: int | None, now_ms: int) -> list[Answer]:
        """Execute what waits for this instrument at `price` (e18); `depth` is what the book takes, e18 notional; None: all.

        Immediate or cancel: what does not execute on this mark expires.
        """
        waiting, self._open[instrument] = self._open[instrument], {}
        left = None if depth is None else depth * ONE // price
        answers = []
        for item in waiting.values():
            answer, used = self._execute(item, price, left, now_ms)
            left = None if left is None else left - used
            answers.append(answer)
        return answers

    def _execute(self, item: "_Open", price: int, left: int | None, now_ms: int) -> tuple[Answer, int]:
        """The answer to one order, and how much of the book it used (e18 quantity)."""
        order, limit = item.order, parse(item.order.limit_price)
        quantity = item.gate.room(order, self._position(order))
        if quantity <= 0:
            return _closed(item, "rejected", "no position to reduce", now_ms), 0
        if price < limit if order.side == "sell" else price > limit:
            return _closed(item, "expired", "the market is beyond the limit", now_ms), 0
        if left is not None and quantity > left:
            quantity = left - left % self._lots[order.instrument]
        if quantity <= 0:
            return _closed(item, "expired", "the book is empty", now_ms), 0
        return self._filled(item, quantity, price, now_ms), quantity

    def _filled(self, item: "_Open", quantity: int, price: int, now_ms: int) -> Answer:
        order = item.order
        whole = quantity >= parse(order.quantity)
        event = _event(order, "filled" if whole else "expired", quantity, now_ms, price=price)
        fill = Fill(
            fill_id=f"x-{order.order_id}",
            account=order.account,
            bucket=order.bucket,
            instrument=order.instrument,
            side=order.side,
            quantity=to_text(quantity),
            price=to_text(price),
            fee=to_text(self._fee(order, quantity, price)),
            order_id=order.order_id,
            exec_type=_exec_type(order),
            ts_ms=now_ms,
        )
        self._books.fill(fill)
        item.gate.told(event)
        return Answer(event=event, fill=fill)

    def _position(self, order: Order) -> int:
        """What the venue holds of it for the account, e18; nothing of what is not traded here."""
        if order.instrument not in self._open:
            return 0
        return self._books.position(order.account, order.bucket, order.instrument)

    def _fee(self, order: Order, quantity: int, price: int) -> int:
        """Taker and liquidation fee, e18; the latter never takes more than the equity that is left above zero.

        A position taken over at its bankruptcy price pays none: there is nothing left to pay it from.
        """
        if order.stage in AT_BANKRUPTCY:
            return 0
        instrument, notional = self._market[order.instrument], quantity * price // ONE
        taker = ceil_div(notional * parse(instrument.taker_fee_rate or "0"), ONE)
        wanted = ceil_div(notional * parse(instrument.liquidation_fee_rate or "0"), ONE)
        bucket = self._books.buckets[order.account, order.bucket]
        signed = quantity if order.side == "buy" else -quantity
        slippage = signed * (self._books.marks[order.instrument] - price) // ONE
        return taker + max(0, min(wanted, self._books.equity(bucket) + slippage - taker))


class _Open(NamedTuple):
    """An accepted order that waits for a mark, and the gate to tell what becomes of it."""

    gate: OrderGate
    order: Order


def _exec_type(order: Order) -> ExecType:
    if order.stage in {"takeover", "adl"}:
        return order.stage
    return "liquidation"


def _closed(item: _Open, status: OrderStatus, reason: str, now_ms: int) -> Answer:
    event = _event(item.order, status, 0, now_ms, reason=reason)
    item.gate.told(event)
    return Answer(event=event)


def _event(
    order: Order, status: OrderStatus, filled: int, now_ms: int, *, price: int | None = None, reason: str | None = None
) -> OrderEvent:
    average = None if price is None else to_text(price)
    return answer_to(order, status, to_text(filled), now_ms, price=average, reason=reason)
