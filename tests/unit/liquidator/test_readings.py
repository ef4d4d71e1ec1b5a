"""The gauges say what the engine and the worker hold, and cost no more than their share of the time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from services.adapters.broadcast import BroadcastReader
from services.adapters.metric_catalogue import BY_NAME
from services.adapters.metrics import Reading
from services.engine.settings import Settings
from services.liquidator.readings import WALK_SHARE, Readings, Sparing, memory_limit_bytes
from tests.support.script import Script
from tests.unit.liquidator.fakes import World

SETTINGS = Settings(account_partitions=4)


class Broadcast:
    """Stands for the reader: only its lag is asked."""

    def __init__(self, **behind: int) -> None:
        self.behind = behind

    def lag(self) -> dict[str, int]:
        return self.behind


def read(script: Script, world: World | None = None, **behind: int) -> dict[str, dict[Any, float]]:
    world = world or World()
    world.clock.jump((script.now - world.clock.now_ms()) / 1000)
    readings = Readings(
        world.worker, script.engine, settings=SETTINGS, broadcast=cast("BroadcastReader", Broadcast(**behind)),
        outbox=world.outbox, clock=world.clock, memory_limit_bytes=1 << 30,
    )  # fmt: skip
    return {reading.name: dict(reading.values) for reading in readings()}


def test_all_are_in_the_catalogue_with_as_many_labels() -> None:
    found = read(Script().under(), prices=0)
    for name, values in found.items():
        assert all(len(key) == len(BY_NAME[name].labels) for key in values)


def test_a_bucket_below_zero_is_told_first_and_by_how_much() -> None:
    script = Script().long().control("halt", "account", "a-1").mark("890")
    found = read(script)
    assert next(iter(found)) == "negative_buckets"
    assert found["negative_buckets"] == {(): 1}
    assert found["negative_equity"] == {("USDT",): 10}
    assert found["unordered_buckets"] == {(): 1}
    assert found["halts"] == {("all",): 0, ("instrument",): 0, ("account",): 1}


def test_how_long_a_bucket_waits_for_its_order() -> None:
    script = Script().long().control("halt", "account", "a-1").under().wait(7_000)
    assert read(script)["unordered_oldest_seconds"] == {(): 7}


def test_an_order_is_unanswered_once_its_validity_is_over_by_any_clock() -> None:
    script = Script().under()
    patience_ms = SETTINGS.order_ttl_ms + 2 * SETTINGS.clock_skew_ms
    assert read(script.wait(patience_ms))["unanswered_buckets"] == {(): 0}
    found = read(script.wait(1))
    assert found["unanswered_buckets"] == {(): 1}
    assert found["unanswered_oldest_seconds"] == {(): (patience_ms + 1) / 1000}


def test_marks_by_grade_and_who_depends_on_the_doubtful() -> None:
    script = Script().long(max_price_age_ms=2_000).instrument("ETH-PERP").mark("500", "ETH-PERP").mark("1000")
    assert read(script)["doubtful_mark_buckets"] == {}
    found = read(script.wait(2_001))
    assert found["mark_age_seconds"] == {("BTC-PERP",): 2.001}
    assert found["mark_grade"] == {("BTC-PERP", "stale"): 1}
    assert found["marks"] == {("valid",): 0, ("stale",): 1, ("unconfirmed",): 0, ("halted",): 0}
    assert found["doubtful_mark_buckets"] == {("BTC-PERP", "stale"): 1}


def test_series_by_instrument_are_bounded_and_counts_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.liquidator.readings.MOST_INSTRUMENTS", 2)
    script = Script().account("cross").transfer("100000")
    for name in ("A-PERP", "B-PERP", "C-PERP"):
        script.instrument(name, max_price_age_ms=1_000).mark("10", name).fill("buy", "1", "10", instrument=name)
    found = read(script.wait(1_001))
    assert list(found["mark_age_seconds"]) == [("A-PERP",), ("B-PERP",)]
    assert len(found["mark_grade"]) == 2
    assert len(found["doubtful_mark_buckets"]) == 2
    assert found["marks"]["stale",] == 3


def test_unread_broadcast_records_have_an_age() -> None:
    world, script = World(), Script().under()
    world.worker.newest_ms = {"prices": script.now - 3_000, "controls": script.now - 9_000}
    found = read(script, world, prices=5, controls=0, instruments=2)
    assert found["broadcast_lag_records"] == {("prices",): 5, ("controls",): 0, ("instruments",): 2}
    assert found["broadcast_lag_seconds"] == {("prices",): 3, ("controls",): 0, ("instruments",): 0}
    assert found["price_silence_seconds"] == {(): 3}


async def test_a_pass_is_completed_while_the_worker_ticks() -> None:
    world, script = await World().live(0), Script().under()
    assert read(script, world)["pass_age_seconds"][()] >= 1
    await world.clock.advance(0.2)
    assert read(script, world)["pass_age_seconds"][()] < 0.2


def test_a_long_walk_is_not_repeated_before_its_share_of_time_is_over() -> None:
    now, walks = 0.0, 0

    def walk() -> Sequence[Reading]:
        nonlocal now, walks
        now, walks = now + 0.5, walks + 1
        return [Reading("marks", {("valid",): walks})]

    sparing = Sparing(walk, lambda: now)
    assert sparing() is sparing()
    now = 0.5 + 0.5 * WALK_SHARE - 0.001
    assert sparing()[0].values == {("valid",): 1}
    now += 0.002
    assert sparing()[0].values == {("valid",): 2}


@pytest.mark.parametrize(
    ("text", "limit"), [("1073741824\n", 1 << 30), ("max\n", None), ("9223372036854771712\n", None)]
)
def test_the_limit_of_memory_is_the_control_groups(tmp_path: Path, text: str, limit: int | None) -> None:
    file = tmp_path / "memory.max"
    file.write_text(text)
    assert memory_limit_bytes([tmp_path / "absent", file]) == limit
