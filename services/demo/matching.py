"""The venue's matching engine as a consumer of `liquidation-orders`, with the rules that the contract sets it.

It acts on a record only if it is an order of the latest claim before it in its partition, its id was not executed, and it is
still valid on the venue's own clock; it never exceeds the position. What is accepted waits for the next mark of its
instrument and executes there, as far as the book goes, or not at all; a takeover needs no market and executes at once.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from services.contracts.answers import answer_to
from services.contracts.codec import decode
from services.contracts.decimals import ONE, ceil_div, parse, to_text
from services.contracts.messages import Claim, ExecType, Fill, Instrument, Order, OrderEvent, OrderStatus
from services.contracts.refusals import Refusal
from services.demo.books import Books

ORDERS: Final = "liquidation-orders"
AT_BANKRUPTCY: Final = (
    "takeover",
    "adl",
)  # somebody else takes the position at the order's price, whatever the market does


class Verdict(StrEnum):
    """What the venue made of one record of the orders topic."""

    CLAIM = "claim"
    ACCEPTED = "accepted"
    ANSWERED_AGAIN = "answered_again"  # executed before: the same answer
    WAITING = "waiting"  # the same order, still open here
    STALE_EPOCH = "stale_epoch"
    EXPIRED = "expired"
    NO_POSITION = "no_position"
    UNREADABLE = "unreadable"


class Answer(Struct, frozen=True, kw_only=True):
    """What the venue publishes about an order: what became of it, and the execution if there was one."""

    event: OrderEvent
    fill: Fill | None = None


class _Open(Struct, kw_only=True):
    order: Order
    quantity: int  # e18, bounded by the position


class MatchingEngine:
    """Orders in, answers out. It holds no clock: the caller says what time it is."""

    def __init__(self, books: Books, market: dict[str, Instrument], lots: dict[str, int]) -> None:
        self._books = books
        self._market = market
        self._lots = lots
        self._epochs: dict[int, int] = {}  # partition -> offset of the latest claim
        self._open: dict[str, dict[str, _Open]] = {name: {} for name in market}
        self._answers: dict[str, Answer] = {}  # order id -> what became of it
        self.verdicts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)

    @property
    def claimed(self) -> frozenset[int]:
        """The partitions that some worker owns."""
        return frozenset(self._epochs)

    @property
    def waiting(self) -> int:
        """Accepted orders that wait for a mark."""
        return sum(len(orders) for orders in self._open.values())

    def receive(
        self, partition: int, offset: int, value: bytes, now_ms: int
    ) -> tuple[Verdict, Order | None, Answer | None]:
        """The verdict on one record, its order if it is one, and an answer if one is due at once."""
        message = decode(ORDERS, value)
        if isinstance(message, Claim):
            self._epochs[partition] = offset
            return self._counted(Verdict.CLAIM), None, None
        if isinstance(message, Refusal) or not isinstance(message, Order):
            return self._counted(Verdict.UNREADABLE), None, None
        verdict, answer = self._judge(partition, message, now_ms)
        return self._counted(verdict), message, answer

    def _judge(self, partition: int, order: Order, now_ms: int) -> tuple[Verdict, Answer | None]:
        if self._epochs.get(partition) != order.epoch:
            return Verdict.STALE_EPOCH, None
        earlier = self._answers.get(order.order_id)
        if earlier is not None and earlier.fill is not None:
            return Verdict.ANSWERED_AGAIN, Answer(event=earlier.event)
        if now_ms >= order.valid_until_ms:
            return Verdict.EXPIRED, self._closed(order, "expired", "valid_until_ms has passed", now_ms)
        if order.instrument not in self._open:
            return Verdict.NO_POSITION, self._closed(order, "rejected", "not traded here", now_ms)
        if order.order_id in self._open[order.instrument]:
            self._open[order.instrument][order.order_id].order = order  # a retry, or a later epoch: it supersedes
            return Verdict.WAITING, None
        quantity = self._reducible(order)
        if quantity <= 0:
            return Verdict.NO_POSITION, self._closed(order, "rejected", "no position to reduce", now_ms)
        if order.stage in AT_BANKRUPTCY:  # no market is needed for it
            return Verdict.ACCEPTED, self._filled(order, quantity, parse(order.limit_price), now_ms)
        self._open[order.instrument][order.order_id] = _Open(order=order, quantity=quantity)
        return Verdict.ACCEPTED, None

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

    def _execute(self, item: _Open, price: int, left: int | None, now_ms: int) -> tuple[Answer, int]:
        """The answer to one order, and how much of the book it used (e18 quantity)."""
        order, limit = item.order, parse(item.order.limit_price)
        quantity = min(item.quantity, self._reducible(order))
        if quantity <= 0:
            return self._closed(order, "rejected", "no position to reduce", now_ms), 0
        if price < limit if order.side == "sell" else price > limit:
            return self._closed(order, "expired", "the market is beyond the limit", now_ms), 0
        if left is not None and quantity > left:
            quantity = left - left % self._lots[order.instrument]
        if quantity <= 0:
            return self._closed(order, "expired", "the book is empty", now_ms), 0
        return self._filled(order, quantity, price, now_ms), quantity

    def _filled(self, order: Order, quantity: int, price: int, now_ms: int) -> Answer:
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
        answer = Answer(event=event, fill=fill)
        self._answers[order.order_id] = answer
        return answer

    def _closed(self, order: Order, status: OrderStatus, reason: str, now_ms: int) -> Answer:
        answer = Answer(event=_event(order, status, 0, now_ms, reason=reason))
        self._answers[order.order_id] = answer
        return answer

    def _reducible(self, order: Order) -> int:
        """At most the order's quantity and at most the position, e18; 0 if the order would not reduce it."""
        held = self._books.position(order.account, order.bucket, order.instrument)
        against = held if order.side == "sell" else -held
        return max(0, min(parse(order.quantity), against))

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

    def _counted(self, verdict: Verdict) -> Verdict:
        self.verdicts[verdict] += 1
        return verdict


def _exec_type(order: Order) -> ExecType:
    if order.stage in {"takeover", "adl"}:
        return order.stage
    return "liquidation"


def _event(
    order: Order, status: OrderStatus, filled: int, now_ms: int, *, price: int | None = None, reason: str | None = None
) -> OrderEvent:
    average = None if price is None else to_text(price)
    return answer_to(order, status, to_text(filled), now_ms, price=average, reason=reason)
