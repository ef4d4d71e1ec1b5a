"""The ladder of each class of accounts: three evaluators agree on it, and each class has its own thresholds."""

from __future__ import annotations

import random

import pytest

from services.contracts.decimals import ONE
from services.engine.engine import Engine
from services.engine.settings import Ladder, Settings
from services.reference.reference import Reference
from tests.support.histories import Drive, comparable, make_history

PERCENT = ONE // 100
LADDERS = {
    "client:cross": Ladder(warning_buffer=150 * PERCENT, margin_call_buffer=80 * PERCENT, rung_hysteresis=10 * PERCENT),
    "client:isolated": Ladder(reduce_only_buffer=60 * PERCENT, rung_hysteresis=0),
    "house:cross": Ladder(warning_buffer=PERCENT, margin_call_buffer=0, reduce_only_buffer=PERCENT),
    "house:isolated": Ladder(warning_buffer=200 * PERCENT, rung_hysteresis=30 * PERCENT),
}


@pytest.mark.parametrize("seed", range(12))
def test_index_full_scan_and_reference_agree_on_the_rungs_of_every_class(seed: int) -> None:
    """The box of a bucket ends where a rung of its own class is entered or left."""
    history, chosen = make_history(random.Random(seed), classes=True), Settings(ladders=LADDERS)
    index, scan = Engine(chosen, observe=True), Engine(chosen, search="full_scan", observe=True)
    effects = Drive(index, seed).play(history)
    assert effects == Drive(scan, seed).play(history)
    assert list(comparable(effects)) == list(comparable(Drive(Reference(chosen), seed).play(history)))
    assert list(index.buckets()) == list(scan.buckets())


def test_the_ladders_change_what_is_told() -> None:
    """Were they ignored by all three alike, the agreement above would still hold."""
    history = make_history(random.Random(1), classes=True)
    plain = list(comparable(Drive(Engine(Settings())).play(history)))
    assert plain != list(comparable(Drive(Engine(Settings(ladders=LADDERS))).play(history)))


def test_what_a_ladder_does_not_say_the_settings_say() -> None:
    settings = Settings(warning_buffer=7, ladders={"house:portfolio": Ladder(margin_call_buffer=3)})
    assert settings.rungs("house", "portfolio").warning_buffer == 7
    assert settings.rungs("house", "portfolio").margin_call_buffer == 3
    assert settings.rungs("client", "portfolio").margin_call_buffer == settings.margin_call_buffer
