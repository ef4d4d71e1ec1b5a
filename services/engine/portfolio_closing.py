"""Which position of a portfolio bucket to close, and how much: by trying, as no leg has a requirement of its own."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final

from msgspec import Struct

from services.contracts.decimals import ONE, parse
from services.engine.closing import within_limits
from services.engine.context import Context
from services.engine.ledger import trade
from services.engine.state import Account, Bucket, Position
from services.engine.valuation import Leg, Valuation
from services.engine.valuer import Valuer, holdings_of
from services.engine.worth import Holdings

STEPS: Final = 16  # the fraction of a position is searched in sixteenths
MILLION: Final = (
    10**6
)  # a delta must shrink by more than a millionth: deltas are doubles, and two implementations compute them


class _Outcome(Struct, frozen=True):
    """What a close leaves: E - (1+b)·MM and MM in the valuation asset, |net delta| (e18) of the position's underlying."""

    excess: Fraction
    maintenance: Fraction
    delta: int

    def is_better_than(self, other: "_Outcome") -> bool:
        """More excess, and no more margin needed."""
        return self.excess > other.excess and self.maintenance <= other.maintenance

    def reduces_delta_of(self, other: "_Outcome") -> bool:
        return self.delta * MILLION < other.delta * (MILLION - 1)


class _Trial:
    """Values the projected bucket after closes of its positions at their marks."""

    def __init__(
        self, account: Account, projection: tuple[Holdings, Valuation], valuer: Valuer, context: Context
    ) -> None:
        self._account, self._valuer, self._context = account, valuer, context
        self._holdings, self._projected = projection

    def before(self, leg: Leg) -> _Outcome:
        """As it is, with the delta of this leg's underlying."""
        return self._outcome(self._projected, leg)

    def after(self, leg: Leg, quantity: int) -> _Outcome:
        """When this much of the leg is closed."""
        holdings, now_ms = _closed(self._holdings, leg, quantity), self._context.now_of(self._account)
        valuation = self._valuer.value(self._account, holdings, now_ms)
        assert isinstance(valuation, Valuation), "less of a bucket that can be valued can be valued"
        return self._outcome(valuation, leg)

    def _outcome(self, valuation: Valuation, leg: Leg) -> _Outcome:
        """MM is negative where the scenarios leave more than the equity, and then is not enlarged."""
        aim = ONE + self._context.settings.hysteresis if valuation.maintenance > 0 else ONE
        delta = (valuation.greeks or {}).get(leg.spec.underlying, {}).get("delta", "0")
        return _Outcome(
            Fraction(valuation.equity * ONE - Fraction(valuation.maintenance) * aim, valuation.scale * ONE),
            Fraction(valuation.maintenance) / valuation.scale, abs(parse(delta)),
        )  # fmt: skip


def portfolio_quantity(
    account: Account,
    projection: tuple[Holdings, Valuation],
    candidates: Sequence[Leg],
    valuer: Valuer,
    context: Context,
) -> tuple[Leg, int, Fraction] | None:
    """The position to close, cut to what is needed, and ΔMM, how much less margin the bucket needs after it, in the valuation asset.

    README "Decisions", 5. None where no close leaves more excess and needs no more margin, and equity is left.
    """
    trial = _Trial(account, projection, valuer, context)
    for leg in _ranked(trial, candidates):
        before, quantity = trial.before(leg), _enough(trial, leg)
        after = trial.after(leg, quantity)
        if after.is_better_than(before):
            return leg, quantity, before.maintenance - after.maintenance
    if projection[1].equity <= 0 and candidates:
        return candidates[0], abs(candidates[0].position.quantity), Fraction(0)
    return None


def _ranked(trial: _Trial, candidates: Sequence[Leg]) -> Iterator[Leg]:
    """Those whose whole close helps: what reduces the delta first, then by the excess that is left, the first of equals first."""
    ranked: list[tuple[bool, Fraction, int, Leg]] = []
    for place, leg in enumerate(candidates):
        before, after = trial.before(leg), trial.after(leg, abs(leg.position.quantity))
        if after.is_better_than(before):
            ranked.append((not after.reduces_delta_of(before), -after.excess, place, leg))
    return (entry[3] for entry in sorted(ranked, key=lambda entry: entry[:3]))


def _enough(trial: _Trial, leg: Leg) -> int:
    """The smallest sixteenths of the position that leave an excess, else all of it; within the order limits."""
    held, lot = abs(leg.position.quantity), leg.spec.lot_size or 1
    for step in range(1, STEPS):
        quantity = within_limits(leg.spec, held, -(-held * step // STEPS // lot) * lot)
        if trial.after(leg, quantity).excess >= 0:
            return quantity
    return within_limits(leg.spec, held, held)


def _closed(holdings: Holdings, leg: Leg, quantity: int) -> Holdings:
    scratch = Bucket(
        "", balances=dict(holdings.balances),
        positions={key: Position(held.quantity, held.open_cost) for key, held in holdings.positions.items()},
    )  # fmt: skip
    trade(scratch, leg.key, leg.spec, -quantity if leg.position.quantity > 0 else quantity, leg.mark)
    return holdings_of(scratch)
