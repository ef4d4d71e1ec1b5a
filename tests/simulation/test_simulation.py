"""Histories full of faults end well, whatever the seed; and the same seed is the same history."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from tests.simulation.__main__ import run_seed
from tests.simulation.faults import CRASH_POINTS
from tests.simulation.world import World

SEEDS = 200
CHUNK = 20


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_is_lost_nothing_happens_twice_and_all_ends_well(pool: ProcessPoolExecutor, first: int) -> None:
    faults = executed = 0
    for outcome in pool.map(partial(run_seed, only=None, standby=False), range(first, first + CHUNK)):
        events = "\n".join(outcome.events)
        again = f"python -m tests.simulation --seed {outcome.seed}"
        assert outcome.violation is None, f"{again}: {outcome.violation}\n{events}"
        faults += outcome.faults.total()
        executed += outcome.executed
    assert faults > 10 * CHUNK, "histories without faults prove nothing"
    assert executed > 5 * CHUNK, "histories without liquidations prove nothing"


def test_every_crash_point_is_a_place_that_processes_pass() -> None:
    passed: set[str] = set()
    for seed in range(6):
        world = World(seed)
        world.run()
        passed |= set(world.hooks)
    missing = {hook for hooks in CRASH_POINTS.values() for hook in hooks} - passed
    assert not missing


def test_a_seed_is_one_history() -> None:
    first, again, other = World(3).run(), World(3).run(), World(4).run()
    assert (first.digest, first.events) == (again.digest, again.events)
    assert first.digest != other.digest
