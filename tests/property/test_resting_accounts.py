"""Crowds of plain accounts that rest, wake and are drawn in bulk: nothing that is decided may depend on it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.records import Record
from services.engine import certificates
from services.engine.bounds import Sheet
from services.engine.bulk_boxes import BulkBoxes, Drawn
from services.engine.certificates import Certificates
from services.engine.effects import Effect
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.engine.terms import Terms
from tests.support.crowds import Crowd, glanced


def play(engine: Engine, records: list[Record]) -> list[Effect]:
    return [effect for record in records for effect in engine.apply(record)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """Every drawing in bulk; even a single account at rest is drawn so before it is woken."""
    found: list[Drawn] = []
    original = BulkBoxes.draw

    def noted(self: BulkBoxes, *arguments: Any) -> Drawn:
        found.append(original(self, *arguments))
        return found[-1]

    monkeypatch.setattr(BulkBoxes, "draw", noted)
    monkeypatch.setattr(certificates, "FEW", 0)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_crowd_at_rest_has_the_effects_of_one_that_is_awake(drawn: list[Drawn], seed: int) -> None:
    dice = random.Random(seed)
    records = list(Crowd(dice, 120).records(300))
    resting = Engine(Settings(), observe=True, most_awake=seed % 3)
    scan = Engine(Settings(), search="full_scan", observe=True)
    assert play(resting, records) == play(scan, records)
    assert resting.state_hash() == scan.state_hash()
    assert list(resting.buckets()) == list(scan.buckets())
    assert resting.census.statuses == scan.census.statuses
    assert sum(len(each.accepted) for each in drawn) > 100, "else bulk boxes were hardly tried"


@pytest.mark.parametrize("seed", range(4))
def test_restored_rows_rest_at_once_and_decide_alike(seed: int) -> None:
    """A shard that comes back as rows, most of which never become objects, goes on as one that was never away."""
    dice = random.Random(seed)
    records = list(Crowd(dice, 80, most_leverage=8, trading=0.03).records(200))
    cut = len(records) - 120
    whole = Engine(Settings())
    play(whole, records[:cut])
    rows = whole.take_dirty(0)
    again = Engine(Settings())
    play(
        again,
        [
            record
            for record in records[:cut]
            if record.topic in ("instruments", "prices", "collateral", "risk-parameters")
        ],
    )
    again.restore(0, [(field, row) for field, row in rows.items() if row is not None])
    assert again.state_hash() == whole.state_hash()
    assert play(again, records[cut:]) == play(whole, records[cut:])
    assert again.state_hash() == whole.state_hash()
    assert again.totals() == whole.totals()


@given(st.integers(0, 2**32))
@settings(max_examples=15)
def test_what_is_drawn_in_bulk_the_bounds_of_one_bucket_allow(seed: int) -> None:
    """Every accepted box is judged again as `Certificates` judges that of a bucket alone."""
    dice = random.Random(seed)
    engine = Engine(Settings())
    play(engine, list(Crowd(dice, 30).records(30)))
    context, search = engine._context, engine._search
    assert isinstance(search, Certificates)
    columns = context.columnist.columns(glanced(context.accounts.awake.values()))
    found = BulkBoxes(context, None, Terms(context.market)).draw(range(columns.accounts), columns)
    boxes: dict[int, dict[str, tuple[float, float]]] = {}
    for edges in found.edges:
        for number, low, high in zip(edges.numbers.tolist(), edges.lows.tolist(), edges.highs.tolist(), strict=True):
            assert low < context.market.marks.get(edges.price_id) / 1e18 < high
            boxes.setdefault(number, {})[edges.price_id] = low, high
    assert len(found.accepted) > 5
    for number, account in enumerate(context.accounts.awake.values()):
        for bucket in account.buckets.values() if number in found.accepted else ():
            bounds = Sheet(account, bucket, context.market).over(boxes.get(number, {}))
            assert search._holds(bucket, context.ladders.rungs_of(account), bounds, 0.0)


def test_a_watched_engine_notes_the_equity_of_every_bucket_that_is_restored() -> None:
    records = list(Crowd(random.Random(7), 30, most_leverage=8).records(30))
    whole = Engine(Settings())
    play(whole, records)
    rows = [(field, row) for field, row in whole.take_dirty(0).items() if row is not None]
    lowest = []
    for search in ("certificates", "full_scan"):
        engine = Engine(Settings(), search=search, observe=True, most_awake=3)  # type: ignore[arg-type]  # one of both
        play(engine, [record for record in records if record.topic in ("instruments", "prices")])
        engine.restore(0, rows)
        engine.timer(10_000_000)
        lowest.append((engine.lowest_equity, engine.lowest_equity_bucket))
    assert lowest[0] == lowest[1]
    assert lowest[0][0] is not None


def test_a_shard_that_is_given_up_takes_its_accounts_along_wherever_they_are() -> None:
    dice = random.Random(5)
    records = list(Crowd(dice, 40, most_leverage=8).records(60))
    engine, alone = Engine(Settings(), most_awake=6), Engine(Settings(), most_awake=6)
    play(engine, records)
    others = [(f"z{field}", row) for field, row in engine.take_dirty(0).items() if row is not None]
    play(alone, records)
    engine.restore(1, others)
    assert len(list(engine.places())) == 2 * len(list(alone.places()))
    engine.drop(1)
    assert engine.state_hash() == alone.state_hash()
    assert (engine.totals(), engine.census.statuses) == (alone.totals(), alone.census.statuses)
    engine.restore(1, others)  # numbers are given again
    engine.drop(0)
    assert {account for account, _ in engine.places()} == {field.partition("|")[0] for field, _ in others}
