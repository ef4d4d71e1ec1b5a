"""Which position of a portfolio bucket to close, and how much: by trying, as no leg has a requirement of its own."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from services.contracts.decimals import ONE
from services.engine.closing import within_limits
from services.engine.context import Context
from services.engine.ledger import trade
from services.engine.state import Account, Bucket, Position
from services.engine.valuation import Leg, Valuation
from services.engine.valuer import Valuer, holdings_of
from services.engine.worth import Holdings

STEPS: Final = 16  # the fraction of a position is searched in sixteenths


def portfolio_quantity(
    account: Account, holdings: Holdings, candidates: Iterable[Leg], valuer: Valuer, context: Context
) -> tuple[Leg, int, Fraction] | None:
    """The close that frees the most maintenance excess, cut to what is needed; None if every close would leave less of it.

    With it ΔMM, how much less maintenance margin the bucket needs after it, in the valuation asset.
    """
    best: tuple[Fraction, Leg] | None = None

    def excess_after(leg: Leg, quantity: int) -> Fraction:
        return _excess(account, _closed(holdings, leg, quantity), valuer, context)

    start = _excess(account, holdings, valuer, context)
    for leg in candidates:
        after = excess_after(leg, abs(leg.position.quantity))
        if after > start and (best is None or after > best[0]):
            best = (after, leg)
    if best is None:
        return None
    leg = best[1]
    held = abs(leg.position.quantity)
    lot = leg.spec.lot_size or 1
    for step in range(1, STEPS):
        quantity = within_limits(leg.spec, held, -(-held * step // STEPS // lot) * lot)
        if excess_after(leg, quantity) >= 0:
            return leg, quantity, _relief(account, holdings, (leg, quantity), valuer, context)
    most = within_limits(leg.spec, held, held)
    return leg, most, _relief(account, holdings, (leg, most), valuer, context)


def _relief(account: Account, holdings: Holdings, close: tuple[Leg, int], valuer: Valuer, context: Context) -> Fraction:
    found = [valuer.value(account, held, context.now_of(account)) for held in (holdings, _closed(holdings, *close))]
    before, after = (Fraction(v.maintenance, v.scale) for v in found if isinstance(v, Valuation))
    return max(Fraction(0), before - after)


def _excess(account: Account, holdings: Holdings, valuer: Valuer, context: Context) -> Fraction:
    """E - (1+b)·MM; MM is negative where the scenarios leave more than the equity, and then stays as it is."""
    valuation = valuer.value(account, holdings, context.now_of(account))
    assert isinstance(valuation, Valuation), "less of a bucket that can be valued can be valued"
    aim = ONE + context.settings.hysteresis if valuation.maintenance > 0 else ONE
    return Fraction(valuation.equity * ONE - Fraction(valuation.maintenance) * aim, valuation.scale * ONE)


def _closed(holdings: Holdings, leg: Leg, quantity: int) -> Holdings:
    scratch = Bucket(
        "", balances=dict(holdings.balances),
        positions={key: Position(held.quantity, held.open_cost) for key, held in holdings.positions.items()},
    )  # fmt: skip
    trade(scratch, leg.key, leg.spec, -quantity if leg.position.quantity > 0 else quantity, leg.mark)
    return holdings_of(scratch)
