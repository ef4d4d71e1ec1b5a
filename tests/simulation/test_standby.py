"""Histories with a hot standby, which every journal reaches late, torn or not at all: it never does harm, and it does take over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from services.engine.shards import Shards
from services.liquidator.shard import Shard
from services.liquidator.standby import Standby
from services.liquidator.storage import Storage
from tests.simulation.__main__ import run_seed
from tests.simulation.world import World

SEEDS = 40
CHUNK = 20
MOST_SEEDS = 160


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_a_standby_does_no_harm_and_takes_over(pool: ProcessPoolExecutor, first: int) -> None:
    taken_over = 0
    for outcome in pool.map(partial(run_seed, only=None, standby=True), range(first, first + CHUNK)):
        events = "\n".join(outcome.events)
        again = f"python -m tests.simulation --standby --seed {outcome.seed}"
        assert outcome.violation is None, f"{again}: {outcome.violation}\n{events}"
        taken_over += outcome.alarms["taken_over"]
    assert taken_over > CHUNK, "a standby that stands by for ever proves nothing"


def _keeps_nothing(_: Standby, shard: Shard | None, __: object) -> bool:
    return shard is not None and bool(shard.reasons)


async def _stores_only_what_changed_of_late(self: Storage, shard: Shard) -> bool:
    shard.compared = shard.others
    shard.durable = await self._table.stored_offsets(shard.partition)
    return shard.may_store


def _of_late(_: Shards, __: int, ___: object) -> Iterator[dict[str, bytes | None]]:
    """What changed while the table was compared, and nothing else."""
    yield {}


def _steps_back_and_may_store(self: Standby, shard: Shard) -> None:
    STEP_BACK(self, shard)
    shard.keeps_back = False


STEP_BACK = Standby.step_back
PLANTED: dict[str, Callable[[], Any]] = {
    "what the owner left unwritten is dropped": lambda: patch.object(Standby, "keeps", _keeps_nothing),
    "it stores wherever the table is": lambda: patch.object(Storage, "_compare", _stores_only_what_changed_of_late),
    "the table is not compared": lambda: patch.object(Shards, "differing", _of_late),
    "it stores before what it kept back is written": lambda: patch.object(
        Standby, "step_back", _steps_back_and_may_store
    ),
}


# Faults among which it is looked for, where among all it is too rare.
AMONG = {"it stores before what it kept back is written": frozenset({"poison", "crash", "slow_topic"})}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    with PLANTED[name]():
        worlds = (World(seed, standby=True, only=AMONG.get(name)) for seed in range(MOST_SEEDS))
        found = next((seed for seed, world in enumerate(worlds) if world.run().violation is not None), None)
    assert found is not None, f"not found in {MOST_SEEDS} histories: {name}"
