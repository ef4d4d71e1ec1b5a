"""What is wrong with a recording is found, told with its worst place, and nothing else is."""

from __future__ import annotations

from typing import Any

from services.contracts.messages import Instrument, MarginTier, Price, Transfer
from services.contracts.records import Record
from services.report.grid import Grid
from services.report.market import Timeline
from services.report.quality import JUMP, LATE_MS, SHOWN_EACH, STUCK_MS, STUCK_TICKS, Quality


def quality(**spec: Any) -> Quality:
    market = Timeline(Grid())
    market.listed(
        Instrument(
            instrument="A",
            kind="perpetual",
            contract="linear",
            underlying="A",
            settlement_asset="USDT",
            margin_tiers=[MarginTier(notional_floor="0", maintenance_margin_rate="0.01")],
            **spec,
        )
    )
    return Quality(market)


def tick(to: Quality, offset: int, time_ms: int, mark: str = "100", *, ts_ms: int | None = None, **more: Any) -> None:
    price = Price(instrument="A", mark_price=mark, ts_ms=time_ms if ts_ms is None else ts_ms, **more)
    to.record(at("prices", offset, time_ms), price)


def at(topic: str, offset: int, time_ms: int, partition: int = 0) -> Record:
    return Record(topic=topic, partition=partition, offset=offset, timestamp_ms=time_ms, key=None, value=b"{}")


def found(of: Quality) -> dict[str, dict[str, Any]]:
    return {finding["kind"]: finding for finding in of.payload()["findings"]}


def test_a_clean_recording_has_no_finding() -> None:
    clean = quality()
    for number in range(50):
        tick(clean, number, number * 1000, str(100 + number % 3), sequence=number)
    assert found(clean) == {}
    (log,) = clean.payload()["logs"]
    assert (log["records"], log["first_offset"], log["last_offset"]) == (50, 0, 49)


def test_missing_and_repeated_offsets_and_time_that_runs_back() -> None:
    bad = quality()
    for offset, time_ms in ((4, 100), (5, 110), (9, 120), (7, 90)):
        bad.record(at("fills", offset, time_ms), None)
    kinds = found(bad)
    assert kinds["offset gap"]["worst"][0] == {"where": "fills[0]", "count": 1, "worst": 3, "at": ["fills", 0, 9, 120]}
    assert kinds["offset repeated"]["worst"][0]["worst"] == 3
    assert kinds["time runs back"]["worst"][0]["worst"] == 30


def test_partitions_and_outputs_are_not_mixed_up() -> None:
    fine = quality()
    fine.record(at("fills", 7, 0, partition=0), None)
    fine.record(at("fills", 0, 0, partition=1), None)
    fine.record(at("account-states", 3, 0), None)
    fine.record(at("account-states", 9, 0), None)  # compacted: gaps are meant
    assert found(fine) == {}


def test_late_future_and_disordered_prices() -> None:
    bad = quality()
    tick(bad, 0, 10_000, ts_ms=10_000 - LATE_MS - 1, sequence=5, source="x")
    tick(bad, 1, 11_000, ts_ms=12_000, sequence=3, source="x")
    kinds = found(bad)
    assert kinds["late price"]["worst"][0]["worst"] == LATE_MS + 1
    assert kinds["price from the future"]["worst"][0]["worst"] == 1_000
    assert kinds["out of order"]["worst"][0]["where"] == "A"


def test_another_source_is_ordered_by_time_and_not_by_its_sequence() -> None:
    fine = quality()
    tick(fine, 0, 1_000, sequence=500, source="x")
    tick(fine, 1, 2_000, sequence=1, source="y")
    assert found(fine) == {}


def test_silence_is_measured_by_the_instruments_own_age() -> None:
    quiet = quality(max_price_age_ms=5_000)
    tick(quiet, 0, 0)
    tick(quiet, 1, 5_000)
    assert found(quiet) == {}
    tick(quiet, 2, 10_001)
    assert found(quiet)["silence"]["worst"][0] == {
        "where": "A",
        "count": 1,
        "worst": 5_001,
        "at": ["prices", 0, 2, 10_001],
    }


def test_a_jump_is_measured_by_the_instruments_own_limit() -> None:
    for spec, limit in (({}, JUMP), ({"max_price_move": "0.5"}, 0.5)):
        calm, wild = quality(**spec), quality(**spec)
        for of, move in ((calm, limit * 0.99), (wild, limit * 1.01)):
            tick(of, 0, 0, "100")
            tick(of, 1, 1_000, str(100 * (1 + move))[:12])
        assert "jump" not in found(calm)
        assert found(wild)["jump"]["count"] == 1


def test_a_stuck_mark_is_one_finding_that_grows() -> None:
    stuck = quality()
    for number in range(3 * STUCK_TICKS):
        tick(stuck, number, number * 2 * STUCK_MS // STUCK_TICKS)
    kind = found(stuck)["stuck mark"]
    assert kind["count"] == 1
    assert kind["worst"][0]["worst"] == (3 * STUCK_TICKS - 1) * 2 * STUCK_MS // STUCK_TICKS


def test_a_fact_told_twice() -> None:
    twice = quality()
    transfer = Transfer(transfer_id="t", account="a", asset="USDT", amount="1", reason="deposit", ts_ms=0)
    twice.record(at("transfers", 0, 0), transfer)
    twice.record(at("transfers", 1, 0), transfer)
    assert found(twice)["id repeated"]["count"] == 1


def test_many_places_are_counted_and_the_worst_are_told() -> None:
    many = quality()
    for partition in range(100):
        many.record(at("fills", 0, 0, partition), None)
        many.record(at("fills", 2 + partition, 0, partition), None)
    gap = found(many)["offset gap"]
    assert (gap["places"], len(gap["worst"])) == (100, SHOWN_EACH)
    assert gap["worst"][0]["where"] == "fills[99]"
