"""One event in pieces: after a bounded amount of work the engine stops, so that whoever drives it may do something else meanwhile.

Work is counted and not timed: what it costs is a constant for each kind, in microseconds, about. So the engine needs no clock, and the
same event stops at the same places.
"""

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from services.engine.effects import Effect

PIECE: Final = 2_000  # what one piece may cost
ENDLESS: Final = float("inf")
RUN: Final = 64  # items that are sorted at a time

# What some of the work costs.
TICK: Final = 2
CALM_FILL: Final = 20
RECORD: Final = 60
TOUCH: Final = 1
GATHER: Final = 15
READ: Final = 5
REVIEW: Final = 60
RANK: Final = 8
DECISION: Final = 600
SETTLE: Final = 80
REST: Final = 60
DROP: Final = 30

Item = TypeVar("Item")
Sortable = TypeVar("Sortable", bound="Comparable")
Steps = Iterator[None]  # stops where a piece ends


class Comparable(Protocol):
    """What can be sorted."""

    def __lt__(self, other: Any, /) -> bool: ...


class Piece(NamedTuple):
    """What an event wants done so far that was not told yet; of the records given, how many were begun."""

    effects: list[Effect]
    records: int = 0


Pieces = Generator[Piece, None, Piece]  # the last one is returned: an event that needs a single piece never stops


def nothing() -> Pieces:
    """An event of which nothing comes."""
    yield from ()
    return Piece([])


class Pace:
    """Counts the work of a piece."""

    def __init__(self, limit: float = ENDLESS) -> None:
        self._limit = self._left = limit
        self.over = 0  # pieces

    def spent(self, cost: float) -> bool:
        """Whether that fills the piece: then the next one begins."""
        self._left -= cost
        if self._left > 0:
            return False
        self._left = self._limit
        self.over += 1
        return True

    def share(self, each: float, most: int) -> int:
        """How many that cost so much `each` a piece holds, one at least."""
        return max(1, int(min(most, self._limit / each)))


Later = Callable[[Pace], Steps]


def whole(pieces: Pieces) -> list[Effect]:
    """All of them, one after the other."""
    effects: list[Effect] = []
    while True:
        try:
            effects += next(pieces).effects
        except StopIteration as end:
            last: Piece = end.value
            return [*effects, *last.effects] if effects else last.effects


def in_order(items: Iterable[Sortable], cost: float, pace: Pace) -> Generator[None, None, Iterator[Sortable]]:
    """The items sorted. They are taken a few at a time, and may still be changing."""
    runs: list[list[Sortable]] = []
    source = iter(items)
    while run := sorted(islice(source, RUN)):
        runs.append(run)
        if pace.spent(len(run) * cost):
            yield
    return iter(runs[0]) if len(runs) == 1 else heapq.merge(*runs)


def one_by_one(items: Iterable[Item], act: Callable[[Item], object], cost: float, pace: Pace) -> Steps:
    """`act` on each."""
    for item in items:
        act(item)
        if pace.spent(cost):
            yield
