"""An event in pieces, however small, has the effects of the same event in one, and a full scan agrees with both."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.records import Record
from services.engine import certificates, finishing, pieces
from services.engine.effects import Effect
from services.engine.engine import Engine
from services.engine.pieces import Piece, Pieces
from services.engine.settings import Settings
from tests.support.crowds import Crowd
from tests.support.histories import Drive, make_history

HISTORIES = st.integers(0, 2**32).map(random.Random)
COSTS = st.sampled_from([1, 61, 130, 700])  # one unit of work; one, two or three reviews; a decision


class InPieces:
    """An engine that is only driven piece by piece, and looked at in between."""

    def __init__(self, piece: int, most_awake: int = 3) -> None:
        self.engine = Engine(Settings(), observe=True, most_awake=most_awake, piece=piece)
        self.stops = 0

    def apply(self, record: Record) -> list[Effect]:
        return self.apply_all([record])

    def apply_all(self, records: Sequence[Record]) -> list[Effect]:
        done, effects = 0, list[Effect]()
        while done < len(records):
            told, last = self._drive(self.engine.applying(records[done:]))
            assert last.records > 0
            done, effects = done + last.records, effects + told
        return effects

    def fold_prices(self, records: Sequence[Record]) -> list[Effect]:
        return self._drive(self.engine.folding_prices(records))[0]

    def timer(self, time_ms: int) -> list[Effect]:
        return self._drive(self.engine.at_time(time_ms))[0]

    def open_gate(self, partition: int) -> list[Effect]:
        return self._drive(self.engine.opening_gate(partition))[0]

    def quietly(self, work: Pieces) -> None:
        assert self._drive(work)[0] == []

    def next_timer_ms(self) -> int | None:
        return self.engine.next_timer_ms()

    def _drive(self, work: Pieces) -> tuple[list[Effect], Piece]:
        effects: list[Effect] = []
        while True:
            try:
                effects += next(work).effects
            except StopIteration as end:
                last: Piece = end.value
                return effects + last.effects, last
            self.stops += 1
            self._look()

    def _look(self) -> None:
        """What only looks may look at any moment, and changes nothing."""
        for account, bucket, _ in islice(self.engine.survey(), 1):
            assert self.stops % 100 or self.engine.view(account, bucket) is not None
        assert self.engine.dirty_count(0) >= 0
        self.engine.coming_rises()


def play(engine: Engine, records: list[Record]) -> list[Effect]:
    return [effect for record in records for effect in engine.apply(record)]


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what is sorted, tried or looked at together is more than a history has."""
    monkeypatch.setattr(pieces, "RUN", 2)
    monkeypatch.setattr(finishing, "TRIED", 1)
    monkeypatch.setattr(certificates, "NOTED", 3)


@given(HISTORIES, st.integers(0, 2**16), COSTS, st.integers(0, 3))
@settings(max_examples=10)
def test_a_history_in_pieces_has_the_effects_of_a_full_scan(
    dice: random.Random, answers: int, cost: int, most_awake: int
) -> None:
    history = make_history(dice)
    stopping, scan = InPieces(cost, most_awake), Engine(Settings(), search="full_scan", observe=True)
    assert Drive(stopping, answers).play(history) == Drive(scan, answers).play(history)
    assert stopping.engine.state_hash() == scan.state_hash()
    assert stopping.engine.lowest_equity == scan.lowest_equity
    assert list(stopping.engine.buckets()) == list(scan.buckets())
    assert stopping.engine.totals() == scan.totals()


@pytest.mark.parametrize("few", [0, 8])
@pytest.mark.parametrize("cost", [1, 61, 130, 2_500])
def test_a_crowd_at_rest_in_pieces(monkeypatch: pytest.MonkeyPatch, cost: int, few: int) -> None:
    """Boxes drawn in bulk, multipliers and collateral that concern everybody, batches; and at last all prices of a fall at once."""
    monkeypatch.setattr(certificates, "FEW", few)
    records = list(Crowd(random.Random(cost), 60).records(200))
    cut = len(records) - 60
    prices = [record for record in records[cut:] if record.topic == "prices"]
    stopping, scan = InPieces(cost), Engine(Settings(), search="full_scan", observe=True)
    assert stopping.apply_all(records[:cut]) == play(scan, records[:cut])
    assert stopping.fold_prices(prices) == scan.fold_prices(prices)
    assert stopping.engine.state_hash() == scan.state_hash()
    assert stopping.engine.census.statuses == scan.census.statuses
    assert stopping.stops > 20


@pytest.mark.parametrize("cost", [1, 130])
def test_a_shard_comes_and_goes_in_pieces(cost: int) -> None:
    """Taken over from rows with its gate shut, decided when it opens, forgotten; each with as many stops as it needs."""
    records = list(Crowd(random.Random(7), 80, most_leverage=30).records(200))
    first = Engine(Settings())
    play(first, records[:-120])
    rows = [(field, row) for field, row in first.take_dirty(0).items() if row is not None]
    market = [
        each for each in records[:-120] if each.topic in ("instruments", "prices", "collateral", "risk-parameters")
    ]
    stopping, whole = InPieces(cost), Engine(Settings(), observe=True, most_awake=3)
    effects: list[list[Effect]] = [[], []]
    for each in (stopping.engine, whole):
        each.shut_gate(0)
    effects[0] += stopping.apply_all(market)
    stopping.quietly(stopping.engine.restoring(0, rows))
    effects[1] += play(whole, market)
    whole.restore(0, rows)
    effects[0] += stopping.apply_all(records[-120:])
    effects[1] += play(whole, records[-120:])
    effects[0] += stopping.open_gate(0)
    effects[1] += whole.open_gate(0)
    stopping.quietly(stopping.engine.forgetting_unconfirmed(0))
    whole.forget_unconfirmed(0)
    effects[0] += stopping.timer(10**13)
    effects[1] += whole.timer(10**13)
    assert effects[0] == effects[1]
    assert len(effects[0]) > 50
    assert stopping.engine.state_hash() == whole.state_hash()
    stopping.quietly(stopping.engine.dropping(0))
    assert list(stopping.engine.places()) == []
    assert stopping.engine.totals() == {} or not any(stopping.engine.totals().values())
