"""Quantiles in bounded memory are right to within a tenth; count and extremes are exact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.report.quantiles import GROWTH, Quantiles


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_within_a_tenth(values: list[int], share: float) -> None:
    quantiles = Quantiles()
    for value in values:
        quantiles.add(value)
    exact = sorted(values)[max(0, -(-round(len(values) * share * 1000) // 1000) - 1)]
    assert exact * 0.999 <= quantiles.at(share) <= max(1.0, exact * GROWTH * 1.001)
    assert (quantiles.count, quantiles.lowest, quantiles.highest) == (len(values), min(values), max(values))


def test_clocks_may_disagree() -> None:
    quantiles = Quantiles()
    for value in (-40, 0, 3):
        quantiles.add(value)
    assert quantiles.at(0.5) == 0
    assert quantiles.lowest == -40


def test_of_nothing_nothing_is_said() -> None:
    assert Quantiles().payload() is None
