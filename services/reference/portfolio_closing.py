"""Which position of a portfolio bucket to close and how much: by trying, since no position has a requirement of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from services.reference.curves import plain
from services.reference.holdings import Holdings, Position, Valuation
from services.reference.ledger import cash_of
from services.reference.order_limits import within_limits
from services.reference.outlook import Outlook
from services.reference.rounding import floor_e18, from_e18, up_to

STEPS: Final = 16
SMALLEST: Final = Fraction(1, 10**18)


@dataclass(frozen=True)
class PortfolioClose:
    """`relief`: how much less maintenance margin the bucket needs after it, in the valuation asset."""

    position: Position
    quantity: Fraction
    relief: Fraction


def choose(view: Outlook, holdings: Holdings, candidates: Iterable[Position]) -> PortfolioClose | None:
    """The position whose whole close frees the most excess, the first of equals; in the fewest sixteenths that are enough.

    None where every whole close would leave less excess than there is.
    """
    best, most = None, excess(view, view.value(holdings))
    for position in candidates:
        after = excess(view, view.value(without(view, holdings, position, abs(position.quantity))))
        if after > most:
            best, most = position, after
    if best is None:
        return None
    held, spec = abs(best.quantity), view.market.spec(best.instrument)
    lot = spec.lot or SMALLEST
    for step in range(1, STEPS):
        quantity = within_limits(spec, held, up_to(held * step / STEPS, lot))
        if excess(view, view.value(without(view, holdings, best, quantity))) >= 0:
            return PortfolioClose(best, quantity, relief(view, holdings, best, quantity))
    most = within_limits(spec, held, held)
    return PortfolioClose(best, most, relief(view, holdings, best, most))


def excess(view: Outlook, valuation: Valuation) -> Fraction:
    """E - (1+b)·MM; a requirement below zero is not enlarged."""
    equity, maintenance = plain(valuation.equity), plain(valuation.maintenance_margin)
    aim = 1 + from_e18(view.world.settings.hysteresis) if maintenance > 0 else Fraction(1)
    return equity - aim * maintenance


def relief(view: Outlook, holdings: Holdings, position: Position, quantity: Fraction) -> Fraction:
    before = plain(view.value(holdings).maintenance_margin)
    after = plain(view.value(without(view, holdings, position, quantity)).maintenance_margin)
    return max(Fraction(0), before - after)


def without(view: Outlook, holdings: Holdings, position: Position, quantity: Fraction) -> Holdings:
    """After closing at the mark, without fee, the cash rounded as the ledger does."""
    spec, left = view.market.spec(position.instrument), position.quantity - position.sign * quantity
    cash = from_e18(floor_e18(cash_of(spec, -position.sign * quantity, plain(view.market.mark(position)))))
    balances = {**holdings.balances, spec.settlement: holdings.balances.get(spec.settlement, Fraction(0)) + cash}
    rest = Position(*position.leg, left, position.open_cost * left / position.quantity)
    positions = tuple(rest if p.leg == position.leg else p for p in holdings.positions if p.leg != position.leg or left)
    return Holdings(balances, positions)
