"""What answers the orders of a replay. Answers are synthetic records, deterministic functions of the recording and the orders.

`next`: the next mark price of the instrument, if it is no worse than the limit, fills the whole order; else it expires.
`limit`: every order is filled at its limit at once. `recorded`: the recording's own fills and order events. `none`: nothing.
A `convert` order leaves no position: it is answered by the two transfers of the conversion, what was bought before what was sold.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from msgspec import structs

from services.contracts.answers import answer_to
from services.contracts.decimals import ONE, to_text
from services.contracts.messages import ExecType, Fill, Message, Order, OrderEvent, OrderStatus, Transfer
from services.contracts.records import Record
from services.contracts.ticks import Tick
from services.replay.choices import Matching
from services.replay.market import Market

AT_ONCE: Final[dict[str, ExecType]] = {
    "takeover": "takeover",
    "adl": "adl",
}  # the venue's own arrangements need no market

Answer = Fill | Transfer | OrderEvent


class OpenOrder:
    """An order that waits, and what others of its bucket have cost since its equity was stated (valuation asset)."""

    __slots__ = ("order", "spent")

    def __init__(self, order: Order) -> None:
        self.order = order
        self.spent = Fraction(0)


class Matcher:
    """Answers the orders that it is shown. It sees the accepted input records, and knows marks and fees from them."""

    def __init__(self, matching: Matching) -> None:
        self.matching = matching
        self._market = Market()
        self._by_instrument: dict[str, dict[str, OpenOrder]] = {}
        self._by_bucket: dict[tuple[str, str], dict[str, OpenOrder]] = {}
        self._executed: dict[str, OrderEvent] = {}

    def saw(self, message: Message, now_ms: int) -> list[Answer]:
        """The answers that an accepted record brings; a price of an instrument answers the orders waiting for it."""
        if not self.matching.is_synthetic:
            return []
        instrument = self._market.saw(message)
        if self.matching is not Matching.NEXT or instrument is None:
            return []
        waiting = list(self._by_instrument.get(instrument, {}).values())
        return [answer for entry in waiting for answer in self._at_mark(entry, now_ms)]

    def passed(self, record: Record) -> bool:
        """Takes in an accepted price that no order waits for, without decoding it; False: it is for `saw`."""
        if self._by_bucket and self._by_instrument.get((record.key or b"").decode(errors="replace")):
            return False
        return self._market.passed(record)

    @property
    def waits(self) -> bool:
        """Whether an order waits for a price."""
        return bool(self._by_bucket)

    def marked(self, ticks: Iterable[Tick]) -> None:
        """Accepted ticks went by while no order waited."""
        if self.matching.is_synthetic:
            self._market.marked(ticks)

    def ordered(self, order: Order, now_ms: int) -> list[Answer]:
        """The answers that an order brings at once. One that was executed is answered with what became of it."""
        if not self.matching.is_synthetic:
            return []
        executed = self._executed.get(order.order_id)
        if executed is not None:
            return [structs.replace(executed, ts_ms=now_ms)]
        entry = OpenOrder(order)
        self._add(entry)
        if self.matching is Matching.LIMIT or order.stage in AT_ONCE:
            return self._filled(entry, order.limit_price, now_ms)
        return []

    def refused(self, order: Order, now_ms: int) -> list[Answer]:
        """An order that arrives when it is no longer valid is not executed."""
        return [self._executed.get(order.order_id) or _event(order, "expired", None, now_ms)]

    def _at_mark(self, entry: OpenOrder, now_ms: int) -> list[Answer]:
        order = entry.order
        mark, limit = self._market.mark(order.instrument), Fraction(order.limit_price)
        if mark is None or (mark < limit if order.side == "sell" else mark > limit):
            self._remove(entry)
            return [_event(order, "expired", None, now_ms)]
        return self._filled(entry, to_text(int(mark * ONE)), now_ms)

    def _filled(self, entry: OpenOrder, price: str, now_ms: int) -> list[Answer]:
        self._remove(entry)
        order, fee = entry.order, self._fee(entry, price)
        event = _event(order, "filled", price, now_ms)
        self._executed[order.order_id] = event
        if order.stage == "convert":
            return [*self._converted(order, price, fee, now_ms), event]
        fill = Fill(
            fill_id=f"x-{order.order_id}",
            account=order.account,
            bucket=order.bucket,
            instrument=order.instrument,
            position_side=order.position_side,
            side=order.side,
            quantity=order.quantity,
            price=price,
            fee=to_text(fee),
            order_id=order.order_id,
            exec_type=AT_ONCE.get(order.stage, "liquidation"),
            ts_ms=now_ms,
        )
        return [fill, event]

    def _converted(self, order: Order, price: str, fee: int, now_ms: int) -> list[Transfer]:
        """The collateral that the order sold, and what it brought less the fee; the credit comes first: no bucket dips in between."""
        sold, bought = self._market.converted(order.instrument)
        quantity = Fraction(order.quantity)
        proceeds = int(self._market.value(order.instrument, quantity, Fraction(price)) * ONE) - fee
        units = _ceil(quantity * self._market.size(order.instrument) * ONE)
        return [
            Transfer(
                transfer_id=f"x-{order.order_id}-{asset}", account=order.account, bucket=order.bucket, asset=asset,
                amount=to_text(amount), reason="conversion", instrument=order.instrument, reference=order.order_id, ts_ms=now_ms,
            )
            for asset, amount in ((bought, proceeds), (sold, -units))
        ]  # fmt: skip

    def _fee(self, entry: OpenOrder, price: str) -> int:
        """Taker fee and liquidation fee in the settlement asset, e18; the second only out of equity that is left above zero.

        Equity as the order states it, moved to the marks of now and by what the bucket's other orders have cost since, less
        what they may still cost at their limits: so no liquidation fee makes a bucket negative.
        """
        order, market = entry.order, self._market
        fees = market.fees(order.instrument)
        notional = abs(market.value(order.instrument, Fraction(order.quantity), Fraction(price)))
        taker = notional * fees.taker
        rate = market.settlement_price(order.account, order.instrument)
        cost = taker - self._slippage(order, Fraction(price)) - self._moved(order)
        siblings = list(self._by_bucket.get((order.account, order.bucket), {}).values())
        left = Fraction(0)
        if rate is not None:
            equity = Fraction(order.equity) - entry.spent - cost * rate
            left = max(Fraction(0), (equity - sum(self._reserve(s.order) for s in siblings)) / rate)
        liquidation = int(min(notional * fees.liquidation, left) * ONE)  # both are >= 0: rounded down
        for sibling in siblings:
            sibling.spent += (cost + Fraction(liquidation, ONE)) * (rate or 0)
        return _ceil(taker * ONE) + liquidation

    def _slippage(self, order: Order, price: Fraction) -> Fraction:
        """What closing the order's quantity at `price` brings against its mark of now; settlement asset."""
        mark = self._market.mark(order.instrument)
        if mark is None:
            return Fraction(0)
        closed = Fraction(order.quantity) * (1 if order.side == "sell" else -1)
        value = self._market.value
        return value(order.instrument, closed, price) - value(order.instrument, closed, mark)

    def _moved(self, order: Order) -> Fraction:
        """What the position's value moved since the order was decided; settlement asset."""
        mark = self._market.mark(order.instrument)
        if mark is None:
            return Fraction(0)
        held = Fraction(order.position_quantity)
        value = self._market.value
        return value(order.instrument, held, mark) - value(order.instrument, held, Fraction(order.mark_price))

    def _reserve(self, order: Order) -> Fraction:
        """What a waiting order's position has lost, and what the order may cost at its limit; valuation asset."""
        rate = self._market.settlement_price(order.account, order.instrument) or Fraction(0)
        limit = Fraction(order.limit_price)
        notional = abs(self._market.value(order.instrument, Fraction(order.quantity), limit))
        taker = notional * self._market.fees(order.instrument).taker
        return (taker - self._slippage(order, limit) - self._moved(order)) * rate

    def _add(self, entry: OpenOrder) -> None:
        order = entry.order
        self._by_instrument.setdefault(order.instrument, {})[order.order_id] = entry
        self._by_bucket.setdefault((order.account, order.bucket), {})[order.order_id] = entry

    def _remove(self, entry: OpenOrder) -> None:
        order = entry.order
        del self._by_instrument[order.instrument][order.order_id]
        bucket = self._by_bucket[order.account, order.bucket]
        del bucket[order.order_id]
        if not bucket:
            del self._by_bucket[order.account, order.bucket]


def _event(order: Order, status: OrderStatus, price: str | None, now_ms: int) -> OrderEvent:
    return answer_to(order, status, order.quantity if price is not None else "0", now_ms, price=price)


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
