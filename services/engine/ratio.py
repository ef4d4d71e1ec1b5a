"""Ratios of large integers that are only compared: no common divisor is looked for."""

from typing import Final

BITS: Final = 64


class Ratio:
    """`top` / `bottom`, exactly; `bottom` > 0. Sort by `floor` first: by integers alone most are told apart."""

    __slots__ = ("_bottom", "_top", "floor")

    def __init__(self, top: int, bottom: int) -> None:
        self._top = top
        self._bottom = bottom
        self.floor = (top << BITS) // bottom

    def __lt__(self, other: "Ratio") -> bool:
        return self._top * other._bottom < other._top * self._bottom

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ratio) and self._top * other._bottom == other._top * self._bottom

    __hash__ = None  # type: ignore[assignment]  # compared only
