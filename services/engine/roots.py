"""Exact roots of a bucket's number as a function of one price.

Between two breakpoints such a function is a + b·p + c/p (linear value, inverse value in coin, both valued). Three exact values
give a, b and c; their roots are exact, or irrational and then good to 1e-40. What is not of that form is bisected on 1e-18.
"""

from collections.abc import Callable, Iterable
from fractions import Fraction
from math import isqrt
from typing import Final

from services.contracts.decimals import ONE

Value = Callable[[int], Fraction]  # price e18 -> the number
PRECISION: Final = 10**40
WIDEST: Final = (
    10**6
)  # how far beyond the last breakpoint and the present price the last segment is sampled, as a factor


def nearest_root(
    value: Value, breakpoints: Iterable[Fraction], present: int, *, losing_side_down: bool
) -> Fraction | None:
    """The root that the price reaches first: on the losing side while the number is not negative, else on the other.

    `present` and the result's unit: e18 prices; the result is a Fraction of the price itself. None where no root is positive.
    """
    roots = _roots(value, breakpoints, present)
    here = Fraction(present, ONE)
    if here in roots:
        return here
    below = max((root for root in roots if root < here), default=None)
    above = min((root for root in roots if root > here), default=None)
    down_first = losing_side_down == (value(present) >= 0)
    first, second = (below, above) if down_first else (above, below)
    return second if first is None else first


def _roots(value: Value, breakpoints: Iterable[Fraction], present: int) -> list[Fraction]:
    edges = sorted({point for point in breakpoints if point > 0})
    lows = [Fraction(0), *edges]
    last = WIDEST * max(Fraction(present, ONE), lows[-1], Fraction(1, ONE))
    roots: list[Fraction] = []
    before: Fraction | None = None
    for low, high in zip(lows, [*edges, last], strict=True):
        curve = _Curve.through(value, low, high)
        if curve is None:
            continue
        if before is not None and low > 0 and before * curve.at(low) < 0:
            roots.append(low)  # the number jumps over zero at a breakpoint
        roots.extend(root for root in curve.roots() if low < root <= high)
        before = curve.at(high)
    return roots


class _Curve:
    """p·f(p) as the quadratic through three exact points, on one segment; falls back to bisection if f is something else."""

    def __init__(self, value: Value, points: list[int], low: Fraction, high: Fraction) -> None:
        self._value, self._low, self._high = value, low, high
        xs = [Fraction(point, ONE) for point in points]
        ys = [x * value(point) for x, point in zip(xs, points, strict=True)]
        first = (ys[1] - ys[0]) / (xs[1] - xs[0])
        second = ((ys[2] - ys[1]) / (xs[2] - xs[1]) - first) / (xs[2] - xs[0])
        self._b = second
        self._a = first - second * (xs[0] + xs[1])
        self._c = ys[0] - xs[0] * self._a - xs[0] * xs[0] * self._b
        check = (points[0] + 2 * points[1]) // 3
        x = Fraction(check, ONE)
        self._fits = x * value(check) == self._c + x * (self._a + x * self._b)

    @classmethod
    def through(cls, value: Value, low: Fraction, high: Fraction) -> "_Curve | None":
        first, last = int(low * ONE) + 1, -int(-high * ONE) - 1
        if last - first < 3:
            return None  # narrower than the grid of prices
        # Geometric middle: the segments may span many orders of magnitude.
        middle = min(max(isqrt(first * last), first + 1), last - 1)
        return cls(value, [first, middle, last], low, high)

    def at(self, x: Fraction) -> Fraction:
        """x·f(x): the same sign as f for positive x."""
        return self._c + x * (self._a + x * self._b)

    def roots(self) -> list[Fraction]:
        if not self._fits:
            return self._bisected()
        if self._b == 0:
            return [] if self._a == 0 else [-self._c / self._a]
        square = self._a * self._a - 4 * self._b * self._c
        if square < 0:
            return []
        root = _square_root(square)
        return sorted({(-self._a - root) / (2 * self._b), (-self._a + root) / (2 * self._b)})

    def _bisected(self) -> list[Fraction]:
        low, high = int(self._low * ONE) + 1, int(self._high * ONE)
        negative_low = self._value(low) < 0
        if (self._value(high) < 0) == negative_low:
            return []
        while high - low > 1:
            middle = (low + high) // 2
            if (self._value(middle) < 0) == negative_low:
                low = middle
            else:
                high = middle
        return [Fraction(high, ONE)]


def _square_root(square: Fraction) -> Fraction:
    """Exact where it is rational, else to 1/PRECISION, rounded down."""
    numerator, denominator = isqrt(square.numerator), isqrt(square.denominator)
    if numerator * numerator == square.numerator and denominator * denominator == square.denominator:
        return Fraction(numerator, denominator)
    return Fraction(isqrt(square.numerator * PRECISION * PRECISION // square.denominator), PRECISION)
