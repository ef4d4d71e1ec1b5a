"""The model gives the margin that the manager it follows publishes for its own test portfolios."""

import pytest

from services.engine.portfolio import evaluate, scenario_pnl
from tests.unit.portfolio.published import CASES, FIRST_GENERATION, Case

ONE = 10**18
QUANTUM = 1e-8
ROUNDING = 4e-15  # of the largest number in the sum: both sides add in double precision, in different orders


def size(case: Case) -> float:
    collateral = sum(abs(item.value) for item in case.bucket.other_collateral)
    return max(abs(case.maintenance), abs(case.bucket.cash), collateral, *map(abs, case.scenarios.values()), 1.0)


ALL = [*CASES, *FIRST_GENERATION]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_margin_is_the_published_one(case: Case) -> None:
    """Maintenance and initial excess agree to 1e-8 and are above the published value by noise only."""
    result = evaluate(case.preset, case.bucket.cash, case.bucket.underlyings, case.bucket.other_collateral)
    slack = size(case) * ROUNDING
    assert -QUANTUM - slack < result.maintenance_excess / ONE - case.maintenance <= slack
    if case.initial is not None:
        assert -QUANTUM - slack < result.initial_excess / ONE - case.initial <= slack
    assert result.worst_scenario == case.worst_scenario


@pytest.mark.parametrize("case", [case for case in ALL if case.scenarios], ids=lambda case: case.name)
def test_each_scenario_is_the_published_one(case: Case) -> None:
    (underlying,) = case.bucket.underlyings
    pnl = scenario_pnl(case.preset, underlying)
    worst = {name: abs(pnl[name] - value) for name, value in case.scenarios.items()}
    assert max(worst.values()) < QUANTUM, worst
