"""Float bounds of a bucket's numbers over a box of prices. They screen, they never decide.

Every bound is the interval evaluation of the exact formula: endpoint minima and maxima of each position's value, of the
weight function (which is monotone) and of each requirement. `magnitude` is the sum of the absolute values of all terms: float
rounding moves a bound by at most a few ulp of it, and `ERROR` times it is kept clear of every threshold.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from services.engine.instruments import FULL_WEIGHT, Asset, Spec
from services.engine.market import Market
from services.engine.state import Account, Bucket
from services.engine.worth import E18_FLOAT, E36, divides

ERROR: Final = 1e-9  # relative to the magnitude; float64 sums of a few hundred terms stay below 1e-13 of it
E54_FLOAT: Final = 1e54
HALVINGS: Final = 6
WIDEST_SHARE: Final = 0.5  # of a price: no box reaches further, so that endpoints stay positive
NARROWEST_SHARE: Final = 1e-7  # a smaller box would be redrawn at every tick: the bucket is hot instead
EDGE: Final = 1e-12  # triggers are pulled inward by more than the rounding of a mark to float
SKEW: Final = 2.0  # how many times wider one side of a box may be than the other: width moves the requirements too
CLOSEST: Final = 0.995  # of the way to a threshold is proposed: the bounds lose a little to tiers and rounding
Interval = tuple[float, float]


class Bounds(Struct, frozen=True):
    """Lower and upper bounds of equity, maintenance and initial margin, and the slack that rounding may eat."""

    equity: Interval
    maintenance: Interval
    initial: Interval
    error: float


class Line(Struct, frozen=True):
    """One position as floats: `size` signed contracts times contract size."""

    price_id: str
    size: float
    inverse: bool
    asset: str
    spec: Spec
    multiplier: float
    entry_notional: float


class Sheet:
    """A bucket as floats, to be bounded over boxes again and again."""

    def __init__(self, account: Account, bucket: Bucket, market: Market) -> None:
        self._market = market
        self._valuation_asset = account.valuation_asset
        self._balances = {asset: amount / E18_FLOAT for asset, amount in bucket.balances.items()}
        self.lines = [self._line(key[0], held.quantity, held.open_cost) for key, held in bucket.positions.items()]

    def _line(self, instrument: str, quantity: int, open_cost: int) -> Line:
        spec = self._market.specs[instrument]
        return Line(
            instrument, quantity * spec.contract_size / E36, divides(spec), spec.settlement_asset, spec,
            self._market.multiplier(instrument) / E18_FLOAT, open_cost / E54_FLOAT,
        )  # fmt: skip

    def over(self, box: Mapping[str, Interval]) -> Bounds:
        """Bounds while every price of `box` stays inside its interval."""
        low, high, magnitude = dict(self._balances), dict(self._balances), 0.0
        for line in self.lines:
            first, last = _value(line, box[line.price_id])
            low[line.asset] = low.get(line.asset, 0.0) + first
            high[line.asset] = high.get(line.asset, 0.0) + last
        equity_low = equity_high = liability_low = liability_high = cut_low = cut_high = 0.0
        prices: dict[str, Interval] = {}
        for asset, lowest in low.items():
            record, price = self._market.assets.get(asset), self._price(asset, box)
            prices[asset] = price
            net = (lowest, high[asset])
            weights = FULL_WEIGHT if record is None else record.weights
            worst, best = _weighted(net[0], weights), _weighted(net[1], weights)
            least, most = _priced((worst, best), price)
            equity_low, equity_high = equity_low + least, equity_high + most
            magnitude += (
                max(abs(worst), abs(best), abs(net[0]), abs(net[1]), abs(self._balances.get(asset, 0.0))) * price[1]
            )
            if record is not None:
                owed = _owed(net, record, price)
                liability_low, liability_high = liability_low + owed[0], liability_high + owed[1]
                cut = _initial_cut(net, record, price)
                cut_low, cut_high = cut_low + cut[0], cut_high + cut[1]
        maintenance = [liability_low, liability_high]
        initial = [liability_low + max(0.0, cut_low), liability_high + max(0.0, cut_high)]
        for line in self.lines:
            required, needed, size = _requirements(line, box[line.price_id])
            price = prices[line.asset]
            for total, part in ((maintenance, required), (initial, needed)):
                least, most = _priced(part, price)
                total[0], total[1] = total[0] + least, total[1] + most
            magnitude += size * price[1]
        return Bounds(
            (equity_low, equity_high), (maintenance[0], maintenance[1]), (initial[0], initial[1]), ERROR * magnitude
        )

    def gross(self, box: Mapping[str, Interval], rates: Mapping[str, float]) -> float:
        """An upper bound of Σ rate·notional·price while every price of `box` stays inside its interval."""
        total = 0.0
        for line in self.lines:
            low, high = box[line.price_id]
            notional = abs(line.size) / low if line.inverse else abs(line.size) * high
            total += rates[line.price_id] * notional * self._price(line.asset, box)[1]
        return total * (1 + ERROR)

    def _price(self, asset: str, box: Mapping[str, Interval]) -> Interval:
        record = self._market.assets.get(asset)
        if asset == self._valuation_asset:
            return 1.0, 1.0
        if record is None:
            return 0.0, 0.0
        if record.price_instrument is None:
            return 1.0, 1.0
        low, high = box[record.price_instrument]
        if record.price_floor is not None:
            floor = record.price_floor / E18_FLOAT
            low, high = max(low, floor), max(high, floor)
        return low, high


def _value(line: Line, price: Interval) -> Interval:
    first, last = (line.size * p if not line.inverse else -line.size / p for p in price)
    return (first, last) if first <= last else (last, first)


def _priced(amount: Interval, price: Interval) -> Interval:
    """An amount of either sign at a price that is not negative."""
    return amount[0] * price[amount[0] < 0], amount[1] * price[amount[1] >= 0]


def _weighted(net: float, tiers: tuple[tuple[int, int], ...]) -> float:
    if net <= 0:
        return net
    if len(tiers) == 1:
        return net * (tiers[0][1] / E18_FLOAT)
    total = 0.0
    for (floor, weight), following in zip(tiers, (*tiers[1:], None), strict=True):
        low = floor / E18_FLOAT
        if net <= low:
            break
        high = net if following is None else min(net, following[0] / E18_FLOAT)
        total += (high - low) * (weight / E18_FLOAT)
    return total


def _owed(net: Interval, record: Asset, price: Interval) -> Interval:
    rate = record.liability_maintenance_rate / E18_FLOAT
    return max(0.0, -net[1]) * rate * price[0], max(0.0, -net[0]) * rate * price[1]


def _initial_cut(net: Interval, record: Asset, price: Interval) -> Interval:
    """What the initial weights count less; negative where they count more: that makes up for other assets."""
    if record.initial_weights is None:
        return 0.0, 0.0
    low = _weighted(net[0], record.weights) - _weighted(net[1], record.initial_weights)
    high = _weighted(net[1], record.weights) - _weighted(net[0], record.initial_weights)
    return _priced((low, high), price)


def _requirements(line: Line, price: Interval) -> tuple[Interval, Interval, float]:
    """Bounds of maintenance and initial margin in the settlement asset, and the magnitude of their terms."""
    size = abs(line.size)
    low, high = (size * price[0], size * price[1]) if not line.inverse else (size / price[1], size / price[0])
    fee = line.spec.liquidation_fee_rate / E18_FLOAT if line.spec.fee_basis == "mark" else 0.0
    initial = _tiered(line.spec, low, high, initial=True)
    if line.spec.entry_basis:
        low_basis = high_basis = line.entry_notional
    else:
        low_basis, high_basis = low, high
    maintenance = _tiered(line.spec, low_basis, high_basis, initial=False)
    factor = line.multiplier
    return (
        ((maintenance[0] + fee * low) * factor, (maintenance[1] + fee * high) * factor),
        ((initial[0] + fee * low) * factor, (initial[1] + fee * high) * factor),
        max(high, high_basis) * (1.0 + factor),
    )


def _tiered(spec: Spec, low: float, high: float, *, initial: bool) -> Interval:
    """m_i·N - c_i over [low, high]: the ends of every tier that the range reaches, so that given deductions may jump."""
    least, most = float("inf"), float("-inf")
    tiers = spec.tiers
    for number, tier in enumerate(tiers):
        floor = tier.floor / E18_FLOAT
        ceiling = tiers[number + 1].floor / E18_FLOAT if number + 1 < len(tiers) else float("inf")
        # Widened by the float error of the floors, so that a notional on a floor is bounded under both tiers.
        first, last = max(low, floor * (1 - ERROR)), min(high, ceiling * (1 + ERROR))
        if first > last:
            continue
        rate, deduction = (
            (tier.initial_rate, tier.initial_deduction)
            if initial
            else (tier.maintenance_rate, tier.maintenance_deduction)
        )
        slope, constant = rate / E18_FLOAT, deduction / E36
        least, most = min(least, slope * first - constant), max(most, slope * last - constant)
    return least, most
