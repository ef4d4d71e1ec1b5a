"""Time series of bounded size: bins that double their width when time outgrows them, and keep extremes when they merge."""

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

CAPACITY: Final = 720  # bins; between half of them and all are in use once time has passed
Cell = TypeVar("Cell")


class Grid:
    """What bin a moment falls into. One grid is shared by all series of a report, so that they can be drawn over each other."""

    def __init__(self) -> None:
        self.origin_ms: int | None = None
        self.level = 0  # a bin is 2^level milliseconds wide
        self.last = 0

    @property
    def width_ms(self) -> int:
        return 1 << self.level

    def at(self, time_ms: int) -> int:
        """The bin of a moment; one before the first moment falls into the first bin."""
        if self.origin_ms is None:
            self.origin_ms = time_ms
        place = max(0, time_ms - self.origin_ms) >> self.level
        while place >= CAPACITY:
            place >>= 1
            self.last >>= 1
            self.level += 1
        self.last = max(self.last, place)
        return place

    def payload(self) -> dict[str, int]:
        return {"origin_ms": self.origin_ms or 0, "width_ms": self.width_ms, "bins": self.last + 1}


class Series(Generic[Cell]):
    """Cells by ascending bin. `merge` makes one cell of two neighbours when bins become wider."""

    def __init__(self, grid: Grid, merge: Callable[[Cell, Cell], Cell]) -> None:
        self._grid = grid
        self._merge = merge
        self._level = grid.level
        self._bins: list[int] = []
        self._cells: list[Cell] = []

    def __len__(self) -> int:
        self._sync()
        return len(self._bins)

    def add(self, place: int, cell: Cell) -> bool:
        """Merges `cell` into its bin; whether that bin is new. One before the newest counts into the newest: inputs come in their order."""
        self._sync()
        if self._bins and place <= self._bins[-1]:
            self._cells[-1] = self._merge(self._cells[-1], cell)
            return False
        self._bins.append(place)
        self._cells.append(cell)
        return True

    @property
    def newest(self) -> int | None:
        """The newest bin that holds something."""
        self._sync()
        return self._bins[-1] if self._bins else None

    def items(self) -> tuple[list[int], list[Cell]]:
        """Bins and cells at the grid's present width."""
        self._sync()
        return self._bins, self._cells

    def _sync(self) -> None:
        shift = self._grid.level - self._level
        if not shift:
            return
        self._level = self._grid.level
        bins, cells = self._bins, self._cells
        self._bins, self._cells = [], []
        for place, cell in zip(bins, cells, strict=True):
            wide = place >> shift
            if self._bins and self._bins[-1] == wide:
                self._cells[-1] = self._merge(self._cells[-1], cell)
            else:
                self._bins.append(wide)
                self._cells.append(cell)


Extreme = tuple[float, float, float]  # lowest, highest, last


class Extremes:
    """A sampled value: of each bin the lowest, the highest and the last."""

    def __init__(self, grid: Grid) -> None:
        self._series: Series[Extreme] = Series(grid, _widest)

    def add(self, place: int, value: float) -> None:
        self._series.add(place, (value, value, value))

    def payload(self) -> dict[str, list[Any]]:
        bins, cells = self._series.items()
        return {
            "bin": bins,
            "low": [short(low) for low, _, _ in cells],
            "high": [short(high) for _, high, _ in cells],
            "last": [short(last) for _, _, last in cells],
        }


class Sums:
    """Something that adds up: its total in each bin."""

    def __init__(self, grid: Grid) -> None:
        self._series: Series[float] = Series(grid, lambda one, other: one + other)
        self.total = 0.0

    def add(self, place: int, amount: float) -> None:
        self.total += amount
        self._series.add(place, amount)

    def payload(self) -> dict[str, list[Any]]:
        bins, cells = self._series.items()
        return {"bin": bins, "sum": [short(cell) for cell in cells]}


def _widest(one: Extreme, other: Extreme) -> Extreme:
    return min(one[0], other[0]), max(one[1], other[1]), other[2]


def short(value: float) -> float:
    """Seven significant digits: more than a chart shows, and a smaller page."""
    return float(f"{value:.7g}")
