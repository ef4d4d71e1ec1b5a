"""The reference's scenario model gives each scenario and the margin that the manager it follows publishes."""

from __future__ import annotations

import pytest

from services.engine import portfolio as engine
from services.reference.portfolio import against_the_account
from services.reference.scenarios import (
    Collateral,
    Expiry,
    Option,
    Underlying,
    basis_pnl,
    contingencies,
    market_value,
    scenario_pnl,
    worst,
)  # fmt: skip
from services.replay.specification import specified
from tests.unit.portfolio.published import CASES, FIRST_GENERATION, Case

ALL = [*CASES, *FIRST_GENERATION]
QUANTUM = 1e-8
ROUNDING = 4e-15  # of the largest number in the sum


def stated(underlying: engine.Underlying) -> Underlying:
    return Underlying(
        underlying.name, underlying.spot, tuple((part.amount, part.mark) for part in underlying.perpetuals),
        tuple(expiry_of(item) for item in underlying.expiries), tuple(collateral_of(part) for part in underlying.collaterals),
    )  # fmt: skip


def expiry_of(item: engine.Expiry) -> Expiry:
    options = tuple(Option(leg.is_call, leg.strike, leg.amount, leg.volatility, leg.mark) for leg in item.legs)
    return Expiry(max(0.0, item.seconds_to_expiry), item.forward, max(0.0, item.rate), options)


def collateral_of(part: engine.HedgingCollateral) -> Collateral:
    return Collateral(part.value, part.weight, part.initial_weight)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_maintenance_is_the_published_one(case: Case) -> None:
    preset, underlyings = specified(case.preset), [stated(item) for item in case.bucket.underlyings]
    collaterals = [part for item in underlyings for part in item.collaterals]
    collaterals += [collateral_of(part) for part in case.bucket.other_collateral]
    excess = case.bucket.cash + sum(part.value - max(part.value, 0) * (1 - part.weight) for part in collaterals)
    for item in underlyings:
        excess += market_value(item) + worst(item, preset)[0] * preset.mm_factor - contingencies(item, preset)[0]
    slack = max(
        abs(case.maintenance),
        abs(case.bucket.cash),
        sum(abs(part.value) for part in collaterals),
        *map(abs, case.scenarios.values()),
        1.0,
    )
    assert -QUANTUM - slack * ROUNDING < float(against_the_account(excess)) - case.maintenance <= slack * ROUNDING


@pytest.mark.parametrize("case", [case for case in ALL if case.scenarios], ids=lambda case: case.name)
def test_each_scenario_is_the_published_one(case: Case) -> None:
    preset, (item,) = specified(case.preset), case.bucket.underlyings
    pnl = {scenario.id: scenario_pnl(stated(item), scenario, preset) for scenario in preset.scenarios}
    pnl["basis"] = basis_pnl(stated(item), preset)
    assert max(abs(pnl[name] - value) for name, value in case.scenarios.items()) < QUANTUM
    assert worst(stated(item), preset)[1] == case.worst_scenario


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [(100 - 0.3 - 99.7, 0), (-1e-11, 0), (-2e-9, -1), (1.9e-8, 1), (1234.5, 123450000000)],
)
def test_rounding_is_against_the_account_but_for_noise(amount: float, rounded: int) -> None:
    assert against_the_account(amount) * 10**8 == rounded
