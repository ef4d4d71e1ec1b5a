"""The marks that matter to a position: where its bucket becomes liquidatable, and where it is bankrupt (margin.md "Prices that matter")."""

from fractions import Fraction

from services.engine import lines
from services.engine.lines import root_in_mark
from services.engine.state import PositionKey
from services.engine.straight import (
    equity_after_close_along,
    equity_after_close_slope,
    excess_along,
    excess_slope,
    moves_straight,
    nearest_straight_root,
)
from services.engine.valuation import Leg, Valuation, value_bucket
from services.engine.worth import Scene


def liquidation_price(key: PositionKey, scene: Scene, valuation: Valuation) -> Fraction | None:
    """The mark of this instrument alone at which equity = MM; `valuation` is the bucket's in the scene."""
    if moves_straight(key, scene, valuation.nets):
        leg = _only_leg(key, valuation)
        if leg is not None:
            slope = excess_slope(leg, valuation, scene.market.multiplier(key[0]))
            root = nearest_straight_root(leg, valuation.excess, slope, tiered=True)
            if root is not None:
                return root
        return root_in_mark(excess_along(key, valuation, scene), key, scene)

    def excess(price: int) -> tuple[int, int]:
        moved = value_bucket(scene.at(key[0], price))
        assert isinstance(moved, Valuation), "a bucket that is valued at its mark is valued at any other"
        excess = moved.excess
        return excess.numerator, excess.denominator * moved.scale

    return root_in_mark(excess, key, scene)


def bankruptcy_price(key: PositionKey, scene: Scene, valuation: Valuation) -> Fraction | None:
    """The mark at which nothing is left after the taker fee of closing this position; `valuation` is the bucket's in the scene."""
    if moves_straight(key, scene, valuation.nets):
        left, leg = equity_after_close_along(key, valuation), _only_leg(key, valuation)
        root = None
        if leg is not None:
            root = nearest_straight_root(leg, left(leg.mark)[0], equity_after_close_slope(leg, valuation), tiered=False)
        return root_in_mark(left, key, scene) if root is None else root
    return lines.bankruptcy_price(key, scene)


def _only_leg(key: PositionKey, valuation: Valuation) -> Leg | None:
    """The position, where no other leg of the instrument moves with it."""
    legs = [leg for leg in valuation.legs if leg.key[0] == key[0]]
    return legs[0] if len(legs) == 1 else None
