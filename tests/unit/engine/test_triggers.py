"""The columns of edges against a list that is searched through: none is missed, and what was redrawn is told no more."""

from __future__ import annotations

import random
from array import array

import numpy as np
import pytest

from services.engine import triggers
from services.engine.triggers import Noted, Triggers

ENTRIES = 60


def current(found: Triggers, parts: list[Noted]) -> set[int]:
    """Of what was met, what still holds."""
    return {number for part in parts for number in found.current(part)}


@pytest.mark.parametrize("seed", range(12))
def test_what_is_reached_is_what_a_search_finds(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """At prices of every size, also those that are an edge themselves; drawn one by one and many at once."""
    dice = random.Random(seed)
    monkeypatch.setattr(triggers, "HANDFUL", dice.choice((0, 64)))
    monkeypatch.setattr(triggers, "HEAP", dice.choice((2, 10, 1_024)))
    monkeypatch.setattr(triggers, "LONGEST", dice.choice((16, 65_536)))
    versions = array("I", [0] * ENTRIES)
    found, boxes = Triggers(versions), dict[int, list[tuple[float, float]]]()
    price = 10.0 ** dice.choice((-12, -3, 3, 12))
    for _ in range(400):
        edges = [edge for held in boxes.values() for box in held for edge in box]
        price = dice.choice(edges) if edges and dice.random() < 0.2 else price * (1 + dice.gauss(0, 0.003))
        low, high = found.between("X")
        must = {number for number, held in boxes.items() if any(not a < price < b for a, b in held)}
        may = {
            number
            for number, held in boxes.items()
            if any(not a * (1 + 2e-7) < price < b * (1 - 2e-7) for a, b in held)
        }
        told = current(found, found.reached("X", price))
        assert must <= told <= may
        assert not (low < price < high and told), "nothing is reached between"
        for number in told | {dice.randrange(ENTRIES)}:
            versions[number] += 1
            boxes.pop(number, None)
        fresh = [number for number in range(ENTRIES) if number not in boxes and dice.random() < 0.3]
        for number in fresh:
            boxes[number] = [
                (price * (1 - dice.uniform(1e-6, 0.02)), price * (1 + dice.uniform(1e-6, 0.02)))
                for _ in range(dice.choice((1, 1, 2)))
            ]
        drawn = [(number, *box) for number in fresh for box in boxes[number]]
        if drawn:
            numbers, lows, highs = zip(*drawn, strict=True)
            found.add_many("X", np.array(lows), np.array(highs), np.array(numbers, dtype=np.int32))
        assert current(found, found.holders("X")) == boxes.keys()
        assert found.count("X") == sum(map(len, boxes.values()))


def test_entries_that_no_longer_hold_take_no_room() -> None:
    """Two accounts rest and wake thirty thousand times among a thousand that never do."""
    versions = array("I", [0] * 1_002)
    found = Triggers(versions)
    lows, highs, numbers = np.full(1_000, 50.0), np.full(1_000, 200.0), np.arange(1_000, dtype=np.int32)
    found.add_many("X", lows, highs, numbers)
    for turn in range(30_000):
        number = 1_000 + turn % 2
        versions[number] += 1
        found.add("X", 90.0, 110.0, number)
    side = found._above["X"]
    assert sum(len(run.edges) for run in side._runs) + len(side._heap) < 2 * triggers.HEAP + 2_000
    assert found.count("X") == 1_002
