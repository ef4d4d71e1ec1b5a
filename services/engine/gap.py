"""The gap guard: a bucket that is above its maintenance margin, but that one bad reaction time could take below zero.

The expected loss of a position is z·σ·√reaction of its notional, z the configured quantile and σ the instrument's. Losses add up:
nothing is netted between positions. So the guard is a second requirement beside the maintenance margin, for what the tiers do not
know: how far this market moves before an order can be answered.
"""

from fractions import Fraction
from math import isqrt
from typing import Final

from services.contracts.decimals import ONE
from services.engine.market import Market
from services.engine.settings import Settings
from services.engine.state import Account
from services.engine.valuation import Leg, Valuation
from services.engine.worth import E18_FLOAT, E54

SECOND_MS: Final = 1000


class GapGuard:
    """Says which buckets are guarded, and what they are expected to lose."""

    def __init__(self, market: Market, settings: Settings) -> None:
        self._market = market
        self._settings = settings
        self._root = isqrt(settings.gap_reaction_ms * ONE * ONE // SECOND_MS)  # of seconds, e18

    def guards(self, account: Account, valuation: Valuation) -> bool:
        """Never a portfolio bucket: its requirement is an expected loss already. `cross`: not an isolated one on a flat tier."""
        if self._settings.gap_guard == "off" or account.margin_mode == "portfolio":
            return False
        if self._settings.gap_guard == "cross" and account.margin_mode == "isolated":
            return any(len(leg.spec.tiers) > 1 for leg in valuation.legs)
        return bool(valuation.legs)

    def breaches(self, account: Account, valuation: Valuation) -> bool:
        """Whether the expected loss is more than the equity."""
        return self.guards(account, valuation) and valuation.equity * ONE < self.loss(valuation)

    def loss(self, valuation: Valuation) -> int:
        """Σ z·σ·√reaction·notional·price in 1/(E126·D) of the valuation asset."""
        return sum(self._loss_of(leg) for leg in valuation.legs)

    def rate(self, instrument: str) -> float:
        """z·σ·√reaction, for bounds."""
        return self._rate(instrument) / E18_FLOAT**3

    def largest_remainder(self, account: Account, leg: Leg, valuation: Valuation) -> Fraction:
        """The largest share r of the position that may stay: E - (1-r)·C >= (1+b)·(others + r·own loss); 0 where none may.

        C is what closing all of it costs, as in `closing.py`.
        """
        if not self.guards(account, valuation):
            return Fraction(1)
        settings = self._settings
        equity, price = Fraction(valuation.equity, valuation.scale), Fraction(leg.settle_price, ONE)
        rate = Fraction(leg.spec.liquidation_fee_rate + settings.expected_slippage, ONE)
        cost = Fraction(leg.notional, E54 * valuation.divisor) * price * rate
        aim = Fraction(ONE + settings.hysteresis, ONE) / (valuation.scale * ONE)
        own = self._loss_of(leg)
        at_none = equity - cost - aim * (self.loss(valuation) - own)
        slope = cost - aim * own
        if at_none + slope >= 0:
            return Fraction(1)
        return at_none / -slope if slope < 0 <= at_none else Fraction(0)

    def _loss_of(self, leg: Leg) -> int:
        return leg.notional * leg.settle_price * self._rate(leg.spec.instrument)

    def _rate(self, instrument: str) -> int:
        """z·σ·√reaction, e54."""
        return self._settings.gap_z * self._market.sigma(instrument) * self._root
