"""The collector looks on: it keeps what the page shows, in bounded memory, whatever it is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from services.contracts.codec import encode
from services.contracts.decimals import ONE
from services.contracts.messages import AccountState, Default, Evidence, Order, OrderEvent, Price, Status
from services.contracts.records import Record
from services.contracts.views import BucketView
from services.engine.effects import Cause, Emit
from services.report import equities, orders
from services.report.collector import BEYOND_MS, Collector
from services.report.equities import Equities
from services.report.grid import CAPACITY, Grid
from services.report.market import FOLLOWED, SHOWN
from tests.unit.replay.fakes import order

START_MS = 1_700_000_000_000


class Told:
    """An engine that says what the test wants, and counts how often it is asked."""

    def __init__(self, equity: int | None = None) -> None:
        self.asked = 0
        self.listener: Callable[[tuple[str, str], int], None] | None = None
        self._equity = equity

    def view(self, *_: str) -> BucketView | None:
        return None

    def equity(self, *_: str) -> int | None:
        self.asked += 1
        return self._equity

    def watch_equities(self, listener: Callable[[tuple[str, str], int], None]) -> None:
        self.listener = listener


def price(at_ms: int, mark: str = "100", name: str = "BTC-PERP", offset: int = 0) -> Record:
    message = Price(instrument=name, mark_price=mark, ts_ms=START_MS + at_ms)
    return record("prices", encode(message), at_ms, offset)


def record(topic: str, value: bytes, at_ms: int, offset: int = 0) -> Record:
    return Record(topic=topic, partition=0, offset=offset, timestamp_ms=START_MS + at_ms, key=None, value=value)


def look(collector: Collector, *records: Record) -> None:
    for _ in collector.records_of(records):
        pass


def decided(message: Order) -> Emit:
    return Emit(cause=Cause("prices", 0, 0), topic="liquidation-orders", key="a", partition=0, message=message)


def state(status: Status, previous: Status | None = "closed", account: str = "a-1") -> Emit:
    message = AccountState(
        account=account, bucket="b", client="c", status=status, previous_status=previous, valuation_asset="USDT", equity="1",
        initial_margin="0", maintenance_margin="0", free_margin="0", maintenance_excess="0", ts_ms=START_MS,
    )  # fmt: skip
    return Emit(cause=Cause("prices", 0, 0), topic="account-states", key="a", partition=0, message=message)


def test_the_same_records_have_the_same_content_and_others_have_not() -> None:
    def content(*records: Record) -> str:
        collector = Collector()
        look(collector, *records)
        return str(collector.payload()["recording"]["content"])

    assert content(price(0), price(1)) == content(price(0), price(1))
    assert len({content(price(0)), content(price(1)), content(price(0, "101")), content(price(0), price(1))}) == 4


def test_reference_data_from_long_before_does_not_stretch_the_time() -> None:
    collector = Collector()
    look(
        collector,
        Record(topic="collateral", partition=0, offset=0, timestamp_ms=0, key=None, value=b"{}"),
        price(0),
        price(1_000),
    )
    payload = collector.payload()
    assert payload["recording"]["first_ms"] == START_MS
    assert payload["grid"]["origin_ms"] == START_MS
    assert payload["grid"]["bins"] * payload["grid"]["width_ms"] <= 2_000


def test_a_clients_clock_does_not_drag_the_time_along() -> None:
    collector = Collector()
    look(collector, price(0), record("fills", b"{}", BEYOND_MS + 1), price(1_000))
    assert collector.payload()["recording"]["last_ms"] == START_MS + 1_000


def test_memory_does_not_grow_with_the_length() -> None:
    """Ten times as many records in ten times as long: the page is not larger."""

    def sizes(count: int) -> list[int]:
        collector = Collector()
        look(collector, *(price(number * 997, str(100 + math.sin(number)), offset=number) for number in range(count)))
        payload = collector.payload()
        return [len(each["mark"]["bin"]) for each in payload["market"]["instruments"]] + [
            len(payload["delays"]["feed"]["series"]["bin"])
        ]

    assert all(CAPACITY / 4 < size <= CAPACITY for size in sizes(2_000) + sizes(20_000))


def test_price_ids_are_bounded_but_one_with_an_order_is_kept() -> None:
    collector = Collector()
    look(collector, *(price(number, name=f"P-{number}") for number in range(FOLLOWED + 50)))
    collector.effect(decided(order(instrument=f"P-{FOLLOWED + 10}")))
    market = collector.payload()["market"]
    assert len(market["instruments"]) == SHOWN
    assert market["instruments"][0]["name"] == f"P-{FOLLOWED + 10}"
    assert market["left_out"] == 50 + FOLLOWED + 1 - SHOWN


def test_statuses_keep_the_peak_of_a_bin() -> None:
    collector = Collector()
    look(collector, price(0), price(1_000_000))
    for account in ("a-1", "a-2"):
        collector.effect(state("liquidating", account=account))
    for account in ("a-1", "a-2"):
        collector.effect(state("healthy", "liquidating", account=account))
    series = collector.payload()["rungs"]["series"]
    assert (series["liquidating"]["high"], series["liquidating"]["last"]) == ([2.0], [0.0])
    assert series["healthy"]["last"] == [2.0]


def test_the_table_of_orders_is_capped_but_knows_each_buckets_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "KEPT", 10)
    monkeypatch.setattr(orders, "KEPT_FIRST", 12)
    collector = Collector()
    for attempt in range(20):
        collector.effect(decided(order(attempt=attempt)))
    for number in range(5):
        collector.effect(decided(order(account=f"late-{number}")))
    table = collector.payload()["orders"]
    account = table["columns"].index("account")
    assert table["total"] == 25
    assert [row[account] for row in table["rows"]] == ["a-1"] * 10 + ["late-0", "late-1"]


def test_an_order_that_is_sent_again_is_one_row() -> None:
    collector = Collector()
    for _ in range(3):
        collector.effect(decided(order()))
    table = collector.payload()["orders"]
    assert table["total"] == 1
    assert table["rows"][0][table["columns"].index("sent")] == 3


def test_recorded_orders_are_compared_and_their_delays_measured() -> None:
    """The price at 0 and 100 ms, the recorded order at 150 ms, its answer at 190 ms: 50 ms and 40 ms."""
    collector = Collector()
    sent = order(evidence=Evidence(prices={"BTC-PERP": [0, 7]}), ts_ms=START_MS + 100)
    other = order(attempt=9)
    answer = OrderEvent(
        order_id=sent.order_id, account="a-1", bucket="BTC-PERP", instrument="BTC-PERP", attempt=1, status="filled", ts_ms=START_MS
    )  # fmt: skip
    look(collector, price(0), price(100, offset=7))
    collector.effect(decided(sent))
    look(
        collector,
        record("liquidation-orders", encode(sent), 150), record("liquidation-orders", encode(other), 160, 1),
        record("order-events", encode(answer), 190),
    )  # fmt: skip
    payload = collector.payload()
    assert payload["orders"]["recorded"] == {"total": 2, "same": 1, "missing": 1, "extra": 0}
    assert payload["orders"]["rows"][0][-1][0] == "filled"
    assert payload["delays"]["order"]["figures"]["max"] == 50
    assert payload["delays"]["answer"]["figures"]["max"] == 40
    assert payload["delays"]["decision"]["figures"]["max"] == 0


def test_the_matchings_answers_count_and_not_those_of_the_recording() -> None:
    collector = Collector()
    sent = order()

    def answer(status: Any) -> Record:
        event = OrderEvent(
            order_id=sent.order_id, account="a-1", bucket="BTC-PERP", instrument="BTC-PERP", attempt=1, status=status, ts_ms=0
        )  # fmt: skip
        return record("order-events", encode(event), 0)

    collector.effect(decided(sent))
    collector.answered(answer("expired"))
    look(collector, answer("filled"))
    assert collector.payload()["orders"]["rows"][0][-1][0] == "expired"


def test_accounts_with_orders_or_deficits_push_out_those_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.report.accounts.KEPT", 3)
    collector = Collector()
    for number in range(5):
        collector.effect(state("warning", account=f"w-{number}"))
    lost = Default(
        default_id="d", account="d-1", bucket="b", client="c", asset="USDT", deficit="1", insurance_pool=None, order_id="o", ts_ms=0
    )  # fmt: skip
    collector.effect(Emit(cause=Cause("prices", 0, 0), topic="defaults", key="d", partition=0, message=lost))
    for number in range(3):
        collector.effect(decided(order(account=f"o-{number}")))
    told = collector.payload()["accounts"]
    assert list(told["stories"]) == ["d-1", "o-0", "o-1"]
    assert told["left_out"] == 1
    assert told["stories"]["d-1"]["defaults"][0]["deficit"] == "1"


def test_a_quiet_bucket_is_looked_at_between_reviews() -> None:
    collector, engine = Collector(), Told(equity=40 * ONE)
    collector.attach(engine)
    look(collector, price(0))
    assert engine.listener is not None
    engine.listener(("a-1", "b"), 100 * ONE)
    collector.effect(decided(order(account="a-1", bucket="b")))
    look(collector, *(price(number * 1_000) for number in range(1, 2_000)))
    path = collector.payload()["equities"]["paths"]["a-1|b"]
    assert path["highest"] == 100
    assert path["low"][-1] == 40
    assert 50 < len(path["bin"]) <= engine.asked <= CAPACITY * 4


def test_the_worst_paths_stay_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equities, "FOLLOWED", 50)
    paths = Equities(Grid())
    paths.note(("sunk", "b"), 100 * ONE, 0, 0)
    paths.note(("sunk", "b"), -ONE, 1, 5)
    for number in range(1_000):
        paths.note((f"fine-{number}", "b"), 100 * ONE, 2, 9)
    assert paths.worst()[0] == ("sunk", "b")
    assert len(paths.worst()) <= 51
    (row,) = paths.rows()
    assert (row["account"], row["lowest"], row["lowest_ms"]) == ("sunk", -1, 5)


def test_points_are_bounded_whatever_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equities, "CELLS", 300)
    paths = Equities(Grid())
    for place in range(100):
        for number in range(20):
            paths.note((f"a-{number}", "b"), (100 - number) * ONE, place, place)
    told = paths.paths(paths.worst())
    assert 0 < sum(len(path["bin"]) for path in told.values()) <= 320
