"""A bucket's numbers as one mark moves, in closed form, where nothing moves with it but the positions on it.

That is so for linear contracts whose settlement asset counts in full and no asset of the bucket is priced by the mark: by far most
buckets. The numbers are those of `valuation.value_bucket` and `worth.worth_of` at the moved mark, in the same units, digit for digit,
but only the moving positions are computed again.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from services.contracts.decimals import ONE
from services.engine.instruments import FULL_WEIGHT, Spec
from services.engine.roots import Value
from services.engine.state import Position, PositionKey
from services.engine.valuation import Leg, Valuation, tier_requirements
from services.engine.worth import E36, Scene

FAR: Final = 1_000  # a root so many times the mark is left to the general search


def moves_straight(key: PositionKey, scene: Scene, nets: Iterable[str]) -> bool:
    """Whether the mark of this position moves the value of positions on it, and nothing else of the bucket."""
    market = scene.market
    spec = market.specs[key[0]]
    if spec.inverse or spec.option is not None or spec.fee_basis == "bankruptcy" or scene.corner is not None:
        return False
    record = market.assets.get(spec.settlement_asset)
    if record is not None:
        counts_in_full = record.weights == FULL_WEIGHT and record.initial_weights is None
        if not counts_in_full or record.liability_maintenance_rate:
            return False
    return all((held := market.assets.get(asset)) is None or held.price_instrument != key[0] for asset in nets)


def excess_along(key: PositionKey, valuation: Valuation, scene: Scene) -> Value:
    """Equity less maintenance margin at any mark of the instrument; `valuation` is the bucket's at the present one."""
    moving = [leg for leg in valuation.legs if leg.key[0] == key[0]]
    fixed = valuation.excess - sum(_equity(leg, leg.mark, valuation) - leg.maintenance for leg in moving)
    scale, multiplier = valuation.scale, scene.market.multiplier(key[0])

    def excess(mark: int) -> tuple[int, int]:
        total = fixed
        for leg in moving:
            required = _maintenance(leg, mark, valuation.divisor) * multiplier * leg.settle_price
            total += _equity(leg, mark, valuation) - required
        return total.numerator, scale * total.denominator

    return excess


def equity_after_close_along(key: PositionKey, valuation: Valuation) -> Value:
    """Equity less the taker fee of closing the position, at any mark of the instrument."""
    moving = [leg for leg in valuation.legs if leg.key[0] == key[0]]
    fixed = valuation.equity - sum(_equity(leg, leg.mark, valuation) for leg in moving)
    scale = valuation.scale
    closed = next(leg for leg in moving if leg.key == key)

    def left(mark: int) -> tuple[int, int]:
        fee = abs(_value(closed.spec, closed.position, mark, valuation.divisor)) * closed.spec.taker_fee_rate
        equity = fixed + sum(_equity(leg, mark, valuation) for leg in moving)
        return equity - fee * closed.settle_price * ONE, scale

    return left


def nearest_straight_root(leg: Leg, value: Value, *, tiered: bool) -> Fraction | None:
    """The mark, in units, at which `value`, a straight line around the leg's mark, is zero.

    Only where that is for certain the root that is asked for: on the losing side, in the tier that the position is in; or, where no
    tier bends the line (not `tiered`, or there is but one), anywhere: it is the only one. None does not say that there is none:
    `roots.nearest_root` has to look.
    """
    bends = tiered and len(leg.spec.tiers) > 1
    (here, unit), (beside, unit_beside) = value(leg.mark), value(leg.mark + 1)
    slope = beside - here
    if not slope or unit != unit_beside:
        return None
    root = Fraction(leg.mark * slope - here, slope)
    if root == leg.mark or (bends and (root <= leg.mark) != (leg.position.quantity > 0)):
        return None
    low, high = _tier_marks(leg) if bends else (0, leg.mark * FAR)
    return root / ONE if low + 1 < root < high - 1 else None


def _tier_marks(leg: Leg) -> tuple[int, int]:
    """The marks, e18, between which the notional stays in its present tier."""
    size = abs(leg.position.quantity) * leg.spec.contract_size
    low, high = 0, leg.mark * FAR
    for tier in leg.spec.tiers[1:]:
        edge = tier.floor * E36 // size
        if abs(edge - leg.mark) <= 1:
            return leg.mark, leg.mark  # on a boundary: which tier holds on which side is not decided here
        if edge <= leg.mark:
            low = max(low, edge)
        else:
            high = min(high, edge)
    return low, high


def _value(spec: Spec, position: Position, mark: int, divisor: int) -> int:
    return position.quantity * spec.contract_size * mark * divisor


def _equity(leg: Leg, mark: int, valuation: Valuation) -> int:
    """What the position adds to the equity, 1/(E108·D): its value at full weight and the settlement asset's price."""
    return _value(leg.spec, leg.position, mark, valuation.divisor) * E36 * leg.settle_price


def _maintenance(leg: Leg, mark: int, divisor: int) -> int:
    """m·N - c and the close fee before multiplier and price, 1/(E72·D)."""
    notional = abs(_value(leg.spec, leg.position, mark, divisor))
    fee = leg.spec.liquidation_fee_rate * notional if leg.spec.fee_basis == "mark" else 0
    return tier_requirements(leg.spec, leg.position, notional, divisor)[0] + fee
