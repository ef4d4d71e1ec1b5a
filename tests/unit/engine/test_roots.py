"""Roots of a + b·p + c/p between breakpoints, of anything else by bisection: exact where they are rational."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest

from services.contracts.decimals import ONE
from services.engine.roots import nearest_root

Plain = Callable[[Fraction], Fraction]


def root(function: Plain, present: str, *, down: bool = True, edges: tuple[str, ...] = ()) -> Fraction | None:
    """The root of a function of the price in units; denominators differ from point to point, as they do with inverse marks."""

    def value(price: int) -> tuple[int, int]:
        found = function(Fraction(price, ONE))
        return found.numerator, found.denominator

    breakpoints = [int(Fraction(edge) * ONE) for edge in edges]
    return nearest_root(value, breakpoints, int(Fraction(present) * ONE), losing_side_down=down)


@pytest.mark.parametrize(("present", "down", "expected"), [
    ("10", True, 5), ("3", True, 2), ("3", False, 5), ("1", False, 2), ("10", False, 5), ("1", True, 2),
    ("5", True, 5), ("5", False, 5), ("2", True, 2), ("2", False, 2),
])  # fmt: skip
def test_the_nearest_root_on_the_losing_side_first(present: str, down: bool, expected: int) -> None:
    """(p - 2)·(p - 5)/p is of the form; a root at the present price counts on either side."""
    assert root(lambda p: (p - 2) * (p - 5) / p, present, down=down) == expected


@pytest.mark.parametrize("shift", ["0", "3", "0.001", "-0.25"])
def test_a_root_is_found_wherever_the_parabola_lies(shift: str) -> None:
    """(p - 2 - s)·(p - 7)/p, s shifting one root: found from both sides."""
    low = 2 + Fraction(shift)
    function = lambda p: (p - low) * (p - 7) / p  # noqa: E731 - a formula
    assert root(function, "6") == low
    assert root(function, "8") == 7


def test_a_line_and_a_hyperbola_have_their_one_root() -> None:
    """b = 0 and c = 0 of the form; denominators that differ must not make a line a parabola."""
    assert root(lambda p: 3 * p - 7, "5") == Fraction(7, 3)
    assert root(lambda p: 4 - 6 / p, "5") == Fraction(3, 2)
    assert root(lambda p: Fraction(3 * (p * ONE).numerator, 7) - 9 * ONE, "50") == 21


def test_a_parabola_that_only_touches_zero_has_a_root_there_and_one_above_it_has_none() -> None:
    assert root(lambda p: (p - 2) ** 2 / p, "3") == 2
    assert root(lambda p: (p * p + 1) / p, "3") is None
    assert root(lambda _: Fraction(5), "3") is None
    assert root(lambda p: 5 + p, "3") is None


@pytest.mark.parametrize(("square", "exact"), [
    ("4/9", "2/3"), ("2", None), ("4/3", None), ("2/9", None), ("1000000", "1000"), ("1/1000003", None),
])  # fmt: skip
def test_irrational_roots_are_good_to_forty_places_and_rational_ones_exact(square: str, exact: str | None) -> None:
    """p² = s: numerator and denominator must both be squares for the root to be rational."""
    found = root(lambda p: (p * p - Fraction(square)) / p, "2000")
    assert found is not None
    if exact is not None:
        assert found == Fraction(exact)
    else:
        assert 0 < abs(found * found - Fraction(square)) < Fraction(1, 10**35)


def test_a_function_of_no_known_form_is_bisected_to_the_grid() -> None:
    """p³ = 8 at the grid point itself; p³ = 9 within 1e-18."""
    assert root(lambda p: p**3 - 8, "10") == 2
    found = root(lambda p: p**3 - 9, "10")
    assert found is not None
    assert (found - Fraction(1, ONE)) ** 3 < 9 <= found**3
    assert root(lambda p: p**3 + 8, "10") is None


def test_a_kink_ends_a_piece() -> None:
    """Flat below 4, steep above: the root is the upper piece's, or the lower one's where the upper has none."""
    bend = lambda p: p - 4 if p >= 4 else (p - 4) / 2  # noqa: E731 - a formula
    assert root(lambda p: bend(p) + 1, "9", edges=("4",)) == 2
    assert root(lambda p: bend(p) - 1, "9", edges=("4",)) == 5
    assert root(lambda p: bend(p) + 1, "1", edges=("4",), down=False) == 2
    assert root(bend, "9", edges=("4",)) == 4


def test_a_jump_across_zero_is_a_root_at_its_edge_and_one_that_does_not_cross_is_none() -> None:
    """An own deduction makes the requirement jump at a tier's floor."""
    jump = lambda p: p - 3 if p > 4 else p - 8  # noqa: E731 - a formula
    assert root(jump, "9", edges=("4",)) == 4
    assert root(lambda p: jump(p) + 10, "9", edges=("4",)) is None


def test_edges_at_or_below_zero_are_none_and_a_worthless_price_has_roots_above_only() -> None:
    assert root(lambda p: p - 3, "9", edges=("0", "-1")) == 3
    assert root(lambda p: p - 3, "0", edges=("1",)) == 3


@pytest.mark.parametrize(
    ("root_at", "expected"), [("9999999", 9_999_999), ("10000000", 10_000_000), ("10000001", None)]
)
def test_what_lies_a_million_marks_away_is_no_root(root_at: str, expected: int | None) -> None:
    """Legs that hedge each other leave almost parallel lines; where they meet nobody trades. At the bound it still counts."""
    assert root(lambda p: (p - int(root_at)) / 10**12, "10") == expected


def test_where_nothing_is_left_at_the_present_price_it_is_the_root_also_if_all_prices_are_alike() -> None:
    """Hedged legs of an empty bucket: zero at any price, and no line through it has a root."""
    assert root(lambda p: p - p, "9") == 9
    assert root(lambda p: p - 9, "9") == 9
    assert root(lambda p: p - p, "0") is None
