"""The gap guard in three evaluators: index, full scan and reference order the same, and it does strike in these histories."""

from __future__ import annotations

import random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.decimals import ONE
from services.contracts.messages import Order
from services.engine.effects import Emit
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.reference.reference import Reference
from tests.support.histories import Drive, comparable, make_history

SEEDS = st.integers(0, 2**32)  # of a history and of its answers; shrinking one says nothing, so no steered dice
GUARDS = st.sampled_from([("cross", 3), ("all", 3), ("all", 30), ("cross", 200)])
Guard = tuple[Literal["cross", "all"], int]


def guarded(guard: Guard) -> Settings:
    """z in sigmas; a market whose sigma the history does not tell moves by 0.1 % in a square root of a second."""
    return Settings(gap_guard=guard[0], gap_z=guard[1] * ONE, gap_reaction_ms=2_500, default_sigma=ONE // 1000)


@given(SEEDS, GUARDS)
@settings(max_examples=40)
def test_no_guarded_bucket_hides_in_a_box(seed: int, guard: Guard) -> None:
    """The certificate index holds every threshold: with the guard it still orders what the full scan orders."""
    history = make_history(random.Random(seed))
    index, scan = (Engine(guarded(guard), search=search, observe=True) for search in ("certificates", "full_scan"))
    assert Drive(index, seed).play(history) == Drive(scan, seed).play(history)
    assert index.state_hash() == scan.state_hash()
    assert (index.lowest_equity, index.negative_buckets) == (scan.lowest_equity, scan.negative_buckets)


@given(SEEDS, GUARDS)
@settings(max_examples=40)
def test_engine_and_reference_agree_on_the_guard(seed: int, guard: Guard) -> None:
    history = make_history(random.Random(seed))
    engine, reference = Engine(guarded(guard)), Reference(guarded(guard))
    ours = list(comparable(Drive(engine, seed).play(history)))
    theirs = list(comparable(Drive(reference, seed).play(history)))
    assert ours == theirs
    assert engine.state_hash() == reference.state_hash()


@pytest.mark.parametrize("mode", ["cross", "all"])
def test_the_guard_strikes_in_such_histories(mode: Literal["cross", "all"]) -> None:
    """Were no order the guard's, the agreements above would say nothing about it."""
    struck = 0
    for seed in range(40):
        effects = Drive(Engine(guarded((mode, 30))), seed).play(make_history(random.Random(seed)))
        orders = [each.message for each in effects if isinstance(each, Emit) and isinstance(each.message, Order)]
        struck += sum(order.trigger == "gap_guard" for order in orders)
    assert struck > 5
