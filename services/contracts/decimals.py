"""Decimal strings of the wire, and the integers they become.

Every amount, price, rate and quantity inside the product is an `int` in units of 1e-18 ("e18"). The wire carries decimal
strings without exponent, at most 20 digits before the point and 18 after it, so the conversion is exact in both directions.
"""

from typing import Final

PLACES: Final = 18
ONE: Final = 10**PLACES

# `$` also matches before a final newline in Python; the look-ahead closes that hole and is valid ECMA-262 for the schemas.
DECIMAL_PATTERN: Final = r"^-?[0-9]{1,20}(\.[0-9]{1,18})?(?!\n)$"
UNSIGNED_PATTERN: Final = r"^[0-9]{1,20}(\.[0-9]{1,18})?(?!\n)$"
MAX_TEXT: Final = 40

_POWERS: Final[tuple[int, ...]] = tuple(10**places for places in range(PLACES + 1))


def parse(text: str) -> int:
    """The e18 integer of a decimal string that already matched `DECIMAL_PATTERN`."""
    whole, _, fraction = text.partition(".")
    if not fraction:
        return int(whole) * ONE
    return int(whole + fraction) * _POWERS[PLACES - len(fraction)]


def is_zero(text: str) -> bool:
    """Whether `parse` makes an `UNSIGNED_PATTERN` text 0, without making the number."""
    return not text.strip("0.")


def to_text(value: int, places: int = PLACES) -> str:
    """Plain notation of an integer in units of 10**-places: no exponent, no trailing zeros, "0" for zero."""
    sign = "-" if value < 0 else ""
    whole, fraction = divmod(abs(value), 10**places)
    if not fraction:
        return f"{sign}{whole}" if whole else "0"
    return f"{sign}{whole}.{fraction:0{places}d}".rstrip("0")


def floor_div(numerator: int, denominator: int) -> int:
    """Quotient rounded towards minus infinity: how amounts of the account (equity, cash, PnL) are rounded."""
    return numerator // denominator


def ceil_div(numerator: int, denominator: int) -> int:
    """Quotient rounded towards plus infinity: how requirements on the account are rounded."""
    return -(-numerator // denominator)
