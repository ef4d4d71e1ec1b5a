"""The marks that matter to a position: where its bucket becomes liquidatable, and where it is bankrupt (margin.md "Prices that matter")."""

from fractions import Fraction

from services.engine import lines
from services.engine.lines import root_in_mark
from services.engine.roots import Value
from services.engine.state import PositionKey
from services.engine.straight import equity_after_close_along, excess_along, moves_straight, nearest_straight_root
from services.engine.valuation import Valuation, value_bucket
from services.engine.worth import Scene


def liquidation_price(key: PositionKey, scene: Scene, valuation: Valuation) -> Fraction | None:
    """The mark of this instrument alone at which equity = MM; `valuation` is the bucket's in the scene."""
    if moves_straight(key, scene, valuation.nets):
        return _straight_root(excess_along(key, valuation, scene), key, scene, valuation, tiered=True)

    def excess(price: int) -> tuple[int, int]:
        moved = value_bucket(scene.at(key[0], price))
        assert isinstance(moved, Valuation), "a bucket that is valued at its mark is valued at any other"
        excess = moved.excess
        return excess.numerator, excess.denominator * moved.scale

    return root_in_mark(excess, key, scene)


def bankruptcy_price(key: PositionKey, scene: Scene, valuation: Valuation) -> Fraction | None:
    """The mark at which nothing is left after the taker fee of closing this position; `valuation` is the bucket's in the scene."""
    if moves_straight(key, scene, valuation.nets):
        return _straight_root(equity_after_close_along(key, valuation), key, scene, valuation, tiered=False)
    return lines.bankruptcy_price(key, scene)


def _straight_root(
    value: Value, key: PositionKey, scene: Scene, valuation: Valuation, *, tiered: bool
) -> Fraction | None:
    """That of the line through the present mark, where no other leg of the instrument moves too and it is for certain the nearest."""
    legs = [leg for leg in valuation.legs if leg.key[0] == key[0]]
    root = nearest_straight_root(legs[0], value, tiered=tiered) if len(legs) == 1 else None
    return root_in_mark(value, key, scene) if root is None else root
