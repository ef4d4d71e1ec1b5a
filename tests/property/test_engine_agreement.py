"""Three evaluators, one answer: the certificate index, the full scan, and the independent reference."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.engine.certificates import Certificates
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.reference.reference import Reference
from tests.support.histories import Drive, comparable, make_history

HISTORIES = st.integers(0, 2**32).map(random.Random)  # a seed each: steering every single draw costs more than it finds


def fast() -> Engine:
    return Engine(Settings(), search="certificates", observe=True)


@given(HISTORIES, st.integers(0, 2**16))
@settings(max_examples=60)
def test_the_index_and_the_full_scan_have_equal_effects_in_equal_order(dice: random.Random, answers: int) -> None:
    """No tick inside a box can change a bucket: what the index passes over, the full scan finds nothing in."""
    history = make_history(dice)
    index, scan = fast(), Engine(Settings(), search="full_scan", observe=True)
    assert Drive(index, answers).play(history) == Drive(scan, answers).play(history)
    assert index.state_hash() == scan.state_hash()
    assert (index.lowest_equity, index.negative_buckets) == (scan.lowest_equity, scan.negative_buckets)
    assert list(index.buckets()) == list(scan.buckets())


@given(HISTORIES, st.integers(0, 2**16), st.integers(0, 3))
@settings(max_examples=60)
def test_no_effect_depends_on_which_accounts_rest(dice: random.Random, answers: int, most_awake: int) -> None:
    """Whatever goes to sleep as rows and wakes again, the full scan, in which all are always awake, finds nothing else."""
    history = make_history(dice)
    index = Engine(Settings(), observe=True, most_awake=most_awake)
    scan = Engine(Settings(), search="full_scan", observe=True)
    assert Drive(index, answers).play(history) == Drive(scan, answers).play(history)
    assert index.state_hash() == scan.state_hash()
    assert (index.lowest_equity, index.negative_buckets) == (scan.lowest_equity, scan.negative_buckets)
    assert list(index.buckets()) == list(scan.buckets())
    assert index.totals() == scan.totals()


@given(HISTORIES, st.integers(0, 2**16))
@settings(max_examples=60)
def test_engine_and_reference_agree_to_the_last_digit(dice: random.Random, answers: int) -> None:
    """Effects, views and state hash of two implementations that share nothing but the message types."""
    history = make_history(dice)
    engine, reference = fast(), Reference(Settings())
    ours = list(comparable(Drive(engine, answers).play(history)))
    theirs = list(comparable(Drive(reference, answers).play(history)))
    assert ours == theirs
    assert engine.state_hash() == reference.state_hash()
    by_place = {(view.account, view.bucket): msgspec.to_builtins(view) for view in engine.buckets()}
    assert by_place == {(view.account, view.bucket): msgspec.to_builtins(view) for view in reference.buckets()}


def test_the_index_passes_over_most_buckets() -> None:
    """Were every bucket hot, the agreement above would say nothing about boxes."""
    asked = skipped = 0
    original = Certificates.moved

    def counting(self: Certificates, price_id: str) -> object:
        nonlocal asked, skipped
        found = original(self, price_id)
        holders = self.holder_count(price_id)
        asked += holders
        skipped += holders - len(list(found))
        return found

    Certificates.moved = counting  # type: ignore[method-assign,assignment]  # restored below
    try:
        for seed in range(40):
            Drive(fast(), seed).play(make_history(random.Random(seed)))
    finally:
        Certificates.moved = original  # type: ignore[method-assign]  # as it was
    assert asked > 1000
    assert skipped > asked // 4
