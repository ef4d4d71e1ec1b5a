"""Orders by hand: when, how much, at what limit, and what follows."""

from fractions import Fraction

import pytest

from services.contracts.messages import Default
from services.engine.effects import Emit
from tests.unit.reference.making import Script, alarms, orders, statuses


def distressed(mark: str = "47700", at_ms: int = 2_000, **fields: object) -> Script:
    """Long 1 at 50,000 with 3,000 in an isolated bucket; 1 % to 20,000, then 2 % (deduction 200)."""
    script = Script()
    defaults = {"lot_size": "0.001", "tick_size": "0.1", "liquidation_fee_rate": "0.0005", "taker_fee_rate": "0.0005"}
    script.instrument(tiers=[("0", "0.01"), ("20000", "0.02")], **{**defaults, **fields})
    script.account()
    script.deposit("3000")
    script.price("50000", 0)
    script.fill("buy", "1", "50000")
    script.price(mark, at_ms)
    return script


def test_just_enough_is_closed_and_the_limit_protects_the_equity() -> None:
    """E 700, MM 954 - 200 = 754. g(f) = 700 - 71.55·f - 1.05·(954·(1-f) - 200) = -91.7 + 930.15·f → f = 0.0986 → 0.099.
    Floor: Q 0.099, ΔMM = 954·0.099 = 94.446, share 700·94.446/754 = 87.6819..., (4,722.3 - 87.68)/(0.099·0.9995) = 46,837.7.
    Near: ABR = 1 - 700/754 = 0.0716..., away = 0.0002·0.5 + 0.0002 + 0.0716·0.05 = 0.003881 → 47,514.88 → tick 47,514.9."""
    (order,) = orders(distressed().effects)
    assert (order.side, order.quantity, order.stage, order.limit_price) == ("sell", "0.099", "partial", "47514.9")
    assert (order.equity, order.maintenance_margin, order.trigger) == ("700", "754", "maintenance_breach")
    assert (order.liquidation_price, order.bankruptcy_price) == ("47755.2", "47023.6")
    loss = Fraction("0.099") * (47_700 - Fraction("47514.9") * Fraction("0.9995"))
    assert Fraction(order.projected_equity) == 700 - loss
    assert Fraction(order.projected_maintenance_margin) == Fraction("0.901") * 954 - 200
    assert (order.attempt, order.ts_ms, order.valid_until_ms) == (1, 2_000, 4_000)


def test_nothing_is_sent_while_equity_covers_the_requirement() -> None:
    script = distressed("47756")
    assert orders(script.effects) == []
    assert script.view().liquidatable is False


def test_an_account_that_was_just_touched_waits() -> None:
    script = distressed("47700", at_ms=100)
    assert orders(script.effects) == []
    assert script.reference.next_timer_ms() == 200
    assert len(orders(script.timer(200))) == 1


def test_one_order_at_a_time_and_the_next_attempt_after_its_end() -> None:
    script = distressed()
    (first,) = orders(script.effects)
    assert orders(script.read_back(first, 2_001)) == []
    assert orders(script.price("47650", 2_100)) == []
    (second,) = orders(script.order_event(first, "expired", "0", 2_200))
    assert (second.attempt, second.order_id != first.order_id) == (2, True)
    assert Fraction(second.limit_price) < Fraction(first.limit_price)


def test_a_reported_fill_stays_reserved_until_it_is_read() -> None:
    script = distressed()
    (order,) = orders(script.effects)
    script.read_back(order, 2_001)
    assert orders(script.order_event(order, "filled", order.quantity, 2_100)) == []
    effects = script.fill("sell", order.quantity, "47690", time_ms=2_200, order_id=order.order_id)
    assert orders(effects) == []
    assert statuses(effects) == ["reduce_only"]  # 699.01 is above 1.05·659.554 and below 1.1·659.554


def test_a_bucket_stays_liquidating_until_it_has_the_hysteresis() -> None:
    """Filled at 47,600: E 690.1, MM 659.554, and 1.05·MM = 692.53. At 47,705 E is 694.6 and 1.05·MM = 692.63."""
    script = distressed()
    (order,) = orders(script.effects)
    script.read_back(order, 2_001)
    script.order_event(order, "filled", order.quantity, 2_100)
    assert statuses(script.fill("sell", order.quantity, "47600", time_ms=2_200, order_id=order.order_id)) == []
    assert script.view().status == "liquidating"
    assert statuses(script.price("47705", 2_300)) == ["reduce_only"]


def test_fills_and_events_fold_alike_in_either_order() -> None:
    results = []
    for fill_first in (True, False):
        script = distressed()
        (order,) = orders(script.effects)
        script.read_back(order, 2_001)
        for step in (fill_first, not fill_first):
            if step:
                script.fill("sell", order.quantity, "47600", time_ms=2_200, order_id=order.order_id)
            else:
                script.order_event(order, "filled", order.quantity, 2_200)
        results.append((script.reference.state_hash(), script.view()))
    assert results[0] == results[1]


def test_an_unanswered_order_is_sent_again_and_again() -> None:
    """Valid until 4,000, asked again at 4,500, then 5,000 later, then 10,000 later."""
    script = distressed()
    (order,) = orders(script.effects)
    due = []
    for _ in range(3):
        due.append(script.reference.next_timer_ms() or 0)
        effects = script.timer(due[-1])
        (again,) = orders(effects)
        assert alarms(effects) == ["order_unanswered"]
        assert (again.order_id, again.valid_until_ms) == (order.order_id, due[-1] + 2_000)
    assert due == [4_500, 9_500, 19_500]


@pytest.mark.parametrize(("pool", "stage"), [("USDT-main", "takeover"), (None, "adl")])
def test_past_bankruptcy_the_rest_goes_to_the_pool(pool: str | None, stage: str) -> None:
    """At 46,900 equity is -100: sold at the bankruptcy price 47,000/0.9995 = 47,023.51, on the tick upward."""
    script = distressed("46900", insurance_pool=pool)
    (order,) = orders(script.effects)
    assert (order.stage, order.quantity, order.limit_price, order.trigger) == (stage, "1", "47023.6", "negative_equity")
    effects = script.read_back(order, 2_000)
    (default,) = [e.message for e in effects if isinstance(e, Emit) and isinstance(e.message, Default)]
    assert (default.asset, default.deficit, default.insurance_pool) == ("USDT", "100", pool)


def test_after_the_last_attempt_the_pool_takes_over() -> None:
    script = distressed()
    (order,) = orders(script.effects)
    stages = []
    for step in range(8):
        script.read_back(order, 2_001)
        (order,) = orders(script.order_event(order, "expired", "0", 2_010 + step))
        stages.append(order.stage)
    assert stages == ["partial"] * 7 + ["adl"]


def test_a_doubtful_mark_closes_nothing() -> None:
    """A jump of 30 % below waits; once a second source agrees, the order goes out in the same record."""
    script = distressed("49900", max_price_move="0.2")
    assert orders(script.price("34000", 2_500, source="v")) == []
    assert script.view().positions[0].mark_price == "49900"
    assert len(orders(script.price("34100", 2_510, source="w"))) == 1


def test_a_stale_mark_closes_nothing_but_still_counts() -> None:
    script = distressed("47700", at_ms=150, max_price_age_ms=1_000)
    assert orders(script.timer(1_151)) == []
    assert script.view().liquidatable is True


def test_halts_by_scope() -> None:
    for scope, target in (("all", "*"), ("account", "a"), ("instrument", "P")):
        script = distressed("48000")
        script.put("controls", 2_100, control_id="c", scope=scope, target=target, action="halt", ts_ms=2_100)
        assert orders(script.price("47700", 2_200)) == []
        resumed = script.put(
            "controls", 2_300, control_id="d", scope=scope, target=target, action="resume", ts_ms=2_300
        )
        assert len(orders(resumed)) == 1


def test_a_halt_expires() -> None:
    script = distressed("48000")
    script.put("controls", 2_100, control_id="c", scope="all", target="*", action="halt", ts_ms=2_100, expires_ms=3_000)
    assert orders(script.price("47700", 2_200)) == []
    assert script.reference.next_timer_ms() == 3_000
    assert len(orders(script.timer(3_000))) == 1


def test_a_shut_gate_decides_nothing_and_opening_it_does() -> None:
    script = distressed("48000")
    script.reference.shut_gate(0)
    assert orders(script.price("47700", 2_200)) == []
    assert len(orders(script.reference.open_gate(0))) == 1


def test_the_worst_bucket_goes_first() -> None:
    """Both fail at 90: a holds 0.5, b holds 0.1 of equity for the same position."""
    script = Script()
    script.instrument(taker_fee_rate="0")
    for account, cash in (("a", "10.5"), ("b", "10.1")):
        script.account(account)
        script.deposit(cash, account=account)
        script.fill("buy", "1", "100", account=account)
    effects = script.price("90", 1_000)
    assert [order.account for order in orders(effects)] == ["b", "a"]


def test_the_leg_that_frees_most_for_its_cost_goes_first() -> None:
    """Cross: P requires 1 %, R 5 %, of the same notional; closing some of R, at the mark, is enough.
    E 4.5, MM 0.95 + 4.725: f = 1.45875/(1.05·4.725 - 0.0945) = 0.29974."""
    script = Script(half_spread=0, near_sigmas=0, distress_range=0)
    script.instrument("P")
    script.instrument("R", [("0", "0.05")])
    script.account(mode="cross")
    script.deposit("15", bucket=None)
    for instrument in ("P", "R"):
        script.price("100", 0, instrument)
        script.fill("buy", "1", "100", instrument=instrument)
    script.price("95", 1_000, "P")
    (order,) = orders(script.price("94.5", 1_001, "R"))
    assert (order.instrument, order.bucket, order.cancel_resting) == ("R", "main", "bucket")
    assert order.quantity.startswith("0.299738")


def test_a_close_that_does_not_suffice_at_its_limit_takes_the_next_leg_too() -> None:
    """As before, but R may be sold 1 % below its mark: then the projected bucket still fails, so P is closed as well."""
    script = Script()
    script.instrument("P")
    script.instrument("R", [("0", "0.05")])
    script.account(mode="cross")
    script.deposit("15", bucket=None)
    for instrument in ("P", "R"):
        script.price("100", 0, instrument)
        script.fill("buy", "1", "100", instrument=instrument)
    script.price("95", 1_000, "P")
    assert [order.instrument for order in orders(script.price("94.5", 1_001, "R"))] == ["R", "P"]


@pytest.mark.parametrize(
    ("fields", "quantity", "stage"),
    [
        ({"min_order_quantity": "0.2"}, "0.2", "partial"),
        ({"min_order_quantity": "0.6"}, "1", "full"),  # what is left would be under the minimum
        ({"max_order_quantity": "0.05"}, "0.05", "partial"),
        ({"lot_size": "0.04"}, "0.12", "partial"),
        ({"lot_size": "3"}, "1", "full"),
    ],
)
def test_the_venues_limits_of_size(fields: dict[str, str], quantity: str, stage: str) -> None:
    (order,) = orders(distressed(**fields).effects)
    assert (order.quantity, order.stage) == (quantity, stage)


def test_a_short_is_bought_back_with_mirrored_limits() -> None:
    """Short 1 at 50,000 with 3,000; mark 52,100: E 900, MM 1,042 - 200 = 842: fine. 52,300: E 700, MM 846.
    ABR = 1 - 700/846 = 0.17257..., away 0.0003 + 0.05·ABR → 52,300·1.0089289 = 52,766.98 → down to 52,766.9."""
    script = Script()
    script.instrument(tiers=[("0", "0.01"), ("20000", "0.02")], lot_size="0.001", tick_size="0.1")
    script.account()
    script.deposit("3000")
    script.fill("sell", "1", "50000")
    assert orders(script.price("52100", 1_000)) == []
    (order,) = orders(script.price("52300", 1_001))
    assert (order.side, order.position_quantity, order.limit_price) == ("buy", "-1", "52766.9")


def test_collateral_is_converted_when_only_debt_is_left() -> None:
    """Owes 100 USDT, holds 2 BTC at 60, weight 0.8: 96 - 100 < 0. Needs 100·1.05/60 = 1.75 BTC."""
    script = Script()
    script.instrument("BTC-USDT", lot_size="0.01")
    script.put(
        "collateral", 0, asset="BTC", price_instrument="BTC-USDT", conversion_instrument="BTC-USDT",
        weight_tiers=[{"floor": "0", "weight": "0.8"}],
    )  # fmt: skip
    script.account(mode="cross")
    script.deposit("2", bucket=None, asset="BTC")
    script.deposit("-100", bucket=None, reason="adjustment")
    (order,) = orders(script.price("60", 1_000, "BTC-USDT"))
    assert (order.stage, order.instrument, order.side, order.quantity) == ("convert", "BTC-USDT", "sell", "1.75")
