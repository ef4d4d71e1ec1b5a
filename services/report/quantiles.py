"""Quantiles of durations in bounded memory: a histogram whose bins grow by a tenth."""

from collections import Counter
from math import ceil, log
from typing import Any, Final

from services.report.grid import short

GROWTH: Final = 1.1
_LOG_GROWTH: Final = log(GROWTH)


class Quantiles:
    """Of non-negative values; exact up to 1, then to within a tenth. The extremes and the count are exact."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self.count = 0
        self.highest = 0.0
        self.lowest = 0.0

    def add(self, value: float) -> None:
        self.highest = value if not self.count else max(self.highest, value)
        self.lowest = value if not self.count else min(self.lowest, value)
        self.count += 1
        self._bins[0 if value <= 0 else 1 + max(0, ceil(log(value) / _LOG_GROWTH))] += 1

    def at(self, share: float) -> float:
        """The upper edge of the bin below or in which `share` of the values lie; never beyond the highest."""
        seen, wanted = 0, share * self.count
        for place in sorted(self._bins):
            seen += self._bins[place]
            if seen >= wanted:
                return 0.0 if place == 0 else min(self.highest, GROWTH ** (place - 1))
        return self.highest

    def payload(self) -> dict[str, Any] | None:
        """None of nothing."""
        if not self.count:
            return None
        return {
            "count": self.count, "p50": short(self.at(0.5)), "p99": short(self.at(0.99)),
            "max": short(self.highest), "min": short(self.lowest),
        }  # fmt: skip
