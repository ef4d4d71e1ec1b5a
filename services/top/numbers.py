"""Numbers and names as a person reads them on a terminal. Exact values are in `--json`."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

STEPS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"))
UNKNOWN: Final = "-"
LONGEST: Final = 40  # characters of a number: the wire has 38 digits


def duration(ms: float) -> str:
    """`850 ms`, `3.2 s`, `4.0 min`: short, one unit."""
    if abs(ms) < 1_000:
        return f"{ms:.0f} ms"
    for step, unit in STEPS:
        if abs(ms) >= step:
            return f"{ms / step:.1f} {unit}"
    return f"{ms / 1_000:.1f} s"


def amount(text: str | None) -> str:
    """A decimal string with separators, two places from 100 on and six significant digits below."""
    if text is None:
        return UNKNOWN
    try:
        number = Decimal(text[:LONGEST])
    except InvalidOperation:
        return printable(text[:LONGEST])
    if not number.is_finite() or abs(number.adjusted()) > LONGEST:
        return printable(text[:LONGEST])
    if abs(number) >= 100:
        return f"{number:,.2f}"
    return f"{number:.6g}"


def printable(text: str) -> str:
    """Without anything that steers a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
