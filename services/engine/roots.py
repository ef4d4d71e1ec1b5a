"""Exact roots of a bucket's number as a function of one price.

Between two breakpoints such a function is a + b·p + c/p (linear value, inverse value in coin, both valued). Exact values at three
points give p times it as a quadratic; its roots are exact, or irrational and then good to 1e-40. What is not of that form (it is
checked at a fourth point) is bisected on the grid of prices.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from math import isqrt
from typing import Final

from services.contracts.decimals import ONE

Value = Callable[[int], tuple[int, int]]  # price e18 -> the number as numerator and positive denominator
PRECISION: Final = 10**40
WIDEST: Final = (
    10**6
)  # how far beyond the last breakpoint and the present price the last segment is sampled, as a factor


def nearest_root(
    value: Value, breakpoints: Iterable[Fraction], present: int, *, losing_side_down: bool
) -> Fraction | None:
    """The root nearest to `present` (e18) on the losing side, else the nearest on the other; None where none is positive.

    A jump across zero at a breakpoint counts as a root. The result is a price in units, not e18.
    """
    here = Fraction(present, ONE)
    edges = sorted({point for point in breakpoints if point > 0})
    last = WIDEST * max(here, edges[-1] if edges else here, Fraction(1, ONE))
    bounds = [Fraction(0), *edges, last]
    search = _Search(value, bounds, here)
    first, second = (search.below, search.above) if losing_side_down else (search.above, search.below)
    found = first()
    return second() if found is None else found


class _Search:
    """Walks the segments from the present price outward, and stops at the first root."""

    def __init__(self, value: Value, bounds: list[Fraction], here: Fraction) -> None:
        self._value, self._bounds, self._here = value, bounds, here
        self._curves: dict[int, _Curve | None] = {}

    def below(self) -> Fraction | None:
        """The largest root that is not above the present price."""
        start = max(i for i in range(len(self._bounds) - 1) if self._bounds[i] < self._here)
        return self._first(range(start, -1, -1), lambda low, root, high: low < root <= min(high, self._here), max)

    def above(self) -> Fraction | None:
        """The smallest root that is not below the present price."""
        start = max(i for i in range(len(self._bounds) - 1) if self._bounds[i] <= self._here)
        return self._first(
            range(start, len(self._bounds) - 1), lambda low, root, high: max(low, self._here) <= root <= high, min
        )

    def _first(
        self,
        segments: Iterable[int],
        holds: Callable[[Fraction, Fraction, Fraction], bool],
        nearest: Callable[[list[Fraction]], Fraction],
    ) -> Fraction | None:
        before: tuple[int, _Curve] | None = None
        for number in segments:
            curve = self._curve(number)
            if curve is None:
                continue
            if before is not None:
                edge = self._bounds[max(before[0], number)]
                if before[1].at(edge) * curve.at(edge) < 0:
                    return edge
            low, high = self._bounds[number], self._bounds[number + 1]
            found = [root for root in curve.roots() if holds(low, root, high)]
            if found:
                return nearest(found)
            before = number, curve
        return None

    def _curve(self, number: int) -> "_Curve | None":
        if number not in self._curves:
            self._curves[number] = _curve_through(self._value, self._bounds[number], self._bounds[number + 1])
        return self._curves[number]


def _curve_through(value: Value, low: Fraction, high: Fraction) -> "_Curve | None":
    first = low.numerator * ONE // low.denominator + 1
    last = -(-high.numerator * ONE // high.denominator) - 1
    if last - first < 3:
        return None  # narrower than the grid of prices
    # Geometric middle: the segments may span many orders of magnitude.
    middle = min(max(isqrt(first * last), first + 1), last - 1)
    return _Curve(value, (first, middle, last))


class _Curve:
    """x·f(x) = a·x + b·x² + c on one segment, x in units, from exact values at three points."""

    def __init__(self, value: Value, points: tuple[int, int, int]) -> None:
        self._value, self._points = value, points
        numbers = [value(point) for point in points]
        (n0, d0), (n1, d1), (n2, d2) = numbers
        x0, x1, x2 = points
        if d0 == d1 == d2 and (n1 - n0) * (x2 - x0) == (n2 - n0) * (x1 - x0):
            # A straight line in integers: by far the most frequent case. f(x) = (n0·(x1-x0) + (x-x0)·(n1-n0)) / (d·(x1-x0))
            slope = Fraction((n1 - n0) * ONE, d0 * (x1 - x0))
            self._b, self._c = slope, Fraction(0)
            self._a = Fraction(n0, d0) - slope * Fraction(x0, ONE)
            self._fits = True
            return
        xs = [Fraction(point, ONE) for point in points]
        ys = [x * Fraction(n, d) for x, (n, d) in zip(xs, numbers, strict=True)]
        first = (ys[1] - ys[0]) / (xs[1] - xs[0])
        second = ((ys[2] - ys[1]) / (xs[2] - xs[1]) - first) / (xs[2] - xs[0])
        self._b = second
        self._a = first - second * (xs[0] + xs[1])
        self._c = ys[0] - xs[0] * self._a - xs[0] * xs[0] * self._b
        check = (x0 + 2 * x1) // 3
        self._fits = Fraction(check, ONE) * Fraction(*value(check)) == self.at(Fraction(check, ONE))

    def at(self, x: Fraction) -> Fraction:
        """x·f(x): the same sign as f for positive x."""
        return self._c + x * (self._a + x * self._b)

    def roots(self) -> list[Fraction]:
        return sorted(set(self._roots()))

    def _roots(self) -> Iterator[Fraction]:
        if not self._fits:
            yield from self._bisected()
        elif not self._c:
            if self._b:
                yield -self._a / self._b
        elif not self._b:
            if self._a:
                yield -self._c / self._a
        else:
            square = self._a * self._a - 4 * self._b * self._c
            if square >= 0:
                root = _square_root(square)
                yield (-self._a - root) / (2 * self._b)
                yield (-self._a + root) / (2 * self._b)

    def _bisected(self) -> Iterator[Fraction]:
        low, _, high = self._points
        negative_low = self._value(low)[0] < 0
        if (self._value(high)[0] < 0) == negative_low:
            return
        while high - low > 1:
            middle = (low + high) // 2
            if (self._value(middle)[0] < 0) == negative_low:
                low = middle
            else:
                high = middle
        yield Fraction(high, ONE)


def _square_root(square: Fraction) -> Fraction:
    """Exact where it is rational, else to 1/PRECISION, rounded down."""
    numerator, denominator = isqrt(square.numerator), isqrt(square.denominator)
    if numerator * numerator == square.numerator and denominator * denominator == square.denominator:
        return Fraction(numerator, denominator)
    return Fraction(isqrt(square.numerator * PRECISION * PRECISION // square.denominator), PRECISION)
