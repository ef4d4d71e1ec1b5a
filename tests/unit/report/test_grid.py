"""Series of bounded size: whatever time does, extremes stay, totals stay, and the number of bins is limited."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.report.grid import CAPACITY, Extremes, Grid, Sums, short

STEPS = st.lists(st.tuples(st.integers(0, 10_000_000), st.floats(-1e6, 1e6, allow_nan=False)), min_size=1, max_size=200)


@given(STEPS)
def test_extremes_and_totals_survive_every_widening(steps: list[tuple[int, float]]) -> None:
    grid = Grid()
    extremes, sums = Extremes(grid), Sums(grid)
    time_ms = 5
    for step_ms, value in steps:
        time_ms += step_ms
        place = grid.at(time_ms)
        extremes.add(place, value)
        sums.add(place, value)
    drawn = extremes.payload()
    values = [value for _, value in steps]
    assert min(drawn["low"]) == short(min(values))
    assert max(drawn["high"]) == short(max(values))
    assert drawn["last"][-1] == short(values[-1])
    assert drawn["bin"] == sorted(set(drawn["bin"]))
    assert len(drawn["bin"]) <= CAPACITY
    assert sums.total == pytest.approx(sum(values))
    assert grid.payload()["bins"] <= CAPACITY


@given(st.integers(9, 40))
def test_a_value_is_found_at_its_time(power: int) -> None:
    """The bin of a value covers its moment, however wide bins became afterwards."""
    grid = Grid()
    extremes = Extremes(grid)
    extremes.add(grid.at(1_000), 1.0)
    extremes.add(grid.at(1_000 + 300), 7.0)
    extremes.add(grid.at(1_000 + 2**power), 2.0)
    drawn = extremes.payload()
    at = drawn["bin"][drawn["high"].index(7.0)]
    assert at * grid.width_ms <= 300 < (at + 1) * grid.width_ms


def test_half_of_the_bins_are_in_use_after_a_long_time() -> None:
    grid = Grid()
    for second in range(0, 100_000, 7):
        grid.at(second * 1000)
    assert CAPACITY / 2 <= grid.payload()["bins"] <= CAPACITY


def test_what_precedes_the_first_moment_falls_into_the_first_bin() -> None:
    grid = Grid()
    assert grid.at(10_000) == 0
    assert grid.at(1) == 0


def test_a_late_value_counts_into_the_newest_bin() -> None:
    grid = Grid()
    extremes = Extremes(grid)
    extremes.add(5, 1.0)
    extremes.add(3, 9.0)
    assert extremes.payload() == {"bin": [5], "low": [1.0], "high": [9.0], "last": [9.0]}
