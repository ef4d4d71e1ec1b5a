"""The paths of equity of the buckets that came nearest to zero, or went below it."""

from typing import Any, Final

from msgspec import Struct

from services.contracts.decimals import ONE
from services.report.grid import Extremes, Grid, short

Key = tuple[str, str]  # account, bucket
FOLLOWED: Final = 256  # paths kept; up to twice as many between two clearings
WORST: Final = 60  # in the table of the worst


class Path(Struct, kw_only=True):
    """One bucket. `lowest_place` is the bin in which it was lowest, while the grid was `lowest_level` coarse."""

    series: Extremes
    highest: float
    lowest: float
    lowest_ms: int
    orders: int = 0

    @property
    def left(self) -> float:
        """The lowest equity as a share of the highest; below zero where the equity was."""
        if self.highest <= 0:
            return -1.0 if self.lowest < 0 else 1.0
        return self.lowest / self.highest


class Equities:
    """Told every equity that the engine reviews; keeps the paths of the worst buckets.

    The engine reviews a bucket when a price leaves the region in which nothing about it can change: often where it is near
    liquidation, seldom where it is safe. So between two points of a path nothing was at stake.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._paths: dict[Key, Path] = {}

    def note(self, key: Key, equity_e18: int, place: int, now_ms: int) -> None:
        equity = equity_e18 / ONE
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = Path(series=Extremes(self._grid), highest=equity, lowest=equity, lowest_ms=now_ms)
            if len(self._paths) > 2 * FOLLOWED:
                self._clear(keep=key)
        path.highest = max(path.highest, equity)
        if equity < path.lowest:
            path.lowest, path.lowest_ms = equity, now_ms
        path.series.add(place, equity)

    def ordered(self, key: Key) -> None:
        path = self._paths.get(key)
        if path is not None:
            path.orders += 1

    def worst(self) -> list[Key]:
        """Buckets from the worst on: those below zero, then those with orders, by what was left of their highest equity."""
        return sorted(self._paths, key=self._badness)[:FOLLOWED]

    def paths(self, keys: list[Key]) -> dict[str, Any]:
        return {"|".join(key): self._paths[key].series.payload() for key in keys if key in self._paths}

    def rows(self) -> list[dict[str, Any]]:
        """The table of the worst. Negative equities are told by their amount, the rest by what was left."""
        return [
            {
                "account": key[0], "bucket": key[1], "lowest": short(path.lowest), "highest": short(path.highest),
                "left": round(path.left, 4), "lowest_ms": path.lowest_ms, "orders": path.orders,
            }
            for key, path in ((key, self._paths[key]) for key in self.worst()[:WORST])
            if path.orders or path.lowest < 0
        ]  # fmt: skip

    def _clear(self, keep: Key) -> None:
        ranked = sorted(self._paths, key=self._badness)
        self._paths = {key: self._paths[key] for key in {*ranked[:FOLLOWED], keep}}

    def _badness(self, key: Key) -> tuple[int, float, Key]:
        path = self._paths[key]
        if path.lowest < 0:
            return 0, path.lowest, key
        return (1 if path.orders else 2), path.left, key
