"""From the level to orders: a bucket that is liquidatable now, and still is when its open orders fill, is closed just enough."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from services.contracts.decimals import ONE
from services.engine.closing import Close, limit_price, order_of_closing, quantity_to_close, round_price
from services.engine.context import Context
from services.engine.doubts import is_certain
from services.engine.order_writing import OrderWriter
from services.engine.orders import next_attempt
from services.engine.portfolio_closing import portfolio_close
from services.engine.projection import project
from services.engine.state import Account, Bucket, Position
from services.engine.valuation import Leg, Valuation, is_liquidatable
from services.engine.valuer import Valuer
from services.engine.worth import Holdings, Incomplete

TRADABLE: Final = frozenset({"trading", "cancel_only"})


class Decider:
    """Decides one bucket at a time; what it decides becomes an open order of the bucket and an effect."""

    def __init__(self, context: Context, valuer: Valuer) -> None:
        self._context = context
        self._valuer = valuer
        self._writer = OrderWriter(context, valuer)
        self.resend = self._writer.resend

    def decide(self, account: Account, bucket: Bucket, valuation: Valuation) -> None:
        """Emit every order that the bucket needs now, given its valuation."""
        if not self._is_liquidatable(valuation) or self._is_blocked(account, bucket):
            return
        if not is_certain(self._context, self._valuer, account, bucket):
            return
        while self._decide_one(account, bucket, valuation):
            pass

    def _is_liquidatable(self, valuation: Valuation) -> bool:
        return is_liquidatable(valuation, at_equal=self._context.settings.liquidate_at_equal)

    def _is_blocked(self, account: Account, bucket: Bucket) -> bool:
        """Whether a gate, a halt or an unsettled account forbids any decision now; a wait gets its timer."""
        context, market = self._context, self._context.market
        if (
            not context.gate_is_open(account.partition)
            or market.halted_all
            or account.account in market.halted_accounts
        ):
            return True
        if account.sequence_ahead or account.parked:
            return True
        if account.touched_ms is None:
            return False
        settled_ms = account.touched_ms + context.settings.account_settle_ms
        if context.now_of(account) >= settled_ms:
            return False
        context.timers.at(settled_ms, "bucket", account.account, bucket.name)
        return True

    def _decide_one(self, account: Account, bucket: Bucket, valuation: Valuation) -> bool:
        """One more order, if the projected bucket needs one and a position can be closed."""
        holdings = project(bucket, self._context.market)
        projected = self._valuer.value(account, holdings, self._context.now_of(account))
        if isinstance(projected, Incomplete) or not self._is_liquidatable(projected):
            return False
        candidates = list(self._closable(account, bucket, projected))
        close = self._choose(account, bucket, projected, holdings, candidates)
        if close is None and not projected.legs and not bucket.orders:
            close = self._conversion(bucket, projected)
        if close is None:
            return False
        self._writer.issue(account, bucket, valuation, close)
        return True

    def _closable(self, account: Account, bucket: Bucket, projected: Valuation) -> Iterator[Leg]:
        """Positions that an order may close now, in the order in which they are to be closed."""
        context, now = self._context, self._context.now_of(account)
        busy = {(order.instrument, order.position_side) for order in bucket.orders.values()}
        for leg in order_of_closing(projected, context.settings):
            if leg.key not in busy and leg.spec.status in TRADABLE and context.market.grade(leg.key[0], now) == "valid":
                yield leg

    def _choose(
        self, account: Account, bucket: Bucket, projected: Valuation, holdings: Holdings, candidates: list[Leg]
    ) -> Close | None:
        context = self._context
        if not candidates:
            return None
        if account.margin_mode == "portfolio":
            chosen = portfolio_close(account, holdings, candidates, self._valuer, context)
            if chosen is None:
                return None
            leg, quantity = chosen
        else:
            leg = candidates[0]
            quantity = quantity_to_close(leg, projected, context.market, context.settings)
        bankruptcy = self._valuer.bankruptcy_price(account, holdings, leg.key)
        attempt, selling, held = next_attempt(bucket, leg.key[0]), leg.position.quantity > 0, abs(leg.position.quantity)
        if self._must_be_taken_over(account, bucket, projected, leg, bankruptcy):
            price = Fraction(leg.mark, ONE) if bankruptcy is None else bankruptcy
            limit = round_price(price, leg.spec, up=selling)
            missing = max(0, -projected.equity_e18())
            stage = "adl" if leg.spec.insurance_pool is None else "takeover"
            return Close(leg=leg, quantity=held, limit=limit, stage=stage, attempt=attempt, missing=missing)
        whole = quantity == held
        worst = bankruptcy if whole and len(holdings.positions) == 1 else None
        limit = limit_price(leg, quantity, attempt, projected, worst, context.market, context.settings)
        return Close(leg=leg, quantity=quantity, limit=limit, stage="full" if whole else "partial", attempt=attempt)

    def _must_be_taken_over(
        self, account: Account, bucket: Bucket, projected: Valuation, leg: Leg, bankruptcy: Fraction | None
    ) -> bool:
        """The mark is past the bankruptcy price, or the market had its chances."""
        settings, mark = self._context.settings, Fraction(leg.mark, ONE)
        if projected.equity < 0:
            return True
        if bankruptcy is not None and (mark <= bankruptcy if leg.position.quantity > 0 else mark >= bankruptcy):
            return True
        since = bucket.distress_since_ms
        waited = since is not None and self._context.now_of(account) - since >= settings.max_unfilled_ms
        return waited or bucket.distress_orders >= settings.max_attempts

    def _conversion(self, bucket: Bucket, projected: Valuation) -> Close | None:
        """Only debt and collateral are left: sell the collateral of the largest value that can be converted."""
        market = self._context.market
        choices = []
        for asset, amount in bucket.balances.items():
            record = market.assets.get(asset)
            if (
                amount <= 0
                or record is None
                or record.conversion_instrument is None
                or projected.nets.get(asset, 0) <= 0
            ):
                continue
            spec, mark = market.specs.get(record.conversion_instrument), market.marks.get(record.conversion_instrument)
            if spec is not None and mark is not None:
                choices.append((-amount * mark, asset, spec, mark))
        if not choices:
            return None
        _, asset, spec, mark = min(choices, key=lambda choice: choice[:2])
        amount = bucket.balances[asset]
        leg = Leg((spec.instrument, "net"), spec, Position(amount, 0), mark, 0, 0, 0, 0, ONE)
        worst = Fraction(mark, ONE) * (1 - Fraction(self._context.settings.distress_range, ONE))
        limit = round_price(worst, spec, up=True)
        return Close(
            leg=leg, quantity=amount, limit=limit, stage="convert", attempt=next_attempt(bucket, spec.instrument)
        )
