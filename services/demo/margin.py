"""The venue's own requirement of a linear position: what it asks for at the opening, and judges the monitor by."""

from services.contracts.decimals import ONE, ceil_div, parse
from services.contracts.messages import Instrument


class Tiers:
    """The margin tiers of one linear instrument. All amounts are e18, in the settlement asset."""

    def __init__(self, instrument: Instrument) -> None:
        self._steps: list[
            tuple[int, int, int, int, int]
        ] = []  # floor, maintenance rate, deduction, initial rate, deduction
        maintenance = maintenance_deduction = initial = initial_deduction = 0
        for tier in instrument.margin_tiers:
            floor, rate = parse(tier.notional_floor), parse(tier.maintenance_margin_rate)
            initial_rate = rate if tier.initial_margin_rate is None else parse(tier.initial_margin_rate)
            if self._steps:
                maintenance_deduction += floor * (rate - maintenance)
                initial_deduction += floor * (initial_rate - initial)
            maintenance, initial = rate, initial_rate
            self._steps.append((floor, rate, maintenance_deduction, initial_rate, initial_deduction))

    def maintenance_margin(self, notional: int) -> int:
        """Rounded up: against the account."""
        rate, deduction = next(step[1:3] for step in reversed(self._steps) if step[0] <= notional)
        return ceil_div(notional * rate - deduction, ONE)

    def initial_margin(self, notional: int) -> int:
        """Rounded up: against the account."""
        rate, deduction = next(step[3:5] for step in reversed(self._steps) if step[0] <= notional)
        return ceil_div(notional * rate - deduction, ONE)
