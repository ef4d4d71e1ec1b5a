"""The reference as an engine: refusals, duplicates, parking, provisional accounts, doubts, statuses and the hash."""

import json
from fractions import Fraction
from hashlib import blake2b

from services.contracts.records import Record
from services.engine.settings import Settings
from services.reference.holdings import Holdings, Market, Valuation
from services.reference.reference import Reference
from tests.unit.reference.making import Script, alarms, message, orders, refusals, statuses


def ready(mode: str = "isolated", **settings: object) -> Script:
    script = Script(**settings)
    script.instrument()
    script.account(mode=mode)
    return script


def test_what_does_not_decode_is_a_dead_letter() -> None:
    script = Script()
    record = Record(topic="fills", partition=0, offset=0, timestamp_ms=5, key=None, value=b"{")
    assert refusals(script.reference.apply(record)) == ["invalid_json"]
    assert refusals(script.fill("buy", "0", "1")) == ["quantity_not_positive"]


def test_a_record_in_the_wrong_partition_is_refused() -> None:
    found = [
        refusals(
            Script(account_partitions=64).put("accounts", 0, account=name, margin_mode="cross", valuation_asset="U")
        )
        for name in ("a", "b", "c")
    ]
    assert ["wrong_partition"] in found


def test_a_duplicate_is_skipped_and_a_contradiction_refused() -> None:
    script = ready()
    script.deposit("100", name="t")
    assert refusals(script.deposit("100", name="t")) == []
    assert script.view().balances == {"USDT": "100"}
    effects = script.deposit("90", name="t")
    assert (refusals(effects), statuses(effects), alarms(effects)) == (["id_conflict"], ["dirty"], ["bucket_dirty"])
    assert script.view().balances == {"USDT": "100"}


def test_an_id_with_two_contents_holds_its_bucket() -> None:
    """Long 1 at 100 with 50: a deposit seen as 50 and as 20. Nobody knows which is right: at 45 nothing is closed."""
    script = ready()
    script.deposit("50", name="t")
    script.fill("buy", "1", "100")
    script.price("100", 0)
    script.deposit("20", name="t")
    assert orders(script.price("45", 1_001)) == []


def test_a_clear_ends_a_doubt() -> None:
    script = ready()
    script.deposit("100", name="t")
    script.deposit("90", name="t")
    control = {"control_id": "c", "scope": "account", "target": "a", "action": "clear", "ts_ms": 1}
    assert statuses(script.put("controls", 1, **control, through={"transfers": 0})) == []
    assert statuses(script.put("controls", 2, **control, through={"transfers": 1})) == ["healthy"]


def test_fills_wait_for_their_instrument_and_account() -> None:
    script = Script()
    script.fill("buy", "1", "100")
    script.instrument()
    assert list(script.reference.buckets()) == []
    script.account()
    assert script.view().positions[0].quantity == "1"
    script.fill("buy", "1", "7", instrument="Q", name="q")
    script.instrument("Q")
    assert script.view("Q").positions[0].entry_price == "7"


def test_parking_is_bounded() -> None:
    script = ready(parked_fills=1)
    assert refusals(script.fill("buy", "1", "7", instrument="Q")) == []
    effects = script.fill("buy", "1", "7", instrument="Q")
    assert (refusals(effects), statuses(effects)) == (["parked_overflow"], ["dirty"])


def test_hedge_legs_of_an_isolated_account_are_two_buckets() -> None:
    script = ready()
    script.fill("buy", "1", "100", position_side="long")
    script.fill("sell", "1", "100", position_side="short")
    assert [view.bucket for view in script.reference.buckets()] == ["P:long", "P:short"]


def test_an_account_without_record_becomes_provisional() -> None:
    script = Script()
    script.instrument()
    script.deposit("10", bucket=None, time_ms=500)
    script.fill("buy", "1", "100", time_ms=600)
    assert script.view("main").status == "incomplete"
    assert script.reference.next_timer_ms() == 1_500
    script.timer(1_500)
    view = script.view("main")
    assert (view.margin_mode, view.valuation_asset, view.client, view.positions[0].quantity) == (
        "cross",
        "USDT",
        "a",
        "1",
    )


def test_what_an_account_rests_on_stays_while_it_holds_anything() -> None:
    script = ready()
    assert refusals(script.account(mode="cross")) == []
    script.deposit("1")
    assert refusals(script.account(mode="isolated")) == ["immutable_changed"]
    assert refusals(script.account(mode="cross")) == []


def test_what_positions_rest_on_stays() -> None:
    script = ready()
    assert refusals(script.instrument(contract_size="1")) == []
    assert refusals(script.instrument(contract_size="2")) == ["immutable_changed"]
    assert refusals(script.instrument(tiers=[("0", "0.5")])) == []


def test_an_instrument_that_cannot_pay_for_its_close_alarms() -> None:
    assert alarms(Script().instrument(tiers=[("0", "0.002")], taker_fee_rate="0.001")) == ["cannot_pay_own_close"]


def test_a_gap_holds_the_account_and_then_makes_it_dirty() -> None:
    script = ready()
    script.deposit("10", account_sequence=1)
    script.fill("buy", "1", "100", account_sequence=3)
    script.price("100", 0)
    assert orders(script.price("90.5", 1_000)) == []
    assert script.reference.next_timer_ms() == 5_000
    effects = script.timer(5_000)
    assert (alarms(effects), statuses(effects)) == (["sequence_gap", "bucket_dirty"], ["dirty"])
    effects = script.deposit("0.1", account_sequence=2, time_ms=5_001)
    assert len(orders(effects)) == 1


def test_a_withdrawal_of_what_is_locked_alarms() -> None:
    script = ready()
    script.deposit("100")
    script.deposit("80", reason="lock")
    assert alarms(script.deposit("-20", reason="withdrawal")) == []
    assert alarms(script.deposit("-1", reason="withdrawal")) == ["locked_withdrawn"]


def test_a_statement_is_compared_at_its_offsets() -> None:
    script = ready()
    script.deposit("100")
    statement = {"account": "a", "positions": {}, "ts_ms": 1}
    agreed = script.put("account-statements", 1, balances={"P": {"USDT": "100"}}, through={"transfers": 0}, **statement)
    assert alarms(agreed) == []
    early = script.put("account-statements", 1, balances={"P": {"USDT": "105"}}, through={"transfers": 1}, **statement)
    assert alarms(early) == []
    assert alarms(script.deposit("10")) == ["statement_differs", "bucket_dirty"]


def test_the_ladder_down_and_the_harder_way_up() -> None:
    """Long 1 at 1,000 with 100; MM = IM = 1 %·mark. Reduce only below 1.1, warning below 1.25, up again
    at 0.02 more. 911.3: 11.3 is under 11.391; 910: 10 under 10.01; 911.5: 11.5 over 11.394 but not 11.576; 911.7 over 11.579."""
    script = ready()
    script.deposit("100")
    script.fill("buy", "1", "1000")
    seen = [statuses(script.price(mark, at)) for at, mark in enumerate(
        ["1000", "911.3", "910", "911.5", "911.7", "922"], start=1_000,
    )]  # fmt: skip
    assert seen == [["healthy"], ["warning"], ["reduce_only"], ["warning"], ["healthy"], []]


def test_a_bucket_that_lost_everything_is_bankrupt_then_closed() -> None:
    script = ready()
    script.deposit("-5", reason="adjustment", time_ms=1)
    assert script.view().status == "bankrupt"
    assert statuses(script.deposit("5", reason="insurance", time_ms=2)) == ["closed"]


def test_risk_parameters_take_effect_when_they_say() -> None:
    script = ready()
    script.deposit("100")
    script.fill("buy", "1", "100")
    script.price("100", 0)
    script.put("risk-parameters", 10, instrument="P", multiplier="2", effective_ms=500, ts_ms=10)
    assert script.view().maintenance_margin == "1"
    assert script.reference.next_timer_ms() == 500
    script.timer(500)
    assert script.view().maintenance_margin == "2"


def test_a_portfolio_bucket_is_incomplete_until_its_model_is_given() -> None:
    script = Script()
    script.instrument()
    script.account(mode="portfolio")
    script.deposit("1", bucket=None)
    assert (script.view("main").status, script.view("main").equity) == ("incomplete", None)


def test_the_view_rounds_against_the_account() -> None:
    """Inverse 1 USD at 3, mark 7: the balance is floor(1/3), PnL 1/3 - 1/7 = 0.190476...; required up."""
    script = Script()
    script.put("instruments", 0, **message("I", contract="inverse", settlement_asset="BTC"))
    script.account(asset="BTC")
    script.fill("buy", "1", "3", instrument="I")
    script.price("7", 1, "I")
    view = script.view("I")
    (row,) = view.positions
    assert (view.balances, row.unrealised_pnl) == ({"BTC": "0.333333333333333333"}, "0.190476190476190476")
    assert (view.equity, view.maintenance_margin) == ("0.190476190476190475", "0.001428571428571429")
    assert (row.notional, row.entry_price, row.mark_price) == ("0.142857142857142858", "3", "7")


def test_a_bucket_without_a_mark_is_incomplete() -> None:
    script = ready()
    effects = script.fill("buy", "1", "100", time_ms=1)
    assert (statuses(effects), alarms(effects)) == (["incomplete"], ["bucket_incomplete"])
    view = script.view()
    assert (view.equity, view.liquidatable, view.positions[0].mark_price, view.positions[0].entry_price) == (
        None,
        False,
        None,
        "100",
    )


def test_the_hash_is_over_the_rows_that_are_documented() -> None:
    script = ready()
    script.deposit("100.5")
    script.fill("buy", "2", "3")
    row = {
        "account": "a", "bucket": "P", "balances": {"USDT": str(945 * 10**17)}, "locked": {},
        "positions": {"P|net": {"quantity": str(2 * 10**18), "open_cost": str(6 * 10**54)}},
        "status": "incomplete", "attempts": {}, "open_orders": {},
    }  # fmt: skip
    line = json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n"
    assert script.reference.state_hash() == blake2b(line.encode(), digest_size=32).hexdigest()


def test_an_emitted_order_is_no_row_until_it_is_read_back() -> None:
    script = ready()
    script.deposit("10.5")
    script.fill("buy", "1", "100")
    (order,) = orders(script.price("90.3", 1_000))
    before = script.reference.state_hash()
    script.read_back(order, 1_001)
    assert script.reference.state_hash() != before


def test_an_order_of_another_epoch_does_not_count() -> None:
    script = ready()
    script.deposit("10.5")
    script.fill("buy", "1", "100")
    (order,) = orders(script.price("90.3", 1_000))
    before = script.reference.state_hash()
    script.put("liquidation-orders", 1_001, type="claim", instance="w", nonce="n", ts_ms=1_001)
    script.put("liquidation-orders", 1_001, type="claim", instance="w", nonce="n", ts_ms=1_001)
    script.read_back(order, 1_002)  # epoch 0; the latest claim is at offset 1
    assert script.reference.state_hash() == before


def test_forgetting_what_was_never_read_back_decides_it_again() -> None:
    script = ready()
    script.deposit("10.5")
    script.fill("buy", "1", "100")
    (order,) = orders(script.price("90.3", 1_000))
    script.reference.forget_unconfirmed(0)
    (again,) = orders(script.timer(1_001))
    assert (again.order_id, again.attempt) == (order.order_id, 1)


def test_prices_of_a_backlog_decide_once_at_the_end() -> None:
    reference = Reference(Settings())
    script = ready()
    script.reference = reference
    script.instrument()
    script.account()
    script.deposit("10.5")
    script.fill("buy", "1", "100")
    ticks = [
        Record(
            topic="prices", partition=0, offset=at, timestamp_ms=1_000 + at, key=None,
            value=json.dumps({"instrument": "P", "mark_price": mark, "ts_ms": 1_000 + at}).encode(),
        )
        for at, mark in enumerate(["90.3", "99"])
    ]  # fmt: skip
    assert orders(reference.fold_prices(ticks)) == []
    assert orders(reference.apply_batch(ticks[:0])) == []


def test_a_portfolio_model_is_asked_with_the_named_preset() -> None:
    asked = []

    def model(holdings: Holdings, market: Market, preset: str) -> Valuation:
        asked.append((preset, market.now_ms, market.records["P"].mark_price))
        return Valuation(Fraction(7), Fraction(2), Fraction(1), {}, {"BTC": {"delta": "1"}}, "up")

    script = Script()
    script.reference = Reference(Settings(), portfolio=model)
    script.price("5", 3)
    script.put("accounts", 4, account="a", margin_mode="portfolio", valuation_asset="USDT", margin_preset="pm")
    script.deposit("1", bucket=None)
    view = script.view("main")
    assert (view.status, view.equity, view.greeks, view.worst_scenario) == (
        "healthy",
        "7",
        {"BTC": {"delta": "1"}},
        "up",
    )
    assert set(asked) == {("pm", 4, "5")}
