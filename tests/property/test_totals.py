"""What each segregation class holds: kept with every change, equal to what adding up all balances gives, whatever happened."""

from __future__ import annotations

import random
from collections import defaultdict

import orjson
import pytest

from services.contracts.decimals import parse
from services.contracts.records import Record
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.support.histories import START_MS, Drive, make_history


def added_up(engine: Engine, classes: dict[str, str]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = defaultdict(int)
    for view in engine.buckets():
        for asset, amount in view.balances.items():
            found[classes.get(view.account, "client"), asset] += parse(amount)
    return {key: amount for key, amount in found.items() if amount}


@pytest.mark.parametrize("seed", range(8))
def test_the_totals_are_the_sum_of_the_balances_after_every_record(seed: int) -> None:
    engine, classes = Engine(Settings()), {}
    drive = Drive(engine, seed)
    for event in make_history(random.Random(seed), classes=True).events:
        if event.topic == "accounts":
            classes[event.value["account"]] = event.value["segregation"] or "client"
        drive.feed(event.topic, event.time_ms, orjson.dumps(event.value))
        assert engine.totals() == added_up(engine, classes)


@pytest.mark.parametrize("seed", range(8))
def test_a_shard_that_moves_takes_its_totals_along(seed: int) -> None:
    """From rows in any order; dropped, nothing of it is left."""
    engine, heir = Engine(Settings()), Engine(Settings())
    Drive(engine, seed).play(make_history(random.Random(seed), classes=True))
    rows = [(field, row) for field, row in engine.take_dirty(0).items() if row is not None]
    random.Random(seed).shuffle(rows)
    heir.restore(0, rows)
    assert heir.totals() == engine.totals()
    assert heir.totals()
    heir.drop(0)
    assert heir.totals() == {}


def test_an_account_that_becomes_the_houses_takes_its_funds_along() -> None:
    """The deposit is read before the record that says whose it is."""
    engine = Engine(Settings())
    feed(engine, "transfers", transfer_id="t", account="a", asset="USDT", amount="5", reason="deposit")
    assert engine.totals() == {("client", "USDT"): parse("5")}
    feed(engine, "accounts", account="a", margin_mode="cross", valuation_asset="USDT", segregation="house")
    assert engine.totals() == {("house", "USDT"): parse("5")}


def feed(engine: Engine, topic: str, **value: str) -> None:
    engine.apply(
        Record(
            topic=topic, partition=0, offset=0, timestamp_ms=START_MS, key=None, value=orjson.dumps({"ts_ms": START_MS, **value})
        )
    )  # fmt: skip
