"""Numbers that remember how they depend on one price.

To find where equity meets a requirement, the valuation is not inverted by hand: it is run with the mark in question as a
`Curve`, a sum of powers of that price with exact coefficients. Additions and products keep the powers; a comparison (which
tier, which sign, which weight) is answered just beside the point where the curve is looked at, and recorded, because it may
come out differently further away. So the result is exact up to the nearest price at which a recorded comparison turns.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import isqrt
from typing import Final, TypeAlias

ROOT_DIGITS: Final = 80  # decimals of an irrational root; prices end at the 18th
NUDGE: Final = Fraction(1, 10**60)  # past an irrational turning point: beyond its error, below anything that matters


@dataclass
class Viewpoint:
    """Where a curve is looked at, `at` and just beside it (side -1 below, +1 above), and what was compared there."""

    at: Fraction
    side: int
    compared: list["Curve"] = field(default_factory=list)


class Curve:
    """Σ coefficient·price^exponent, valid beside its viewpoint."""

    def __init__(self, terms: dict[int, Fraction], viewpoint: Viewpoint) -> None:
        self.terms = {exponent: value for exponent, value in terms.items() if value}
        self.viewpoint = viewpoint

    @classmethod
    def price(cls, viewpoint: Viewpoint) -> "Curve":
        """The price itself."""
        return cls({1: Fraction(1)}, viewpoint)

    def _terms_of(self, other: "Number") -> dict[int, Fraction]:
        return other.terms if isinstance(other, Curve) else {0: other}

    def __add__(self, other: "Number") -> "Curve":
        terms = dict(self.terms)
        for exponent, value in self._terms_of(other).items():
            terms[exponent] = terms.get(exponent, Fraction(0)) + value
        return Curve(terms, self.viewpoint)

    def __neg__(self) -> "Curve":
        return Curve({exponent: -value for exponent, value in self.terms.items()}, self.viewpoint)

    def __sub__(self, other: "Number") -> "Curve":
        return self + (-other)

    def __rsub__(self, other: Fraction) -> "Curve":
        return -self + other

    def __mul__(self, other: "Number") -> "Curve":
        terms: dict[int, Fraction] = {}
        for mine, a in self.terms.items():
            for theirs, b in self._terms_of(other).items():
                terms[mine + theirs] = terms.get(mine + theirs, Fraction(0)) + a * b
        return Curve(terms, self.viewpoint)

    def __truediv__(self, other: "Number") -> "Curve":
        ((exponent, value),) = self._terms_of(other).items()  # only powers of the price divide
        return self * Curve({-exponent: 1 / value}, self.viewpoint)

    def __rtruediv__(self, other: Fraction) -> "Curve":
        return Curve({0: other}, self.viewpoint) / self

    __radd__ = __add__
    __rmul__ = __mul__

    def _compare(self, other: "Number") -> int:
        difference = self - other
        self.viewpoint.compared.append(difference)
        return difference.sign()

    def __lt__(self, other: "Number") -> bool:
        return self._compare(other) < 0

    def __le__(self, other: "Number") -> bool:
        return self._compare(other) <= 0

    def __gt__(self, other: "Number") -> bool:
        return self._compare(other) > 0

    def __ge__(self, other: "Number") -> bool:
        return self._compare(other) >= 0

    def value(self, price: Fraction) -> Fraction:
        return sum((value * price**exponent for exponent, value in self.terms.items()), Fraction(0))

    def derivative(self) -> "Curve":
        return Curve({exponent - 1: exponent * value for exponent, value in self.terms.items()}, self.viewpoint)

    def sign(self) -> int:
        """Just beside the viewpoint: of the first derivative that is not zero there."""
        curve, side = self, 1
        while curve.terms:
            value = curve.value(self.viewpoint.at)
            if value:
                return side * (1 if value > 0 else -1)
            curve, side = curve.derivative(), side * self.viewpoint.side
        return 0

    def roots(self) -> list[tuple[Fraction, bool]]:
        """The positive prices at which the curve is zero, ascending, each with whether it is exact."""
        if not self.terms:
            return []
        lowest = min(self.terms)
        polynomial = {exponent - lowest: value for exponent, value in self.terms.items()}
        return sorted(root for root in _roots(polynomial) if root[0] > 0)


Number: TypeAlias = Fraction | Curve


def _roots(polynomial: dict[int, Fraction]) -> Iterable[tuple[Fraction, bool]]:
    """Real roots of a polynomial of degree 2 at most: no product of a bucket's valuation has more."""
    c, b, a = (polynomial.get(exponent, Fraction(0)) for exponent in range(3))
    assert max(polynomial) <= 2, f"degree {max(polynomial)}"
    if not a:
        return [(-c / b, True)] if b else []
    discriminant = b * b - 4 * a * c
    if discriminant < 0:
        return []
    root, whole = square_root(discriminant)
    return {((-b - root) / (2 * a), whole), ((-b + root) / (2 * a), whole)}


def square_root(value: Fraction) -> tuple[Fraction, bool]:
    """√value and whether it is exact; else to at least `ROOT_DIGITS` decimals, rounded down."""
    product = value.numerator * value.denominator  # √(n/d) = √(n·d)/d
    root = isqrt(product)
    if root * root == product:
        return Fraction(root, value.denominator), True
    scale = 10**ROOT_DIGITS
    return Fraction(isqrt(product * scale * scale), value.denominator * scale), False


def larger(a: Number, b: Number) -> Number:
    return max(a, b)


def plain(number: Number) -> Fraction:
    """A number of a valuation at fixed prices."""
    assert isinstance(number, Fraction)
    return number


def total(numbers: Iterable[Number]) -> Number:
    result: Number = Fraction(0)
    for number in numbers:
        result = result + number
    return result
