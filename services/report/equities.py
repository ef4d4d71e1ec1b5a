"""The paths of equity of the buckets that came nearest to zero, or went below it."""

from typing import Any, Final

from msgspec import Struct

from services.contracts.decimals import ONE
from services.report.grid import Grid, Series, short

Key = tuple[str, str]  # account, bucket
FOLLOWED: Final = 8_192  # paths kept at most,
CELLS: Final = 500_000  # and points of all paths together: beyond either, the better half of the paths is given up
SAMPLED: Final = 1_024  # paths that are looked at between reviews, the worst of them
WORST: Final = 60  # in the table of the worst


class Path(Struct, kw_only=True):
    """One bucket; of each bin its lowest equity."""

    series: Series[float]
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
    liquidation, seldom where it is safe. Between two reviews the collector looks itself, a few hundred times a recording.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._paths: dict[Key, Path] = {}
        self._cells = 0
        self._highest: dict[Key, float] = {}  # of every bucket: a path that was given up may be taken up again

    def note(self, key: Key, equity_e18: int, place: int, now_ms: int) -> None:
        equity = equity_e18 / ONE
        path = self._paths.get(key)
        if path is None:
            highest = max(equity, self._highest.get(key, equity))
            path = self._paths[key] = Path(
                series=Series(self._grid, min), highest=highest, lowest=equity, lowest_ms=now_ms
            )
        if equity >= path.highest:
            path.highest = self._highest[key] = equity
        if equity < path.lowest:
            path.lowest, path.lowest_ms = equity, now_ms
        self._cells += path.series.add(place, equity)
        if len(self._paths) > FOLLOWED or self._cells > CELLS:
            self._clear(keep=key)

    def stale(self, place: int) -> list[Key]:
        """The worst of the buckets of which nothing was told in this bin."""
        keys = [key for key, path in self._paths.items() if path.series.newest != place]
        return keys if len(keys) <= SAMPLED else sorted(keys, key=self._badness)[:SAMPLED]

    def ordered(self, key: Key) -> None:
        path = self._paths.get(key)
        if path is not None:
            path.orders += 1

    def worst(self) -> list[Key]:
        """Buckets from the worst on: those below zero, then those with orders, by what was left of their highest equity."""
        return sorted(self._paths, key=self._badness)

    def paths(self, keys: list[Key]) -> dict[str, Any]:
        """Bins and the lowest equity of each, by `account|bucket`."""
        found = {}
        for key in keys:
            if key in self._paths:
                bins, lows = self._paths[key].series.items()
                found["|".join(key)] = {
                    "bin": bins, "low": [short(low) for low in lows], "highest": short(self._paths[key].highest),
                }  # fmt: skip
        return found

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
        self._cells = sum(len(path.series) for path in self._paths.values())
        if len(self._paths) <= FOLLOWED and self._cells <= CELLS // 2:
            return  # bins became wider meanwhile
        ranked = sorted(self._paths, key=self._badness)
        self._paths = {key: self._paths[key] for key in {*ranked[: len(ranked) // 2], keep}}
        self._cells = sum(len(path.series) for path in self._paths.values())

    def _badness(self, key: Key) -> tuple[int, float, Key]:
        path = self._paths[key]
        if path.lowest < 0:
            return 0, path.lowest, key
        return (1 if path.orders else 2), path.left, key
