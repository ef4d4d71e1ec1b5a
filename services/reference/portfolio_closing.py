"""Which position of a portfolio bucket to close and how much: by trying, since no position has a requirement of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from services.reference.curves import plain
from services.reference.holdings import Holdings, Position, Valuation
from services.reference.ledger import cash_of
from services.reference.order_limits import within_limits
from services.reference.outlook import Outlook
from services.reference.rounding import exact, floor_e18, from_e18, up_to

STEPS: Final = 16
SMALLEST: Final = Fraction(1, 10**18)


@dataclass(frozen=True)
class PortfolioClose:
    """`relief`: how much less maintenance margin the bucket needs after it, in the valuation asset."""

    position: Position
    quantity: Fraction
    relief: Fraction


def choose(view: Outlook, holdings: Holdings, candidates: Sequence[Position]) -> PortfolioClose | None:
    """The first close that helps: positions that reduce the delta before others, then by the excess that their whole close leaves.

    None where no close helps and equity is left; without equity the first position goes to the pool whole, as it does not matter.
    """
    helping = [position for position in candidates if helps(view, holdings, position, abs(position.quantity))]
    whole = {p.leg: without(view, holdings, p, abs(p.quantity)) for p in helping}
    helping.sort(
        key=lambda p: excess(view, view.value(whole[p.leg])), reverse=True
    )  # stable: of equals the first stays first
    reducing = [p for p in helping if reduces_delta(view, holdings, p)]
    for position in [*reducing, *(p for p in helping if p not in reducing)]:
        quantity = enough(view, holdings, position)
        if helps(view, holdings, position, quantity):
            return PortfolioClose(position, quantity, relief(view, holdings, position, quantity))
    if candidates and plain(view.value(holdings).equity) <= 0:
        return PortfolioClose(candidates[0], abs(candidates[0].quantity), Fraction(0))
    return None


def enough(view: Outlook, holdings: Holdings, position: Position) -> Fraction:
    """In the fewest sixteenths that leave an excess, else the whole; as the venue's limits allow."""
    held, spec = abs(position.quantity), view.market.spec(position.instrument)
    for step in range(1, STEPS):
        quantity = within_limits(spec, held, up_to(held * step / STEPS, spec.lot or SMALLEST))
        if excess(view, view.value(without(view, holdings, position, quantity))) >= 0:
            return quantity
    return within_limits(spec, held, held)


def helps(view: Outlook, holdings: Holdings, position: Position, quantity: Fraction) -> bool:
    """More excess is left, and no more maintenance margin is needed."""
    before, after = view.value(holdings), view.value(without(view, holdings, position, quantity))
    is_dearer = plain(after.maintenance_margin) > plain(before.maintenance_margin)
    return not is_dearer and excess(view, after) > excess(view, before)


def reduces_delta(view: Outlook, holdings: Holdings, position: Position) -> bool:
    """Whether closing all of it leaves a smaller |net delta| of its underlying, by more than a millionth: deltas are doubles."""
    underlying = view.market.spec(position.instrument).underlying
    rest = without(view, holdings, position, abs(position.quantity))
    before, after = (net_delta(view.value(each), underlying) for each in (holdings, rest))
    return abs(after) < abs(before) * (1 - Fraction(1, 10**6))


def net_delta(valuation: Valuation, underlying: str) -> Fraction:
    """0 of an underlying that nothing is left of."""
    greeks = (valuation.greeks or {}).get(underlying)
    return exact(greeks["delta"]) if greeks is not None else Fraction(0)


def excess(view: Outlook, valuation: Valuation) -> Fraction:
    """E - (1+b)·MM; a requirement below zero is not enlarged."""
    equity, maintenance = plain(valuation.equity), plain(valuation.maintenance_margin)
    aim = 1 + from_e18(view.world.settings.hysteresis) if maintenance > 0 else Fraction(1)
    return equity - aim * maintenance


def relief(view: Outlook, holdings: Holdings, position: Position, quantity: Fraction) -> Fraction:
    before = plain(view.value(holdings).maintenance_margin)
    after = plain(view.value(without(view, holdings, position, quantity)).maintenance_margin)
    return before - after


def without(view: Outlook, holdings: Holdings, position: Position, quantity: Fraction) -> Holdings:
    """After closing at the mark, without fee, the cash rounded as the ledger does."""
    spec, left = view.market.spec(position.instrument), position.quantity - position.sign * quantity
    cash = from_e18(floor_e18(cash_of(spec, -position.sign * quantity, plain(view.market.mark(position)))))
    balances = {**holdings.balances, spec.settlement: holdings.balances.get(spec.settlement, Fraction(0)) + cash}
    rest = Position(*position.leg, left, position.open_cost * left / position.quantity)
    positions = tuple(rest if p.leg == position.leg else p for p in holdings.positions if p.leg != position.leg or left)
    return Holdings(balances, positions)
