"""The census, kept change by change, is what a walk over all buckets finds."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from services.contracts.decimals import ONE, parse
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.support.histories import Drive, make_history
from tests.support.script import Script


@pytest.mark.parametrize("seed", range(12))
def test_after_any_history_it_is_what_a_walk_finds(seed: int) -> None:
    engine = Engine(Settings(), observe=True)
    history = make_history(random.Random(seed))
    Drive(engine, seed if seed % 2 else None).play(history)
    engine.timer(history.events[-1].time_ms + Settings().account_settle_ms)
    check_census(engine)


def test_a_fill_before_the_deposit_that_backs_it_is_no_negative_bucket() -> None:
    script = Script().account().instrument().mark("1000").fill("buy", "1", "1010")
    assert not script.engine.census.negative
    script.transfer("100").wait(1_000)
    assert not script.engine.census.negative
    lost = Script().account().instrument().mark("1000").fill("buy", "1", "1010").wait(1_000)
    assert list(lost.engine.census.negative.values()) == [("USDT", -10 * ONE)]


def test_histories_reach_every_entry() -> None:
    """Were the census always empty, the test above would say nothing."""
    seen: Counter[str] = Counter()
    for seed in range(30):
        engine = Engine(Settings(), observe=True)
        Drive(engine, None if seed % 2 else seed).play(make_history(random.Random(seed)))
        census = engine.census
        seen |= Counter(
            negative=len(census.negative), unordered=len(census.unordered), unanswered=len(census.unanswered),
            unchecked=len(census.unchecked), **census.statuses,
        )  # fmt: skip
    assert not {"negative", "unordered", "unanswered", "healthy", "liquidating"} - set(+seen)


def test_what_cannot_be_decided_on_is_unchecked_until_it_can() -> None:
    script = Script().instrument().transfer("100").fill("buy", "1", "1000", bucket="BTC-USDT")
    assert set(script.engine.census.unchecked.values()) == {"unknown"}
    script.account()
    assert script.engine.census.unchecked == {("a-1", "BTC-USDT"): "incomplete"}
    script.mark("1000")
    assert not script.engine.census.unchecked


def test_under_maintenance_without_an_order_counts_from_the_first_moment() -> None:
    script = Script().long().control("halt", "account", "a-1").under()
    since = script.now
    script.wait(5_000).mark("908")
    assert list(script.engine.census.unordered.values()) == [since]
    script.control("resume", "account", "a-1")
    assert not script.engine.census.unordered
    assert list(script.engine.census.unanswered.values()) == [script.now]


def test_an_order_that_is_sent_again_waits_since_the_first() -> None:
    script = Script().long().under()
    since = script.now
    script.wait(20_000)
    assert "order_unanswered" in script.alarms
    assert list(script.engine.census.unanswered.values()) == [since]
    script.filled()
    assert not script.engine.census.unanswered


def test_a_restored_shard_counts_again_and_a_dropped_one_no_more() -> None:
    source = Engine(Settings(), observe=True)
    Drive(source, None).play(make_history(random.Random(3)))
    rows = [(name, row) for name, row in source.take_dirty(0).items() if row is not None]
    heir = Engine(Settings())
    heir.restore(0, rows)
    assert heir.census.statuses == source.census.statuses
    assert sum(heir.census.statuses.values()) > 0
    heir.drop(0)
    census = heir.census
    assert not census.statuses
    assert [*census.negative, *census.unordered, *census.unanswered, *census.unchecked] == []


def check_census(engine: Engine) -> None:
    views = {(view.account, view.bucket): view for view in engine.buckets()}
    negative = {key: parse(view.equity) for key, view in views.items() if view.equity and parse(view.equity) < 0}
    assert {key: equity for key, (_, equity) in engine.census.negative.items()} == negative
    walked = Counter(view.status for view in views.values() if view.status != "closed")
    assert engine.census.statuses == walked
    assert {k for k, why in engine.census.unchecked.items() if why == "dirty"} == {
        key for key, view in views.items() if view.status == "dirty" and (view.balances or view.positions)
    }
