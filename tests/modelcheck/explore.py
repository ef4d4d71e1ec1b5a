"""Explicit-state search, breadth first: the first violation found is one of the shortest.

States are nested tuples of integers. Visited ones are kept as their 64-bit hashes: two states of a search with one hash would hide
one of them, which for ten million states has a chance of one in 400,000.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

State = Any  # nested tuples of ints; the models name their parts
Label = tuple[str, ...]


class Model(Protocol):
    """A protocol with its environment: where it begins, what can happen next, and what must never be."""

    def initial(self) -> State: ...
    def successors(self, state: State) -> Iterable[tuple[Label, State]]: ...
    def violation(self, state: State) -> str | None: ...


@dataclass(frozen=True)
class Outcome:
    """What a search found. `path` is how to get to the violation, in words."""

    states: int
    violation: str | None = None
    path: tuple[str, ...] = ()
    exhausted: bool = True

    def told(self) -> str:
        if self.violation is None:
            return f"{self.states:,} states" + ("" if self.exhausted else ", not exhausted")
        steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(self.path, 1))
        return f"{self.violation}, after {len(self.path)} steps ({self.states:,} states):\n{steps}"


def explore(model: Model, most_states: int = 50_000_000, *, progress: str | None = None) -> Outcome:
    """Search until a violation, or until nothing new is found. `progress` names the search on standard error."""
    start = model.initial()
    parents: dict[int, int] = {hash(start): 0}
    frontier, depth, reported = [start], 0, time.monotonic()
    while frontier:
        found: list[State] = []
        for state in frontier:
            violation = model.violation(state)
            if violation is not None:
                return Outcome(len(parents), violation, tuple(_path(model, parents, hash(state))))
            if len(parents) > most_states:
                return Outcome(len(parents), exhausted=False)
            origin = hash(state)
            for _, successor in model.successors(state):
                key = hash(successor)
                if key not in parents:
                    parents[key] = origin
                    found.append(successor)
        frontier, depth = found, depth + 1
        if progress is not None and time.monotonic() - reported > 5:
            reported = time.monotonic()
            print(f"{progress}: depth {depth}, {len(parents):,} states, {len(frontier):,} open", file=sys.stderr)
    return Outcome(len(parents))


def _path(model: Model, parents: dict[int, int], last: int) -> Iterator[str]:
    """The steps to a state, found again by following the hashes from the beginning."""
    hashes = [last]
    while (before := parents[hashes[-1]]) != 0:
        hashes.append(before)
    state = model.initial()
    for wanted in reversed(hashes[:-1]):
        label, state = next((label, s) for label, s in model.successors(state) if hash(s) == wanted)
        yield " ".join(label)
