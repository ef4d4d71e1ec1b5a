"""The rungs of the ladder at their exact thresholds, and how much more it takes to leave one upward."""

from __future__ import annotations

import pytest

from tests.support.script import Script


def holding(cash: str) -> Script:
    """One contract at 1000, 10 of maintenance and 20 of initial margin, nothing sold: `cash` is the equity."""
    return (
        Script()
        .instrument()
        .account()
        .mark("1000")
        .control("halt", "account", "a-1")
        .transfer(cash)
        .fill("buy", "1", "1000")
    )


@pytest.mark.parametrize(("cash", "status"), [
    ("-0.000001", "bankrupt"), ("0.000001", "reduce_only"), ("10.999999", "reduce_only"), ("11", "margin_call"),
    ("20.999999", "margin_call"), ("21", "warning"), ("24.999999", "warning"), ("25", "healthy"),
])  # fmt: skip
def test_a_rung_begins_below_its_threshold(cash: str, status: str) -> None:
    """reduce_only under 10·1.1, margin_call under 20·1.05, warning under 20·1.25, strictly; the first status of a bucket."""
    script = Script().instrument().mark("1000").control("halt", "account", "a-1")
    script.transfer(cash).fill("buy", "1", "1000").account()
    assert script.bucket().status == status


@pytest.mark.parametrize(("cash", "more", "status"), [
    ("10", "1.199999", "reduce_only"), ("10", "1.2", "margin_call"),
    ("20", "1.399999", "margin_call"), ("20", "1.4", "warning"),
    ("24", "1.399999", "warning"), ("24", "1.4", "healthy"),
    ("10", "15.3", "warning"), ("10", "15.4", "healthy"),
])  # fmt: skip
def test_a_rung_is_left_upward_only_by_a_further_two_per_cent(cash: str, more: str, status: str) -> None:
    """2 % of the requirement more: 11.2, 21.4, 25.4. Several rungs at once, each by its own threshold."""
    script = Script().instrument().mark("1000").control("halt", "account", "a-1")
    script.transfer(cash).fill("buy", "1", "1000").account()
    assert script.transfer(more).bucket().status == status


def test_a_worse_rung_is_entered_at_once() -> None:
    script = holding("25").transfer("-0.000001", "fee")
    assert script.bucket().status == "warning"


@pytest.mark.parametrize(("deposit", "status"), [("0.599999", "liquidating"), ("0.6", "reduce_only")])
def test_liquidating_ends_at_the_requirement_and_its_hysteresis(deposit: str, status: str) -> None:
    """9.9 under 10: the order expires; 10.5 is enough, less is not."""
    script = Script().instrument().account().mark("1000").transfer("9.9").fill("buy", "1", "1000").wait(200)
    assert script.bucket().status == "liquidating"
    script.transfer(deposit).answer("expired").wait(200)
    assert (script.bucket().status, len(script.orders)) == (status, 1)


def test_a_bucket_at_its_requirement_exactly_is_not_under_it_unless_so_configured() -> None:
    for configured in (False, True):
        script = Script(liquidate_at_equal=configured).instrument().account().mark("1000")
        script.transfer("10").fill("buy", "1", "1000").wait(200)
        assert bool(script.orders) is configured


def test_an_empty_bucket_is_closed_and_one_with_a_lock_is_not() -> None:
    script = Script().instrument().account().transfer("5").transfer("5", "lock").transfer("-5", "withdrawal")
    assert script.bucket().status == "healthy"
    assert script.transfer("5", "unlock").bucket().status == "closed"
