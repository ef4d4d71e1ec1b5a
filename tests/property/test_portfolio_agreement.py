"""Portfolio accounts and options outside of them: the engine, its full scan and the independent reference decide alike."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from services.adapters.presets import load_presets
from services.contracts.messages import Order
from services.engine.effects import Emit
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.reference.portfolio import PortfolioModel
from services.reference.reference import Reference
from services.replay.lockstep import agree
from services.replay.specification import presets_of
from tests.support.histories import Drive, comparable, make_history

PRESETS = load_presets()


# 85: the corner of a doubtful price was lost where an option had no premium. 133: an expired order was reported filled later.
@pytest.mark.parametrize("seed", [*range(25), 85, 133])
def test_three_evaluators_agree_on_options_and_portfolios(seed: int) -> None:
    """Effects, views and state hash; amounts to the last digit of 1e-8, greeks to the noise of doubles."""
    history = make_history(random.Random(seed), options=True)
    engine, scan = (
        Engine(Settings(), PRESETS, observe=True),
        Engine(Settings(), PRESETS, search="full_scan", observe=True),
    )
    reference = Reference(Settings(), portfolio=PortfolioModel(presets_of(PRESETS)))
    effects = Drive(engine, seed).play(history)
    assert effects == Drive(scan, seed).play(history)
    assert list(comparable(effects)) == list(comparable(Drive(reference, seed).play(history)))
    assert engine.state_hash() == reference.state_hash()
    ours, theirs = list(engine.buckets()), list(reference.buckets())
    assert [(view.account, view.bucket) for view in ours] == [(view.account, view.bucket) for view in theirs]
    for fast, slow in zip(ours, theirs, strict=True):
        assert agree(fast, slow), (fast, slow)


def test_the_histories_hold_what_they_are_meant_to_try() -> None:
    """Orders in portfolio accounts for perpetuals and options, and options that are closed outside portfolio mode."""
    found: Counter[tuple[str, bool]] = Counter()
    for seed in range(25):
        engine = Engine(Settings(), PRESETS)
        effects = Drive(engine, seed).play(make_history(random.Random(seed), options=True))
        modes = {view.account: view.margin_mode for view in engine.buckets()}
        for effect in effects:
            if isinstance(effect, Emit) and isinstance(effect.message, Order):
                found[modes[effect.message.account], effect.message.instrument.startswith("O")] += 1
    assert found["portfolio", True]
    assert found["portfolio", False]
    assert found["cross", True]
