"""Exact roots of a bucket's number as a function of one price.

Between two breakpoints such a function is a + b·p + c/p (linear value, inverse value in coin, both valued). Where three exact values
lie on a line, the root is that of the line, in integers: by far the most frequent case. Else they give p times the function as a
quadratic, whose roots are exact, or irrational and then good to 1e-40 of the price's unit. What is not of that form (it is checked
at a fourth point) is bisected. Prices are e18 integers here, and so are breakpoints (rounded down, which moves none by 1e-18).
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from math import isqrt
from typing import Final, Protocol

from services.contracts.decimals import ONE

Value = Callable[[int], tuple[int, int]]  # price e18 -> the number as numerator and positive denominator
PRECISION: Final = 10**40
WIDEST: Final = (
    10**6
)  # a root further above the present price than this factor is none: rounding of 1e-18 makes such ones


def nearest_root(value: Value, breakpoints: Iterable[int], present: int, *, losing_side_down: bool) -> Fraction | None:
    """The root nearest to `present` (e18) on the losing side, else the nearest on the other; None where none is positive.

    A jump across zero at a breakpoint counts as a root. The result is a price in units, not e18.
    """
    if present > 0 and not value(present)[0]:
        return Fraction(present, ONE)  # also where it is zero all around, as of legs that cancel out
    edges = sorted({point for point in breakpoints if point > 0})
    last = WIDEST * max(present, edges[-1] if edges else present, ONE)
    search = _Search(value, [0, *edges, last], present)
    first, second = (search.below, search.above) if losing_side_down else (search.above, search.below)
    furthest = WIDEST * max(present, ONE)
    for side in (first, second):
        found = side()
        if found is not None and found <= furthest:
            return found / ONE
    return None


class _Search:
    """Walks the segments from the present price outward, and stops at the first root."""

    def __init__(self, value: Value, bounds: list[int], here: int) -> None:
        self._value, self._bounds, self._here = value, bounds, here
        self._curves: dict[int, _Curve | None] = {}

    def below(self) -> Fraction | None:
        """The largest root that is not above the present price; none below a worthless option's."""
        if not self._here:
            return None
        start = max(i for i in range(len(self._bounds) - 1) if self._bounds[i] < self._here)
        return self._first(range(start, -1, -1), max)

    def above(self) -> Fraction | None:
        """The smallest root that is not below the present price."""
        start = max(i for i in range(len(self._bounds) - 1) if self._bounds[i] <= self._here)
        return self._first(range(start, len(self._bounds) - 1), min)

    def _first(self, segments: Iterable[int], nearest: Callable[[list[Fraction]], Fraction]) -> Fraction | None:
        before: tuple[int, _Curve] | None = None
        for number in segments:
            curve = self._curve(number)
            if curve is None:
                continue
            if before is not None:
                edge = self._bounds[max(before[0], number)]
                if before[1].sign(edge) * curve.sign(edge) < 0:
                    return Fraction(edge)
            low, high = self._bounds[number], self._bounds[number + 1]
            if nearest is max:
                found = [root for root in curve.roots() if low < root <= min(high, self._here)]
            else:
                found = [root for root in curve.roots() if max(low, self._here) <= root <= high]
            if found:
                return nearest(found)
            before = number, curve
        return None

    def _curve(self, number: int) -> "_Curve | None":
        if number not in self._curves:
            self._curves[number] = _curve_through(self._value, self._bounds[number], self._bounds[number + 1])
        return self._curves[number]


class _Curve(Protocol):
    """The function on one segment."""

    def sign(self, x: int) -> int: ...

    def roots(self) -> Iterable[Fraction]: ...


def _curve_through(value: Value, low: int, high: int) -> _Curve | None:
    first, last = low + 1, high - 1
    if last - first < 3:
        return None  # narrower than the grid of prices
    # Geometric middle: the segments may span many orders of magnitude.
    middle = min(max(isqrt(first * last), first + 1), last - 1)
    points = (first, middle, last)
    numbers = [value(point) for point in points]
    (n0, d0), (n1, d1), (n2, d2) = numbers
    if d0 == d1 == d2 and (n1 - n0) * (last - first) == (n2 - n0) * (middle - first):
        return _Line(first, n0, last - first, n2 - n0)
    curve = _Quadratic(points, numbers)
    check = (first + 2 * middle) // 3
    return curve if curve.passes_through(check, *value(check)) else _Unknown(value, first, last)


class _Line:
    """n(x) = n0 + (x - x0)·rise/run; all integers."""

    def __init__(self, x0: int, n0: int, run: int, rise: int) -> None:
        self._x0, self._n0, self._run, self._rise = x0, n0, run, rise

    def sign(self, x: int) -> int:
        return _sign(self._n0 * self._run + (x - self._x0) * self._rise)

    def roots(self) -> list[Fraction]:
        if not self._rise:
            return []
        return [Fraction(self._x0 * self._rise - self._n0 * self._run, self._rise)]


class _Quadratic:
    """x·f(x) = c + a·x + b·x², from exact values at three points."""

    def __init__(self, points: tuple[int, int, int], numbers: list[tuple[int, int]]) -> None:
        x0, x1, x2 = points
        y0, y1, y2 = (x * Fraction(n, d) for x, (n, d) in zip(points, numbers, strict=True))
        first = (y1 - y0) / (x1 - x0)
        second = ((y2 - y1) / (x2 - x1) - first) / (x2 - x0)
        self._b = second
        self._a = first - second * (x0 + x1)
        self._c = y0 - x0 * self._a - x0 * x0 * self._b

    def passes_through(self, x: int, numerator: int, denominator: int) -> bool:
        return self._at(x) * denominator == x * numerator

    def _at(self, x: int) -> Fraction:
        return self._c + x * (self._a + x * self._b)

    def sign(self, x: int) -> int:
        return _sign(self._at(x).numerator)

    def roots(self) -> Iterator[Fraction]:
        if not self._c:
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


class _Unknown:
    """A function of no known form on its segment: one root is found by bisection where the signs at the ends differ."""

    def __init__(self, value: Value, low: int, high: int) -> None:
        self._value, self._low, self._high = value, low, high

    def sign(self, x: int) -> int:
        return _sign(self._value(min(max(x, self._low), self._high))[0])

    def roots(self) -> Iterator[Fraction]:
        low, high = self._low, self._high
        negative_low = self._value(low)[0] < 0
        if (self._value(high)[0] < 0) == negative_low:
            return
        while high - low > 1:
            middle = (low + high) // 2
            if (self._value(middle)[0] < 0) == negative_low:
                low = middle
            else:
                high = middle
        yield Fraction(high)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _square_root(square: Fraction) -> Fraction:
    """Exact where it is rational, else to 1/PRECISION, rounded down."""
    numerator, denominator = isqrt(square.numerator), isqrt(square.denominator)
    if numerator * numerator == square.numerator and denominator * denominator == square.denominator:
        return Fraction(numerator, denominator)
    return Fraction(isqrt(square.numerator * PRECISION * PRECISION // square.denominator), PRECISION)
