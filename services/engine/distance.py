"""How far a bucket is from liquidation, in the price of the one position that brings it there first: for people, not for decisions."""

from typing import Final

from msgspec import Struct

from services.contracts.decimals import ONE, to_text
from services.engine.market import Market
from services.engine.state import Account, Bucket
from services.engine.valuation import Amount, Leg, Valuation
from services.engine.valuer import Valuer, holdings_of
from services.engine.worth import E36

PLACES: Final = 12
MOST: Final = 10 ** (18 + PLACES)  # a liquidation price so far away is told as this far: the wire has 20 digits


class Distance(Struct, frozen=True, kw_only=True):
    """From the mark to the liquidation price, rounded toward it; negative once it is passed. `sigmas` of one √second."""

    instrument: str
    price: str
    percent: str
    sigmas: str | None  # None: the instrument has no volatility


def distance_to_liquidation(
    account: Account, bucket: Bucket, valuation: Valuation, valuer: Valuer, market: Market
) -> Distance | None:
    """That of the first position, nearest first, that has a liquidation price; None where no mark alone liquidates the bucket."""
    for leg in _nearest_first(valuation, market):
        root = valuer.liquidation_price(account, holdings_of(bucket), leg.key, valuation) if leg.mark else None
        if root is None or root <= 0:
            continue
        sigma, below = market.sigma(leg.key[0]), valuation.equity < valuation.maintenance
        away, unit = abs(leg.mark * root.denominator - root.numerator * ONE), root.denominator * ONE
        away = -away if below else away
        return Distance(
            instrument=leg.key[0], price=_down(away, unit), percent=_down(away * 100 * ONE, unit * leg.mark),
            sigmas=_down(away * ONE * ONE, unit * leg.mark * sigma) if sigma else None,
        )  # fmt: skip
    return None


def _nearest_first(valuation: Valuation, market: Market) -> list[Leg]:
    """Of each instrument its largest position, by how much of the excess one sigma of its mark takes away, most first, ties by id.

    All have the same excess to lose, so that is the order of their liquidation prices in sigmas as long as no tier is passed: an
    exact root of every position at every change would cost a storm more than its decisions do.
    """
    if len(valuation.legs) == 1:
        return list(valuation.legs)
    at_risk: dict[str, Amount] = {}
    largest: dict[str, Leg] = {}
    for leg in valuation.legs:
        name, value = leg.key[0], leg.notional * leg.settle_price * E36
        at_risk[name] = at_risk.get(name, 0) + (value if leg.position.quantity > 0 else -value) - leg.maintenance
        if name not in largest or leg.notional > largest[name].notional:
            largest[name] = leg

    def moved(leg: Leg) -> Amount:
        risk = at_risk[leg.key[0]]
        return (risk if risk >= 0 else -risk) * market.sigma(leg.key[0])

    return sorted(largest.values(), key=lambda leg: (-moved(leg), leg.key))


def _down(amount: int, unit: int) -> str:
    """amount/unit to 12 decimals, never farther than it is."""
    return to_text(min(MOST, max(-MOST, amount * 10**PLACES // unit)), PLACES)
