"""Where exact numbers become integers and text: once, and against the account."""

from fractions import Fraction
from math import ceil, floor, isqrt
from typing import Final

from services.contracts.decimals import ONE, parse, to_text

PRICE_PLACES: Final = 12
COST_PLACES: Final = 54


def exact(text: str) -> Fraction:
    """The number that a decimal string of the wire says."""
    return Fraction(parse(text), ONE)


def from_e18(value: int) -> Fraction:
    return Fraction(value, ONE)


def floor_e18(value: Fraction) -> int:
    """Towards minus infinity, in units of 1e-18: what an account owns."""
    return floor(value * ONE)


def ceil_e18(value: Fraction) -> int:
    """Towards plus infinity, in units of 1e-18: what is required of an account."""
    return ceil(value * ONE)


def round_half_even(value: Fraction, places: int) -> int:
    """The nearest integer in units of 10**-places, the even one of two equally near."""
    scale: int = 10**places
    return round(value * scale)


def owned(value: Fraction) -> str:
    return to_text(floor_e18(value))


def required(value: Fraction) -> str:
    return to_text(ceil_e18(value))


def price_text(value: Fraction) -> str:
    """A price for people: to 12 decimals, half-even."""
    return to_text(round_half_even(value, PRICE_PLACES), PRICE_PLACES)


def up_to(value: Fraction, step: Fraction) -> Fraction:
    """The smallest multiple of `step` that is not below `value`."""
    return -(-value // step) * step


def down_to(value: Fraction, step: Fraction) -> Fraction:
    """The largest multiple of `step` that is not above `value`."""
    return value // step * step


def price_step(tick: Fraction | None) -> Fraction:
    """The grid of an instrument's prices: its tick, else 12 decimals."""
    return tick if tick is not None else Fraction(1, 10**PRICE_PLACES)


def root_e18(value: Fraction) -> Fraction:
    """The square root, rounded down to 18 decimals of its result; of an e18 number v it is isqrt(v·1e18)."""
    return Fraction(isqrt(floor_e18(value) * ONE), ONE)


def root_of_seconds(duration_ms: int) -> Fraction:
    """√(duration in seconds), 0 for what lies in the future."""
    return root_e18(Fraction(max(0, duration_ms), 1000))
