"""What becomes of an order: its reserve in every order of arrival, silence, fruitless attempts, takeover, conversion."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from services.contracts.decimals import parse, to_text
from services.contracts.messages import Default
from services.engine.effects import Emit
from tests.support.script import Script

ARRIVALS: dict[str, Callable[[Script], Script]] = {
    "order": lambda script: script.read_back(),
    "fill": lambda script: script.filled("0.064"),
    "event": lambda script: script.answer("filled"),
}


@pytest.mark.parametrize("arrival", list(itertools.permutations(ARRIVALS)), ids=" ".join)
def test_order_fill_and_event_fold_to_one_state_in_every_order(arrival: tuple[str, ...]) -> None:
    """All six arrivals of the read-back, the fill and the terminal event end alike, and none sends a second order on the way."""
    script = Script(reads_back=False).under()
    for name in arrival:
        ARRIVALS[name](script)
        assert len(script.orders) == 1
    bucket = script.bucket()
    assert (bucket.status, bucket.orders, bucket.attempts) == ("reduce_only", {}, {"BTC-PERP": 1})
    assert script.view().positions[0].quantity == "0.936"


@pytest.mark.parametrize("arrival", list(itertools.permutations(ARRIVALS)), ids=" ".join)
def test_a_part_filled_and_the_rest_expired_is_decided_once(arrival: tuple[str, ...]) -> None:
    """At 905, 0.02 of 0.064 was filled: the second order goes out once all three records were read, and not before."""
    script = Script(reads_back=False).under().mark("905")
    order = script.orders[0]
    arrivals = {
        "order": script.read_back,
        "fill": lambda: script.filled("0.02", order=order),
        "event": lambda: script.answer("expired", "0.02", order),
    }
    for name in arrival:
        assert len(script.orders) == 1
        arrivals[name]()
    assert [order.attempt for order in script.orders] == [1, 2]
    assert script.orders[1].position_quantity == "0.98"


def test_a_reserve_is_only_what_is_not_filled_yet() -> None:
    """Half filled, half still out: the projection counts the second half once."""
    script = Script().under().filled("0.032").check_nothing()
    (order,) = script.bucket().orders.values()
    assert to_text(order.reserved) == "0.032"
    script.mark("908.8").check_nothing()


def test_promised_fills_that_do_not_come_alarm_and_raise_a_doubt_until_they_do() -> None:
    """The event says filled, no fill follows for `account_gap_ms`: alarm, dirty. The fill heals it without an operator."""
    script = Script().under().answer("filled").check_nothing()
    script.wait(4_999).check_nothing()
    script.wait(1).check_effects("alarm reserve_unfilled", "alarm bucket_dirty", "liquidating -> dirty")
    script.filled().check_effects("dirty -> reduce_only")
    assert not script.bucket().doubts


def test_an_unanswered_order_is_sent_again_under_its_own_id_ever_more_slowly() -> None:
    """Validity 2000 ms and skew 500: again after 2.5 s, then 5, 10 and 20 s later, with the content of the first."""
    script = Script().under()
    first, started = script.orders[0], script.now
    script.wait(37_499)
    assert [order.ts_ms - started for order in script.orders] == [0, 2_500, 7_500, 17_500]
    assert {order.order_id for order in script.orders} == {first.order_id}
    again = script.orders[-1]
    assert again.valid_until_ms == again.ts_ms + 2_000
    assert (again.quantity, again.limit_price, again.attempt) == (first.quantity, first.limit_price, first.attempt)
    assert script.alarms.count("order_unanswered") == 3
    assert len(script.wait(1).orders) == 5


def test_an_answered_order_is_not_sent_again() -> None:
    """Twin of the above: one terminal event, and silence is no reason any more."""
    script = Script().under().answer("filled").wait(4_000).check_nothing()
    assert len(script.orders) == 1


def test_after_expiry_comes_a_new_attempt_further_from_the_mark() -> None:
    """The second order of a distress goes out a step of 25 % of the range lower, and never under the bankruptcy price."""
    script = Script().under("909").mark("909.05").answer("expired")
    assert [order.attempt for order in script.orders] == [1, 2]
    assert parse("900") <= parse(script.orders[1].limit_price) < parse(script.orders[0].limit_price)
    assert script.orders[0].order_id != script.orders[1].order_id


def test_fruitless_attempts_lead_to_a_takeover_of_everything_at_the_bankruptcy_price() -> None:
    """Eight orders, nobody buys: the ninth hands the whole position to the pool at 900; equity is left, so nothing is missing."""
    script = Script().under()
    for _ in range(8):
        script.wait(10).answer("expired")
    assert [order.stage for order in script.orders] == ["partial"] * 8 + ["takeover"]
    assert (script.orders[-1].quantity, script.orders[-1].limit_price) == ("1", "900")
    assert not defaults(script)


def test_a_filled_order_starts_the_count_anew() -> None:
    """Progress: seven expired, one filled, and the next breach gets an ordinary order again."""
    script = Script().under()
    for _ in range(7):
        script.wait(10).answer("expired")
    script.mark("905").filled().answer("filled").wait(10)
    for _ in range(3):
        script.mark("904").answer("expired")
    assert {order.stage for order in script.orders} == {"partial"}


LATE: dict[str, Callable[[Script], Script]] = {
    "fill": lambda script: script.filled(order=script.orders[0]),
    "filled": lambda script: script.answer("filled", order=script.orders[0]),
    "expired": lambda script: script.answer("expired", order=script.orders[0]),
}


@pytest.mark.parametrize("arrival", list(itertools.permutations(LATE)), ids=" ".join)
def test_a_venue_that_says_expired_and_filled_is_believed_to_have_filled(arrival: tuple[str, ...]) -> None:
    """0.064 is sold, however the records arrive, and counts as progress: what the next order asks for is that of a first attempt."""
    script = Script().under().mark("905")
    for name in arrival:
        LATE[name](script)
    assert script.view().positions[0].quantity == "0.936"
    script.wait(10).answer("expired").mark("905").check_reference()
    first, last = script.orders[0], script.orders[-1]
    assert (first.attempt, last.position_quantity) == (1, "0.936")
    assert not script.bucket().doubts


@pytest.mark.parametrize(("late", "stage"), [("0.064", "partial"), ("0.01", "takeover")])
def test_a_late_fill_of_an_expired_order_is_progress_only_if_it_was_all_of_it(late: str, stage: str) -> None:
    """Two orders expired, which are all the chances there are; then fills of the first come: all of it, or a part."""
    script = Script(max_attempts=2).under().mark("908").wait(10).answer("expired").wait(10)
    script.filled(late, order=script.orders[0]).mark("902").wait(10).answer("expired").check_reference()
    assert [(order.attempt, order.stage) for order in script.orders] == [(1, "partial"), (2, "partial"), (3, stage)]


def test_what_comes_of_an_order_after_its_distress_moves_the_ledger_only() -> None:
    """The order expired and the mark rose: healthy again, all forgotten. Its fill of the day after is a fill, and no order is open."""
    script = Script().under().wait(10).mark("1000").answer("expired").check_effects("liquidating -> healthy")
    script.wait(60_000).filled().answer("filled").wait(60_000).check_nothing().check_reference()
    assert script.view().positions[0].quantity == "0.936"
    assert not any(order.is_open for order in script.bucket().orders.values())


@pytest.mark.parametrize("fill_first", [True, False])
def test_a_late_fill_of_a_forgotten_order_waits_for_no_other_half(fill_first: bool) -> None:
    """0.01 were filled and told before the end of the distress. The venue finds 0.02 more: a fill, and an event that says 0.03."""
    script = Script().under().transfer("500").filled("0.01").answer("expired", "0.01").wait(1_000)
    late = [lambda: script.filled("0.02"), lambda: script.answer("expired", "0.03")]
    for tell in late if fill_first else reversed(late):
        tell()
    script.wait(20_000).check_reference()
    assert (script.bucket().status, script.bucket().orders, script.bucket().doubts) == ("healthy", {}, {})


def test_an_order_that_hangs_too_long_leads_to_a_takeover() -> None:
    """30 s after the first order of the distress without a fill, however few the attempts."""
    script = Script().under().wait(29_999).answer("expired")
    assert script.orders[-1].stage == "partial"
    script.wait(1).answer("expired")
    assert script.orders[-1].stage == "takeover"


def test_past_bankruptcy_the_takeover_comes_at_once_and_what_is_missing_is_fixed_once() -> None:
    """A gap to 880: 20 missing. The pool's price is the bankruptcy price; a further fall fixes no second deficit."""
    script = Script().long().mark("880")
    script.check_effects("sell 1 at 900 takeover #1", "healthy -> liquidating", "missing 20 USDT")
    script.mark("870").answer("rejected").check_effects("sell 1 at 900 takeover #2")
    script.filled().answer("filled").check_effects("liquidating -> closed")
    assert [default.insurance_pool for default in defaults(script)] == ["pool"]


def test_without_a_pool_the_rest_is_deleveraged() -> None:
    Script().long(insurance_pool=None).mark("880").check_effects(
        "sell 1 at 900 adl #1", "healthy -> liquidating", "missing 20 USDT"
    )


def test_debt_without_positions_is_paid_from_collateral() -> None:
    """1 BTC at 49.9 against 50 owed: all of it is sold, and what it brought ends the debt as far as it goes."""
    script = Script().instrument("BTC-USDT", tick_size="0.01").account("cross")
    script.collateral("BTC", conversion_instrument="BTC-USDT").mark("100", "BTC-USDT")
    script.transfer("1", bucket=None, asset="BTC").transfer("-50", "adjustment", bucket=None).wait(1_000).forget()
    script.mark("49.9", "BTC-USDT")
    (order,) = script.orders
    assert (order.stage, order.side, order.quantity) == ("convert", "sell", "1")
    script.transfer("-1", "conversion", bucket=None, asset="BTC").transfer("49.8", "conversion", bucket=None)
    script.answer("filled").wait(1_000)
    assert script.view("main").balances == {"USDT": "-0.2"}
    assert len(script.orders) == 1


def test_a_conversion_sells_what_the_debt_and_its_hysteresis_need() -> None:
    """Two collaterals: the pricier one goes first, (50 - 0)·1.05 at 90 is 0.58334 of it, a lot of 0.001 up."""
    script = Script().instrument("BTC-USDT").instrument("ETH-USDT").account("cross")
    weights = [{"floor": "0", "weight": "0.5"}]
    for asset, price in (("BTC", "100"), ("ETH", "5")):
        script.collateral(asset, conversion_instrument=f"{asset}-USDT", weight_tiers=weights).mark(
            price, f"{asset}-USDT"
        )
        script.transfer("1", bucket=None, asset=asset)
    script.transfer("-50", "adjustment", bucket=None).wait(1_000).mark("90", "BTC-USDT")
    assert [(order.instrument, order.quantity) for order in script.orders] == [("BTC-USDT", "0.584")]


def test_what_is_locked_is_not_converted() -> None:
    script = Script().instrument("BTC-USDT").account("cross")
    script.collateral("BTC", conversion_instrument="BTC-USDT").mark("100", "BTC-USDT")
    script.transfer("1", bucket=None, asset="BTC").transfer("0.4", "lock", bucket=None, asset="BTC")
    script.transfer("-50", "adjustment", bucket=None).wait(1_000).mark("45", "BTC-USDT")
    assert [order.quantity for order in script.orders] == ["0.6"]


@pytest.mark.parametrize(("status", "sells"), [("cancel_only", True), ("settling", False), ("settled", False)])
def test_a_conversion_needs_an_instrument_on_which_orders_close(status: str, sells: bool) -> None:
    """Settling, it waits; trading again, it sells."""
    script = Script().instrument("BTC-USDT", status=status).account("cross")
    script.collateral("BTC", conversion_instrument="BTC-USDT").mark("100", "BTC-USDT")
    script.transfer("1", bucket=None, asset="BTC").transfer("-50", "adjustment", bucket=None).wait(1_000)
    assert len(script.mark("45", "BTC-USDT").orders) == int(sells)
    assert len(script.instrument("BTC-USDT").check_reference().orders) == 1


def test_orders_that_were_perhaps_never_written_are_decided_again_with_the_same_id() -> None:
    """A producer failed between the decision and the log: the next record decides from the level, and the id is the same."""
    script = Script(reads_back=False).under().producer_fails().mark("909")
    first, second = script.orders
    assert first.order_id == second.order_id
    script.read_back().answer("filled").filled()
    assert script.bucket().status == "reduce_only"


def test_an_order_that_was_read_back_is_not_decided_again() -> None:
    """Twin: the log holds it, so a producer's failure changes nothing."""
    script = Script().under().producer_fails().mark("909")
    assert len(script.orders) == 1


def defaults(script: Script) -> list[Default]:
    return [each.message for each in script.effects if isinstance(each, Emit) and isinstance(each.message, Default)]
