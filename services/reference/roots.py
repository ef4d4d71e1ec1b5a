"""The prices that matter, as exact roots along one instrument's mark.

From the mark outward: the excess is an exact curve up to the next price at which some comparison of the valuation turns; if
it has no root up to there, the search goes on from there. A position loses on one side, so that side is searched first; the
root nearest to the mark counts. A jump across zero (deductions that make the requirement discontinuous) counts as a root.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

from services.reference.curves import NUDGE, Curve, Number, Viewpoint, plain
from services.reference.holdings import Holdings, Leg, Market, Position, Valuation
from services.reference.rounding import down_to, price_step, up_to
from services.reference.specs import Spec
from services.reference.valuation import asset_price, equity, evaluate, nets, notional

FURTHEST: Final = 10**6  # times the mark: what lies beyond is no price, but what rounding leaves of parallel lines
Excess: TypeAlias = Callable[[Number], Number]


def liquidation_price(
    holdings: Holdings, market: Market, position: Position, bankruptcy: Mapping[Leg, Fraction | None]
) -> Fraction | None:
    """The mark of this instrument alone at which equity = maintenance margin; fees based on bankruptcy prices stand still."""

    def excess(mark: Number) -> Number:
        return evaluate(holdings, market.with_mark(position.instrument, mark), bankruptcy).excess

    return root(excess, market, position)


def bankruptcy_price(holdings: Holdings, market: Market, position: Position) -> Fraction | None:
    """The mark of this instrument alone at which equity = 0 after the taker fee of closing this position."""

    def excess(mark: Number) -> Number:
        return after_closing(holdings, market.with_mark(position.instrument, mark), position)

    return root(excess, market, position)


def after_closing(holdings: Holdings, market: Market, position: Position) -> Number:
    """Equity less the taker fee of closing the position at its mark."""
    spec = market.spec(position.instrument)
    price = asset_price(spec.settlement, market, nets(holdings, market)[spec.settlement])
    return equity(holdings, market) - spec.taker_fee * notional(spec, position.quantity, market.mark(position)) * price


def fee_bases(holdings: Holdings, market: Market) -> dict[Leg, Fraction | None]:
    """The bankruptcy prices on which close fees of this bucket are based."""
    return {
        position.leg: bankruptcy_price(holdings, market, position)
        for position in holdings.positions
        if market.spec(position.instrument).close_fee_basis == "bankruptcy"
    }


def assess(holdings: Holdings, market: Market) -> Valuation:
    """The bucket's numbers, with close fees on bankruptcy prices where the venue has them."""
    return evaluate(holdings, market, fee_bases(holdings, market))


def root(excess: Excess, market: Market, position: Position) -> Fraction | None:
    """The root nearest to the mark where the position loses, else the nearest on the other side."""
    mark = plain(market.price(position.instrument))
    found = (search(excess, mark, side) for side in (-position.sign, position.sign))
    return next((price for price in found if price is not None and price <= FURTHEST * max(mark, Fraction(1))), None)


@dataclass(frozen=True)
class Piece:
    """The excess from `start` in one direction, and where it stops being this curve (None: nowhere)."""

    curve: Curve
    start: Fraction
    end: Fraction | None
    end_is_exact: bool


def search(excess: Excess, start: Fraction, side: int) -> Fraction | None:
    """The first positive price at or beyond `start`, in the direction of `side`, at which the excess is zero or changes sign."""
    sign_before = 0
    at: Fraction | None = start
    while at is not None and at >= 0:
        piece = piece_at(excess, at, side)
        sign = piece.curve.sign()
        if sign == 0 or (sign_before and sign != sign_before):
            return at if at > 0 else None
        found = first_root(piece, side)
        if found is not None:
            return found
        sign_before = sign
        at = piece.end if piece.end is None or piece.end_is_exact else piece.end + side * NUDGE
    return None


def piece_at(excess: Excess, at: Fraction, side: int) -> Piece:
    viewpoint = Viewpoint(at, side)
    value = excess(Curve.price(viewpoint))
    curve = value if isinstance(value, Curve) else Curve({0: value}, viewpoint)
    turns = [turn for compared in viewpoint.compared for turn in compared.roots() if (turn[0] - at) * side > 0]
    if not turns:
        return Piece(curve, at, None, end_is_exact=True)
    end, is_exact = min(turns, key=lambda turn: (turn[0] - at) * side)
    return Piece(curve, at, end, is_exact)


def first_root(piece: Piece, side: int) -> Fraction | None:
    inside = [
        value
        for value, _ in piece.curve.roots()
        if (value - piece.start) * side >= 0 and (piece.end is None or (piece.end - value) * side >= 0)
    ]
    return min(inside, key=lambda value: (value - piece.start) * side, default=None)


def reported(price: Fraction | None, spec: Spec, position: Position) -> Fraction | None:
    """Rounded toward safety on the instrument's price grid: a long's up, a short's down. None where it is not positive."""
    if price is None:
        return None
    step = price_step(spec.tick)
    rounded = up_to(price, step) if position.quantity > 0 else down_to(price, step)
    return rounded if rounded > 0 else None
