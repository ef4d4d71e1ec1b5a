"""The arithmetic of the summary line, and the lines of effects and buckets: keys in their order, literally."""

from __future__ import annotations

import pytest
from msgspec import structs

from services.contracts.messages import AccountState, Default, Evidence
from services.contracts.refusals import Reason, Refusal
from services.contracts.views import BucketView, PositionView
from services.engine.effects import Alarm, AlarmName, Cause, DeadLetter
from services.replay.lines import bucket_line, effect_line
from services.replay.lockstep import Differs, Lockstep
from services.replay.summary import Tally, measured
from tests.unit.replay.fakes import FakeEngine, emit, of, order, price, record

CAUSE = Cause("prices", 0, 5)


def view(account: str, bucket: str, *positions: PositionView) -> BucketView:
    return BucketView(
        account=account, bucket=bucket, client="c-1", margin_mode="cross", valuation_asset="USDT", status="healthy",
        equity="1", initial_margin="0", maintenance_margin="0", free_margin="1", maintenance_excess="1", liquidatable=False,
        balances={"USDT": "1"}, locked={}, positions=list(positions), greeks=None, worst_scenario=None,
    )  # fmt: skip


def position(name: str, side: str = "net") -> PositionView:
    return PositionView(
        instrument=name, quantity="-1", entry_price="1", mark_price="1", notional="1", unrealised_pnl="0",
        initial_margin="0", maintenance_margin="0", liquidation_price=None, bankruptcy_price=None, position_side=side,
    )  # fmt: skip


def default(default_id: str, deficit: str, asset: str = "USDT") -> Default:
    return Default(
        default_id=default_id, account="a-1", bucket="b", client="c-1", asset=asset, deficit=deficit, insurance_pool=None,
        order_id="o-1", ts_ms=0,
    )  # fmt: skip


def letter() -> DeadLetter:
    bad = record("fills", b"\xffx", offset=3, time_ms=9, partition=1)
    return DeadLetter(cause=Cause("fills", 1, 3), record=bad, refusal=Refusal(Reason.INVALID_JSON, "not JSON"))


def test_the_summary_counts_each_thing_once() -> None:
    tally, engine = Tally(), FakeEngine()
    engine.views = [view("a-1", "x"), view("a-1", "y"), view("a-2", "x")]
    engine.lowest_equity, engine.lowest_equity_bucket = "-2.5", "a-1|x"
    engine.negative_buckets = {("a-1", "x")}
    engine.hash = "ab"
    tally.records = 4
    orders = [order(), order(), order(attempt=2), order(account="a-2")]
    defaults = [default("d-1", "1.5"), default("d-1", "1.5"), default("d-2", "2.5"), default("d-3", "0.1", "BTC")]
    for effect in [*map(emit, orders), *(emit(d, "defaults") for d in defaults), letter(), letter()]:
        tally.count(effect)
    line = tally.summary(engine, 0.5).line()
    assert list(line.items()) == [
        ("effect", "summary"),
        ("records", 4),
        ("accounts", 2),
        ("buckets", 3),
        ("orders", 3),
        ("liquidated_buckets", 2),
        ("negative_buckets", 1),
        ("lowest_equity", "-2.5"),
        ("lowest_equity_bucket", "a-1|x"),
        ("deficit", {"BTC": "0.1", "USDT": "4"}),
        ("dead_letters", 2),
        ("state_hash", "ab"),
        ("elapsed_s", "0.5"),
        ("records_per_s", "8"),
    ]


def test_a_variant_is_told_last() -> None:
    line = Tally().summary(FakeEngine(), 1.0).line({"engine.max_attempts": "2"})
    assert list(line)[-1] == "variant"
    assert line["variant"] == {"engine.max_attempts": "2"}


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (0.0, 3, "0"),
        (0.5, 3, "0.5"),
        (1e-9, 3, "0"),
        (12.0004, 3, "12"),
        (1e16, 0, "10000000000000000"),
        (100.4, 0, "100"),
    ],
)
def test_measured_figures_are_plain(value: float, places: int, text: str) -> None:
    assert measured(value, places=places) == text


def test_an_order_is_a_line_of_its_own_fields() -> None:
    line = effect_line(emit(order(), cause=CAUSE))
    assert list(line) == [
        "effect", "cause", "type", "order_id", "epoch", "account", "client", "bucket", "instrument", "position_side", "side",
        "quantity", "order_type", "time_in_force", "limit_price", "reduce_only", "cancel_resting", "block_opening",
        "valid_until_ms", "stage", "trigger", "attempt", "position_quantity", "mark_price", "liquidation_price",
        "bankruptcy_price", "equity", "maintenance_margin", "projected_equity", "projected_maintenance_margin", "evidence",
        "ts_ms",
    ]  # fmt: skip
    assert (line["effect"], line["cause"]) == ("liquidation-order", ["prices", 0, 5])


def test_other_effects_are_named_after_their_message() -> None:
    state = AccountState(
        account="a-1", bucket="b", client="c-1", status="healthy", previous_status=None, valuation_asset="USDT", equity=None,
        initial_margin=None, maintenance_margin=None, free_margin=None, maintenance_excess=None, ts_ms=0,
    )  # fmt: skip
    assert effect_line(emit(state, "account-states"))["effect"] == "account-state"
    assert effect_line(emit(default("d-1", "1"), "defaults"))["effect"] == "default"


def test_a_dead_letter_carries_its_refusal_and_the_record() -> None:
    assert list(effect_line(letter()).items()) == [
        ("effect", "dead-letter"),
        ("cause", ["fills", 1, 3]),
        ("reason", "invalid_json"),
        ("detail", "not JSON"),
        ("topic", "fills"),
        ("partition", 1),
        ("offset", 3),
        ("timestamp_ms", 9),
        ("key", None),
        ("value", "\\xffx"),
    ]


def test_an_alarm_is_a_line() -> None:
    alarm = Alarm(
        cause=CAUSE, name=AlarmName.SEQUENCE_GAP, account="a-1", bucket="", instrument="", detail="5 to 9", ts_ms=7
    )
    assert list(effect_line(alarm).items()) == [
        ("effect", "alarm"),
        ("cause", ["prices", 0, 5]),
        ("name", "sequence_gap"),
        ("account", "a-1"),
        ("bucket", ""),
        ("instrument", ""),
        ("detail", "5 to 9"),
        ("ts_ms", 7),
    ]


def test_a_bucket_is_a_line_with_its_positions_by_instrument() -> None:
    line = bucket_line(
        view("a-1", "b", position("ETH-PERP"), position("BTC-PERP", "short"), position("BTC-PERP", "long"))
    )
    assert list(line) == [
        "account", "bucket", "client", "margin_mode", "valuation_asset", "status", "equity", "initial_margin",
        "maintenance_margin", "free_margin", "maintenance_excess", "liquidatable", "balances", "locked", "positions",
        "greeks", "worst_scenario",
    ]  # fmt: skip
    assert [p["instrument"] for p in line["positions"]] == ["BTC-PERP", "BTC-PERP", "ETH-PERP"]
    assert [p.get("position_side") for p in line["positions"]] == ["long", "short", None]
    assert list(line["positions"][2]) == [
        "instrument", "quantity", "entry_price", "mark_price", "notional", "unrealised_pnl", "initial_margin",
        "maintenance_margin", "liquidation_price", "bankruptcy_price",
    ]  # fmt: skip


def test_lockstep_stops_at_the_first_effect_that_differs() -> None:
    fast = FakeEngine(lambda r: [emit(order())] if r.offset == 1 else [])
    both = Lockstep(fast, FakeEngine())
    assert both.apply(of(price("1"))) == []
    with pytest.raises(Differs) as caught:
        both.apply(of(price("1"), offset=1))
    assert list(caught.value.line()) == ["effect", "cause", "fast", "reference"]
    assert caught.value.cause == ["prices", 0, 1]
    assert [line["effect"] for line in caught.value.fast] == ["liquidation-order"]
    assert caught.value.reference == []


def test_lockstep_lets_wording_and_evidence_differ() -> None:
    alarm = Alarm(
        cause=CAUSE, name=AlarmName.SEQUENCE_GAP, account="a-1", bucket="", instrument="", detail="5 to 9", ts_ms=7
    )
    told_otherwise = structs.replace(alarm, detail="from 5")
    evident = structs.replace(order(), evidence=Evidence(fills=[0, 4]))
    fast, reference = (
        FakeEngine(lambda _: [alarm, emit(order())]),
        FakeEngine(lambda _: [told_otherwise, emit(evident)]),
    )
    assert Lockstep(fast, reference).apply(of(price("1"))) == [alarm, emit(order())]
    other = FakeEngine(lambda _: [alarm, emit(order(quantity="1"))])
    with pytest.raises(Differs):
        Lockstep(fast, other).apply(of(price("1")))


def test_lockstep_wakes_both_at_the_earlier_timer() -> None:
    fast, reference = FakeEngine(due=[9]), FakeEngine(due=[7])
    both = Lockstep(fast, reference)
    assert both.next_timer_ms() == 7
    both.timer(7)
    assert fast.heard == reference.heard == [7]
    assert both.next_timer_ms() == 9


def test_lockstep_compares_what_is_left_at_the_end() -> None:
    fast, reference = FakeEngine(), FakeEngine()
    both = Lockstep(fast, reference)
    assert both.state_hash() == "00"
    fast.views, reference.views = [view("a-1", "b")], [view("a-1", "b"), view("a-2", "b")]
    with pytest.raises(Differs, match="a-2"):
        list(both.buckets())
    reference.hash = "01"
    with pytest.raises(Differs, match="state_hash"):
        both.state_hash()
    reference.negative_buckets = {("a-1", "b")}
    with pytest.raises(Differs, match="negative_buckets"):
        _ = both.negative_buckets
