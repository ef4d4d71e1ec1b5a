"""From the level to orders: a bucket that is liquidatable now, and still is when its open orders fill, is closed just enough."""

from fractions import Fraction

from services.contracts.decimals import ONE
from services.engine.closing import (
    Close,
    limit_price,
    order_of_closing,
    quantity_to_close,
    reported_price,
    round_price,
    share_of_equity,
    share_of_relief,
    worst_price,
)
from services.engine.context import Context
from services.engine.conversion import conversion
from services.engine.doubts import Judge
from services.engine.instruments import TRADABLE
from services.engine.order_writing import OrderWriter
from services.engine.orders import earlier_orders, next_attempt
from services.engine.portfolio_closing import portfolio_quantity
from services.engine.projection import project
from services.engine.state import Account, Bucket, PositionKey
from services.engine.valuation import Leg, Valuation
from services.engine.valuer import Valuer
from services.engine.worth import E36, Holdings, Incomplete


class Decider:
    """Decides one bucket at a time; what it decides becomes an open order of the bucket and an effect."""

    def __init__(self, context: Context, valuer: Valuer) -> None:
        self._context = context
        self._valuer = valuer
        self.judge = Judge(context, valuer)
        self._writer = OrderWriter(context, valuer)
        self.resend = self._writer.resend

    def decide(self, account: Account, bucket: Bucket, valuation: Valuation) -> None:
        """Emit every order that the bucket needs now, given its valuation."""
        if not self.judge.breaches(account, valuation) or self._is_blocked(account, bucket):
            return
        if not self.judge.is_certain(account, bucket):
            return
        passed: set[PositionKey] = set()
        found = 0
        while (leg_and_close := self._next(account, bucket, passed)) is not None:
            leg, close = leg_and_close
            passed.add(leg)
            if close is not None:
                self._writer.issue(account, bucket, valuation, close)
                found += 1
        if not found and not bucket.positions and not any(order.is_open for order in bucket.orders.values()):
            close = conversion(self._context, account, bucket, valuation)
            if close is not None:
                self._writer.issue(account, bucket, valuation, close)

    def _is_blocked(self, account: Account, bucket: Bucket) -> bool:
        """Whether a gate, a halt or an unsettled account forbids any decision now; a wait gets its timer."""
        context = self._context
        if not context.may_order(account):
            return True
        if account.sequences:
            return account.has_gap
        if account.touched_ms is None:
            return False
        settled_ms = account.touched_ms + context.settings.account_settle_ms
        if context.now_of(account) >= settled_ms:
            return False
        context.timers.at(settled_ms, "bucket", account.account, bucket.name)
        return True

    def _next(
        self, account: Account, bucket: Bucket, passed: set[PositionKey]
    ) -> tuple[PositionKey, Close | None] | None:
        """The next position to look at and the order that it needs, if the projected bucket still needs one."""
        if bucket.positions and _busy(bucket) | passed >= bucket.positions.keys():
            return None  # every position has its order: no need to ask what they will leave
        holdings = project(bucket, self._context.market)
        projected = self._valuer.value(account, holdings, self._context.now_of(account))
        if isinstance(projected, Incomplete) or not self.judge.is_liquidatable(account, holdings, projected):
            return None
        busy = _busy(bucket) | passed
        legs = [
            leg
            for leg in order_of_closing(projected, self._context.settings)
            if leg.key not in busy and self._may_close(account, leg)
        ]
        if not legs:
            return None
        if account.margin_mode == "portfolio":
            chosen = portfolio_quantity(account, (holdings, projected), legs, self._valuer, self._context)
            if chosen is None:
                return None
            leg, quantity, relief = chosen
            share = share_of_relief(relief, leg, projected)
        else:
            leg, share = legs[0], None
            most_kept = self._context.gap.largest_remainder(account, leg, projected)
            quantity = quantity_to_close(leg, projected, self._context.market, self._context.settings, most_kept)
        return leg.key, self._close(account, bucket, (holdings, projected), (leg, quantity, share))

    def _may_close(self, account: Account, leg: Leg) -> bool:
        market = self._context.market
        valid = (
            market.grade(leg.key[0], self._context.now_of(account)) == "valid"
            and market.marks.get(leg.key[0]) is not None
        )
        return valid and leg.spec.status in TRADABLE

    def _close(
        self,
        account: Account,
        bucket: Bucket,
        projection: tuple[Holdings, Valuation],
        wanted: tuple[Leg, int, Fraction | None],
    ) -> Close | None:
        """The order for a quantity of the position, or for all of it at the bankruptcy price if the market is no help any more.

        `wanted` says what of the equity it may use, in the settlement asset, where that is not the position's own share.
        """  # fmt: skip
        holdings, projected = projection
        leg, quantity, share = wanted
        attempt, selling, held = next_attempt(bucket, leg.key[0]), leg.position.quantity > 0, abs(leg.position.quantity)
        earlier = earlier_orders(bucket, leg.key[0])
        if self._must_be_taken_over(account, bucket, projected, leg, earlier):
            bankruptcy = self._valuer.bankruptcy_price(account, holdings, leg.key, projected)
            limit = reported_price(bankruptcy, leg.spec, up=selling)
            if limit is None:
                limit = round_price(Fraction(leg.mark, ONE), leg.spec, up=selling)
            stage = "adl" if leg.spec.insurance_pool is None else "takeover"
            return Close(leg=leg, quantity=held, limit=limit, stage=stage, attempt=attempt)
        if not quantity:
            return None
        whole = quantity == held
        is_last = whole and len(holdings.positions) == 1 and share is None
        if share is None:
            share = share_of_equity(leg, quantity, projected, self._context.market)
        # The bankruptcy price is a root, the most expensive number here: it is asked for where it decides only.
        last = self._valuer.bankruptcy_price(account, holdings, leg.key, projected) if is_last else None
        worst = last if is_last else worst_price(leg, quantity, share)
        price = limit_price(leg, earlier, projected, self._context.market, self._context.settings)
        if worst is not None:
            price = max(price, worst) if selling else min(price, worst)
        limit = round_price(price, leg.spec, up=selling)
        return Close(leg=leg, quantity=quantity, limit=limit, stage="full" if whole else "partial", attempt=attempt)

    def _must_be_taken_over(
        self, account: Account, bucket: Bucket, projected: Valuation, leg: Leg, earlier: int
    ) -> bool:
        """The mark is at or past the bankruptcy price (E - taker·N <= 0), or ordinary orders have had their chances."""
        settings = self._context.settings
        fee = leg.notional * leg.spec.taker_fee_rate * leg.settle_price * E36 // ONE
        if projected.equity <= fee:
            return True
        if earlier >= settings.max_attempts:
            return True
        since = [issued_ms for _, issued_ms in bucket.tries.get(leg.key[0], ())]
        return bool(since) and self._context.now_of(account) - min(since) >= settings.max_unfilled_ms


def _busy(bucket: Bucket) -> set[PositionKey]:
    """Positions that an order is out for."""
    return {(order.instrument, order.position_side) for order in bucket.orders.values() if order.is_open}
