"""The simulation finds what it is there for: each rule of the protocol, taken away, is missed within a few histories."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.simulation.planted import PLANTED
from tests.simulation.world import World

MOST_SEEDS = 150


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    bug = PLANTED[name]
    with ExitStack() as planted:
        for each in bug.plant():
            planted.enter_context(each)
        found = next(
            (seed for seed in range(MOST_SEEDS) if World(seed, only=bug.among).run().violation is not None), None
        )
    assert found is not None, f"not found in {MOST_SEEDS} histories: {name}"


def test_the_same_histories_without_a_bug_are_clean() -> None:
    """Else everything would be found."""
    for among in {bug.among for bug in PLANTED.values() if bug.among is not None}:
        for seed in range(3):
            assert World(seed, only=among).run().violation is None
