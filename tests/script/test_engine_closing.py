"""Closing just enough: how much, at what limit, and when the bucket is well again."""

from __future__ import annotations

import pytest

from services.contracts.decimals import parse
from tests.support.script import Script

TIERS = [
    {"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"},
    {"notional_floor": "5000", "initial_margin_rate": "0.04", "maintenance_margin_rate": "0.02"},
]


def test_a_partial_close_restores_the_margin_and_hysteresis_keeps_the_status() -> None:
    """At 909: 9 of equity under 9.09. f·(1.05·9.09 - 0.909) = 1.05·9.09 - 9 gives 0.0631 of the contract, a lot more is sold.

    Filled at the limit 908.3, equity 8.955 is over the requirement 8.508 and over 1.05 times it: no longer liquidating.
    """
    script = Script().long().mark("909").check_effects("sell 0.064 at 908.3 partial #1", "healthy -> liquidating")
    script.filled().answer("filled").check_effects("liquidating -> reduce_only")
    assert script.view().equity == "8.9552"
    assert script.view().maintenance_margin == "8.50824"
    script.mark("910").check_effects("reduce_only -> margin_call")  # 9.89 is over 8.52·1.12, under 17.04·1.05
    script.mark("930").check_effects("margin_call -> healthy")


def test_between_the_requirement_and_its_hysteresis_a_bucket_stays_liquidating_without_an_order() -> None:
    """The order expires, then 909.2 leaves 9.2 over 9.092: nothing is sold, but 5 % more is needed to leave the status."""
    script = Script().under().mark("909.2").answer("expired").check_nothing()
    script.mark("909.5").check_nothing()
    script.mark("909.6").check_effects("liquidating -> reduce_only")  # 9.6 >= 1.05·9.096


def test_a_second_order_only_if_the_projected_bucket_needs_it() -> None:
    """The first order is assumed filled at its limit: a tick down within what it restores sends no second one."""
    script = Script().under().mark("908.9").check_nothing()
    assert [order.quantity for order in script.orders] == ["0.064"]


def test_what_the_projected_bucket_still_lacks_waits_for_the_order_that_is_out() -> None:
    """A position has one order at a time, however far the mark falls; its terminal event brings the next one."""
    script = Script().under().mark("905").check_nothing()
    script.answer("expired")
    assert [(order.attempt, parse(order.quantity) > parse("0.064")) for order in script.orders] == [
        (1, False),
        (2, True),
    ]


def test_another_position_is_closed_too_only_where_the_first_does_not_do() -> None:
    """Cross, 1 of each at 1000 with 120: at 949 each, 18 under 18.98. Closing some of one is enough, so the other is left alone."""
    script = Script().instrument().instrument("ETH-PERP").account("cross").mark("1000").mark("1000", "ETH-PERP")
    script.transfer("120", bucket=None).fill("buy", "1", "1000").fill("buy", "1", "1000", instrument="ETH-PERP").wait(
        1_000
    )
    script.mark("949").forget().mark("949", "ETH-PERP")
    assert [(order.instrument, order.stage) for order in script.orders] == [("BTC-PERP", "partial")]


@pytest.mark.parametrize("mark", ["909", "905", "902", "901", "900.5", "900.1", "900"])
@pytest.mark.parametrize("fee", ["0", "0.0005", "0.002"])
def test_the_limit_is_never_past_the_bankruptcy_price(mark: str, fee: str) -> None:
    """Filled at its limit, fee included, no order of ours takes the bucket below zero: bankrupt at 900/(1 - fee)."""
    script = Script().long(taker_fee_rate=fee).mark(mark)
    (order,) = script.orders
    assert order.bankruptcy_price is not None
    assert parse(order.limit_price) >= parse(order.bankruptcy_price)
    assert parse(order.bankruptcy_price) * (parse("1") - parse(fee)) >= parse("900") * parse("1")


def test_a_short_is_bought_back_at_or_under_its_bankruptcy_price() -> None:
    """Sold at 1000 with 100: at 1092, 8 under 10.92; f·(11.466 - 1.092) = 11.466 - 8; the near price, 1106.9, is past bankruptcy."""
    script = Script().instrument().account().mark("1000").transfer("100").fill("sell", "1", "1000").wait(1_000)
    script.forget().mark("1092").check_effects("buy 0.335 at 1100 partial #1", "healthy -> liquidating")


def test_tiers_are_walked_down() -> None:
    """10 contracts with 1000. At 913, 130 under 2 % of 9130 - 50: what is left stays in the second tier, 9.23 / 182.6 is sold.

    At 905, 50 under 131: the second tier's line would need 0.484, which leaves less than 5000; the first tier's says 45.025 / 85.975.
    """
    (order,) = Script().long("10", "1000", margin_tiers=TIERS).mark("913").orders
    assert order.quantity == "0.506"
    (order,) = Script().long("10", "1000", margin_tiers=TIERS).mark("905").orders
    assert order.quantity == "5.237"


def test_a_remainder_under_the_minimum_is_closed_too() -> None:
    """A minimum of 0.95 leaves 0.05, which nobody could close later: all of it is sold."""
    Script().long(min_order_quantity="0.95").mark("909").check_effects(
        "sell 1 at 908.3 full #1", "healthy -> liquidating"
    )


def test_a_position_over_the_largest_order_is_closed_in_parts() -> None:
    """Almost all has to go, 0.3 at most at a time: the next part is sold when the first is filled."""
    script = Script().long(max_order_quantity="0.3").mark("901")
    script.filled().answer("filled")
    assert [order.quantity for order in script.orders] == ["0.3", "0.3"]


@pytest.mark.parametrize(("fee", "first"), [("0.002", "A-PERP"), ("0.0005", "B-PERP")])
def test_the_position_that_relieves_most_for_its_cost_is_closed_first(fee: str, first: str) -> None:
    """A: 1 % of margin for 0.05 % of fee and 0.1 % of slippage, 6.7 to one. B: 1.5 % for 0.3 %, 5 to one; for 0.15 %, 10 to one."""
    script = Script().account("cross")
    for name, rate, costs in (("A-PERP", "0.01", "0.0005"), ("B-PERP", "0.015", fee)):
        tier = {"notional_floor": "0", "maintenance_margin_rate": rate}
        script.instrument(name, liquidation_fee_rate=costs, margin_tiers=[tier]).mark("1000", name)
        script.fill("buy", "1", "1000", instrument=name)
    script.transfer("24.9", bucket=None).wait(1_000)
    assert script.orders[0].instrument == first
