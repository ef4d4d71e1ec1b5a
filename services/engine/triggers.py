"""The edges of a million boxes, as columns: per price, what lies below and what lies above it, nearest first.

An entry is an edge, the number of what it belongs to, and the version under which it was drawn. What was redrawn since has another
version: its old entries are passed over when they are met, and swept out once they are too many. New entries go to a small heap, or if
some come together wait as they are; what is enough becomes a sorted run, and runs of like size are merged, so that a price has few.
"""

import heapq
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

HANDFUL: Final = 8  # so few new entries go to the heap one by one
HEAP: Final = 1_024  # entries that wait to become a run
STALE: Final = 0.4  # of a run: it is swept
LIKE: Final = 4  # a run is merged with the one before it unless that is so many times as long
LONGEST: Final = 65_536  # entries of a merged run: merging or sweeping one takes a moment

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Versions = NDArray[np.uint32]
Noted = tuple[Numbers, Versions]  # of entries: what they belong to, and the version under which each was drawn


class Run:
    """Entries in ascending order of their edges; those before `at` were met."""

    __slots__ = ("at", "edges", "next", "numbers", "versions")

    def __init__(self, edges: Floats, numbers: Numbers, versions: Versions) -> None:
        self.edges = edges
        self.numbers = numbers
        self.versions = versions
        self.at = 0
        self.next = float(edges[0]) if len(edges) else float("inf")

    def __len__(self) -> int:
        return len(self.edges) - self.at

    def pass_to(self, price: float) -> Noted:
        """Meet every entry whose edge is at or below the price."""
        first, end = self.at, int(np.searchsorted(self.edges, np.float32(price), side="right"))
        end = max(end, first)
        while end < len(self.edges) and float(self.edges[end]) <= price:
            end += 1  # the price rounded down to a float32 below an edge that it has reached
        self.at = end
        self.next = float(self.edges[end]) if end < len(self.edges) else float("inf")
        return self.numbers[first:end], self.versions[first:end]

    def left(self) -> tuple[Floats, Numbers, Versions]:
        return self.edges[self.at :], self.numbers[self.at :], self.versions[self.at :]


class Side:
    """Edges that a rising number meets. For a falling price everything is negated."""

    def __init__(self, versions: "array[int]") -> None:
        self._current = versions
        self._heap: list[tuple[float, int, int]] = []
        self._loose: list[tuple[Floats, Numbers, Versions]] = []  # in no order
        self._loose_count, self._loose_next = 0, float("inf")
        self._runs: list[Run] = []
        self._unswept = 0.0  # entries that came, less the share of those that were looked through since
        self._turn = 0  # which run is swept next
        self.next = float("inf")  # no entry is met below it

    def add(self, edge: float, number: int) -> None:
        heapq.heappush(self._heap, (edge, number, self._current[number]))
        self.next = min(self.next, edge)
        if len(self._heap) >= HEAP:
            waiting, self._heap = self._heap, []
            numbers, versions = _noted(waiting)
            self._add_run(_inward(np.array([edge for edge, _, _ in waiting])), numbers, versions)

    def add_many(self, edges: NDArray[np.float64], numbers: Numbers) -> None:
        """Of many at once; all are drawn under the version that they have now."""
        if len(edges) <= HANDFUL:
            for edge, number in zip(edges.tolist(), numbers.tolist(), strict=True):
                self.add(edge, number)
            return
        inward, versions = _inward(edges), np.frombuffer(self._current, dtype=np.uint32)[numbers]
        self._loose.append((inward, numbers, versions))
        self._loose_count += len(edges)
        self._loose_next = min(self._loose_next, float(inward.min()))
        self.next = min(self.next, self._loose_next)
        if self._loose_count >= HEAP:
            self._gather()

    def _gather(self) -> None:
        edges, numbers, versions = (np.concatenate(each) for each in zip(*self._loose, strict=True))
        self._loose, self._loose_count, self._loose_next = [], 0, float("inf")
        self._add_run(edges, numbers, versions)

    def _add_run(self, edges: Floats, numbers: Numbers, versions: Versions) -> None:
        holds = self._holds(numbers, versions)
        self._runs.append(_sorted(edges[holds], numbers[holds], versions[holds]))
        while len(self._runs) > 1 and self._are_alike(*self._runs[-2:]):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(self._merged(before, last))
        self._unswept += len(edges)
        self._sweep()
        self.next = min(self._ends())

    @staticmethod
    def _are_alike(before: Run, last: Run) -> bool:
        return len(before) <= LIKE * len(last) and len(before) + len(last) <= LONGEST

    def _sweep(self) -> None:
        """The runs take turns: by the time that so many entries came as are `STALE` of them, each was looked through."""
        while self._runs and self._unswept > STALE * len(self._runs[self._turn % len(self._runs)]):
            turn = self._turn % len(self._runs)
            self._unswept -= STALE * len(self._runs[turn]) + 1
            swept = self._swept(self._runs[turn])
            self._runs[turn : turn + 1] = [swept] if len(swept) else []
            self._turn = turn + bool(len(swept))

    def reached(self, price: float) -> list[Noted]:
        """What the number has met, also what was redrawn since: none of it is looked at here, as it may be very much."""
        if price < self.next:
            return []
        if price >= self._loose_next:
            self._gather()
        found: list[Noted] = []
        met = []
        while self._heap and self._heap[0][0] <= price:
            met.append(heapq.heappop(self._heap))
        if met:
            found.append(_noted(met))
        found += [run.pass_to(price) for run in self._runs if run.next <= price]
        self._runs = [run for run in self._runs if len(run)]
        self.next = min(self._ends())
        return found

    def __len__(self) -> int:
        """Entries ahead."""
        return sum(int(np.count_nonzero(self._holds(*noted))) for noted in self.ahead())

    def ahead(self) -> list[Noted]:
        """All entries ahead, also of what was redrawn since."""
        return [_noted(self._heap), *(each[1:] for each in self._loose), *(run.left()[1:] for run in self._runs)]

    def _ends(self) -> Iterable[float]:
        yield self._heap[0][0] if self._heap else float("inf")
        yield self._loose_next
        for run in self._runs:
            yield run.next

    def _holds(self, numbers: Numbers, versions: Versions) -> NDArray[np.bool_]:
        return _holds(self._current, numbers, versions)

    def _merged(self, first: Run, second: Run) -> Run:
        edges, numbers, versions = (np.concatenate(pair) for pair in zip(first.left(), second.left(), strict=True))
        holds = self._holds(numbers, versions)
        return _sorted(edges[holds], numbers[holds], versions[holds])

    def _swept(self, run: Run) -> Run:
        edges, numbers, versions = run.left()
        holds = self._holds(numbers, versions)
        if np.count_nonzero(holds) >= (1 - STALE) * len(run):
            return run
        return Run(edges[holds], numbers[holds], versions[holds])


def _inward(edges: NDArray[np.float64]) -> Floats:
    """As float32, and none above what it was."""
    rounded = edges.astype(np.float32)
    return np.where(rounded.astype(np.float64) > edges, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _sorted(edges: Floats, numbers: Numbers, versions: Versions) -> Run:
    order = np.argsort(edges, kind="stable")
    return Run(edges[order], numbers[order], versions[order])


def _noted(entries: Sequence[tuple[float, int, int]]) -> Noted:
    _, numbers, versions = zip(*entries, strict=True) if entries else ((), (), ())
    return np.array(numbers, dtype=np.int32), np.array(versions, dtype=np.uint32)


def _holds(current: "array[int]", numbers: Numbers, versions: Versions) -> NDArray[np.bool_]:
    held: NDArray[np.bool_] = np.frombuffer(current, dtype=np.uint32)[numbers] == versions
    return held


class Triggers:
    """Both sides of every price."""

    def __init__(self, versions: "array[int]") -> None:
        self._versions = versions
        self._below: dict[str, Side] = {}
        self._above: dict[str, Side] = {}

    def add(self, price_id: str, low: float, high: float, number: int) -> None:
        self._side(self._below, price_id).add(-low, number)
        self._side(self._above, price_id).add(high, number)

    def add_many(self, price_id: str, lows: NDArray[np.float64], highs: NDArray[np.float64], numbers: Numbers) -> None:
        self._side(self._below, price_id).add_many(-lows, numbers)
        self._side(self._above, price_id).add_many(highs, numbers)

    def reached(self, price_id: str, price: float) -> list[Noted]:
        """Everything whose edge the price has met, on either side; `current` says what of it counts."""
        below, above = self._below.get(price_id), self._above.get(price_id)
        if below is None or above is None:
            return []
        return below.reached(-price) + above.reached(price)

    def current(self, noted: Noted) -> list[int]:
        """Of these entries those that were not redrawn since: what they belong to, each told once."""
        numbers, versions = noted
        held: list[int] = np.unique(numbers[_holds(self._versions, numbers, versions)]).tolist()
        return held

    def between(self, price_id: str) -> tuple[float, float]:
        """Strictly between which prices `reached` finds nothing."""
        below, above = self._below.get(price_id), self._above.get(price_id)
        return (0.0 if below is None else max(0.0, -below.next)), (float("inf") if above is None else above.next)

    def count(self, price_id: str) -> int:
        """How many entries depend on the price."""
        below = self._below.get(price_id)
        return 0 if below is None else len(below)

    def holders(self, price_id: str) -> list[Noted]:
        """Everything that depends on the price, as `reached`."""
        below = self._below.get(price_id)
        return [] if below is None else below.ahead()

    def _side(self, sides: dict[str, Side], price_id: str) -> Side:
        found = sides.get(price_id)
        if found is None:
            found = sides[price_id] = Side(self._versions)
        return found
