"""How many buckets stand on each rung over time."""

from collections import Counter
from typing import Any, Final, get_args

from services.contracts.messages import AccountState, Status
from services.report.grid import Extreme, Grid, Series, short

STATUSES: Final[tuple[str, ...]] = get_args(Status)


class Rungs:
    """Folded from changes of status. Of each bin and status the highest and the last count; a bucket is counted from its first status on."""

    def __init__(self, grid: Grid) -> None:
        self._statuses: dict[tuple[str, str], str] = {}
        self._counts: Counter[str] = Counter()
        self._series: dict[str, Series[Extreme]] = {name: Series(grid, _peak) for name in STATUSES}

    def change(self, place: int, state: AccountState) -> None:
        key = (state.account, state.bucket)
        before = self._statuses.get(key)
        self._statuses[key] = state.status
        for name, step in ((before, -1), (state.status, 1)):
            if name is not None:
                self._counts[name] += step
                count = float(self._counts[name])
                self._series[name].add(place, (count, count, count))

    def status(self, key: tuple[str, str]) -> str:
        return self._statuses.get(key, "closed")

    def payload(self) -> dict[str, Any]:
        found = {}
        for name, series in self._series.items():
            bins, cells = series.items()
            if bins:
                found[name] = {
                    "bin": bins,
                    "high": [short(high) for _, high, _ in cells],
                    "last": [short(last) for _, _, last in cells],
                }
        return {"order": [name for name in STATUSES if name in found], "series": found}


def _peak(one: Extreme, other: Extreme) -> Extreme:
    return min(one[0], other[0]), max(one[1], other[1]), other[2]
