"""The arithmetic of the multiplier against figures worked out by hand, and its settings' refusals."""

from __future__ import annotations

from math import exp, log

import pytest

from services.contracts.decimals import ONE, parse
from services.engine.backtest import Backtest
from services.engine.volatility import RiskModel, demanded, next_multiplier, updated_variance

MODEL = RiskModel()


def test_a_half_life_halves_the_weight_of_the_past() -> None:
    """No move for one half life: half of the variance is left."""
    assert updated_variance(4 * 10**10, 100 * ONE, 100 * ONE, 600_000, 600_000) == 2 * 10**10


def test_one_return_weighs_at_most_a_half() -> None:
    assert updated_variance(4 * 10**10, ONE, ONE, 10**12, 600_000) == 2 * 10**10


def test_a_return_enters_per_second() -> None:
    """ln(1.01)² / 10 s, with the weight 1 - 2^(-10/100)."""
    found = updated_variance(0, 100 * ONE, 101 * ONE, 10_000, 100_000)
    expected = (1 - exp(-log(2) / 10)) * log(1.01) ** 2 / 10
    assert found / ONE == pytest.approx(expected, rel=1e-9)


def test_up_and_down_count_alike() -> None:
    up, down = (updated_variance(0, a * ONE, b * ONE, 1_000, 60_000) for a, b in ((100, 103), (103, 100)))
    assert up == down > 0


def test_what_is_demanded() -> None:
    """z = 3, σ = 0.0002, T = 100 s: 3·0.0002·10 = 0.6 % of the notional, on a rate of 0.4 %: 1.5 times."""
    model = RiskModel(close_out_ms=100_000)
    variance = parse("0.00000004")
    assert demanded(variance, parse("0.004"), model) == parse("1.5")
    assert demanded(variance, 0, model) == ONE


def test_the_buffer_is_used_before_the_multiplier_rises() -> None:
    """Held 1.5 of which a fifth is buffer: a demand of 1.5 changes nothing, 1.51 does, up to the grid."""
    assert next_multiplier(parse("1.5"), parse("1.5"), parse("1.2"), MODEL) == parse("1.5")
    assert next_multiplier(parse("1.5"), parse("1.51"), parse("1.5"), MODEL) == parse("1.55")


def test_a_used_buffer_is_filled_slowly_once_volatility_stops_rising() -> None:
    assert next_multiplier(parse("1.5"), parse("1.5"), parse("1.5"), MODEL) == parse("1.55")
    assert next_multiplier(parse("1.5"), parse("1.5"), parse("1.4"), MODEL) == parse("1.5")


def test_a_step_up_is_limited_and_a_step_down_is_smaller() -> None:
    assert next_multiplier(ONE, parse("3"), ONE, MODEL) == parse("1.25")
    assert next_multiplier(parse("3"), ONE, parse("3"), MODEL) == parse("2.95")


def test_a_little_less_demand_changes_nothing() -> None:
    """A full margin of 1.16/0.8 = 1.45 is within the hysteresis of 1.5, 1.12/0.8 = 1.4 is not."""
    assert next_multiplier(parse("1.5"), parse("1.16"), parse("1.16"), MODEL) == parse("1.5")
    assert next_multiplier(parse("1.5"), parse("1.12"), parse("1.12"), MODEL) == parse("1.45")


@pytest.mark.parametrize(
    "wrong",
    [
        {"cap": ONE // 2}, {"buffer": ONE}, {"quantum": 0}, {"hysteresis": 1}, {"max_up": 1}, {"half_life_ms": 0},
        {"notice_ms": -1},
    ],
)  # fmt: skip
def test_a_model_that_contradicts_itself_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        RiskModel(**wrong)


def test_the_backtest_counts_windows_whose_move_exceeded_the_margin() -> None:
    """Windows of a second and a margin of 1 %: the second sees 102 and ends at 100, and what ends a window is in the next."""
    test = Backtest(1_000)
    for ts_ms, mark in ((0, "100"), (500, "100.9"), (1_001, "100"), (1_500, "102"), (2_000, "100")):
        test.see(parse(mark), ts_ms, ONE // 100)
    assert test.line() == {"observations": 1, "breaches": 0, "breach_rate": "0"}
    test.see(parse("50"), 3_200, ONE // 100)
    assert test.line() == {"observations": 2, "breaches": 1, "breach_rate": "0.5"}


def test_a_move_of_exactly_the_margin_is_no_breach() -> None:
    test = Backtest(1_000)
    for ts_ms, mark in ((0, "100"), (1_000, "99"), (1_001, "99")):
        test.see(parse(mark), ts_ms, ONE // 100)
    assert (test.observations, test.breaches) == (1, 0)


def test_no_observation_has_no_rate() -> None:
    assert Backtest(1_000).line()["breach_rate"] is None
