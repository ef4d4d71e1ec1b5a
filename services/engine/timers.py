"""What becomes due by itself: a heap of event times. Entries that lost their meaning are harmless when they fire."""

import heapq
from collections.abc import Iterator
from typing import Literal

Kind = Literal["bucket", "order", "price", "account", "gap", "reserve", "multiplier", "control"]
Due = tuple[Kind, tuple[str, ...]]


class Timers:
    """Pairs of a time and what to look at then; one entry for the same pair."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, Kind, tuple[str, ...]]] = []
        self._known: set[tuple[int, Kind, tuple[str, ...]]] = set()

    def at(self, time_ms: int, kind: Kind, *subject: str) -> None:
        entry = (time_ms, kind, subject)
        if entry not in self._known:
            self._known.add(entry)
            heapq.heappush(self._heap, entry)

    def next_ms(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int) -> Iterator[Due]:
        """Everything due at or before `now_ms`, in order of time, then kind and subject; removed as it is given."""
        while self._heap and self._heap[0][0] <= now_ms:
            entry = heapq.heappop(self._heap)
            self._known.discard(entry)
            yield entry[1], entry[2]
