"""Doubtful prices favour the bucket without shielding it; the order of arrival does not matter."""

import itertools
from typing import Any

import pytest

from services.contracts.decimals import ONE, parse
from tests.unit.reference.making import Script, alarms, orders

BTC = {"asset": "BTC", "price_instrument": "BTC-USDT", "max_price_age_ms": 1_000, "max_price_move": "0.1"}


def with_collateral(mark: str, at_ms: int) -> list[Any]:
    """1 BTC at 100 (its price read at 0) carries a long of 1 at 1,000, which loses at `mark`."""
    script = Script()
    script.instrument()
    script.put("collateral", 0, **BTC)
    script.account(mode="cross")
    script.deposit("1", bucket=None, asset="BTC")
    script.price("100", 0, "BTC-USDT")
    script.price("1000", 0)
    script.fill("buy", "1", "1000")
    return orders(script.price(mark, at_ms))


@pytest.mark.parametrize(("mark", "at_ms", "ordered"), [
    ("908", 900, True),  # valid: 100 - 92 = 8 < 9.08
    ("908", 1_500, False),  # stale: at 110·1.2247.. of the doubt 18 > 9.08
    ("890", 1_500, True),  # even at the upper end, 112.25 - 110 < 8.9
])  # fmt: skip
def test_stale_collateral_stands_at_its_better_end(mark: str, at_ms: int, ordered: bool) -> None:
    """u = 10 %·√1.5 = 12.25 %."""
    assert bool(with_collateral(mark, at_ms)) is ordered


def test_a_dust_position_without_a_fresh_mark_shields_nothing() -> None:
    """Q is stale and worth 0.01; the loss is P's, and P is closed."""
    script = Script()
    script.instrument("P")
    script.instrument("Q", max_price_age_ms=100)
    script.account(mode="cross")
    script.deposit("20", bucket=None)
    for instrument, quantity in (("P", "1"), ("Q", "0.0001")):
        script.price("100", 0, instrument)
        script.fill("buy", quantity, "100", instrument=instrument)
    assert [order.instrument for order in orders(script.price("80.5", 1_000))] == ["P"]


def test_equal_is_not_below_unless_configured() -> None:
    """Long 1 at 100 with 10.9 at 90: equity 0.9 is exactly 1 % of 90."""
    for configured in (False, True):
        script = Script(liquidate_at_equal=configured)
        script.instrument()
        script.account()
        script.deposit("10.9")
        script.fill("buy", "1", "100")
        assert bool(orders(script.price("90", 1_000))) is configured


def test_any_interleaving_of_the_account_topics_folds_to_one_state() -> None:
    """Account, two transfers and two fills, each topic in its own order."""
    steps = {
        "account": [lambda s: s.account()],
        "transfers": [lambda s: s.deposit("100"), lambda s: s.deposit("-30", reason="withdrawal")],
        "fills": [lambda s: s.fill("buy", "2", "50"), lambda s: s.fill("sell", "3", "51")],
    }
    kinds = [kind for kind, listed in steps.items() for _ in listed]
    hashes = set()
    for arrangement in set(itertools.permutations(kinds)):
        script = Script()
        script.instrument()
        script.price("50", 0)
        left = {kind: list(listed) for kind, listed in steps.items()}
        for kind in arrangement:
            left[kind].pop(0)(script)
        script.timer(10)
        hashes.add(script.reference.state_hash())
    assert len(hashes) == 1


def test_splitting_a_fill_changes_nothing_but_rounding() -> None:
    """Inverse 10 at 3 in one piece or in ten: at most 1e-18 a part."""
    whole, parts = Script(), Script()
    for script, pieces in ((whole, ["10"]), (parts, ["1"] * 10)):
        script.instrument("I", contract="inverse", settlement_asset="BTC")
        script.account(asset="BTC")
        for quantity in pieces:
            script.fill("buy", quantity, "3", instrument="I")
    one, ten = (parse(s.view("I").balances["BTC"]) for s in (whole, parts))
    assert one - 10 <= ten <= one
    assert whole.view("I").positions[0].quantity == parts.view("I").positions[0].quantity


def test_the_worker_that_takes_over_adopts_what_the_topic_holds() -> None:
    """The second reads the order of the first, in the epoch of the claim before it: it waits, and counts the attempt."""
    first, second = Script(), Script()
    for script in (first, second):
        script.instrument()
        script.account()
        script.deposit("10.5")
        script.fill("buy", "1", "100")
    (order,) = orders(first.price("90.3", 1_000))
    second.read_back(order, 1_001)
    assert orders(second.price("90.3", 1_002)) == []
    (again,) = orders(second.order_event(order, "rejected", "0", 1_003))
    assert again.attempt == 2


def test_promised_fills_that_do_not_come_alarm_and_their_arrival_ends_the_doubt() -> None:
    script = Script()
    script.instrument()
    script.account()
    script.deposit("10.5")
    script.fill("buy", "1", "100")
    (order,) = orders(script.price("90.3", 1_000))
    script.read_back(order, 1_001)
    script.order_event(order, "filled", order.quantity, 1_002)
    assert script.reference.next_timer_ms() == 6_002
    assert alarms(script.timer(6_002)) == ["reserve_unfilled", "bucket_dirty"]
    script.fill("sell", order.quantity, "90.2", time_ms=6_003, order_id=order.order_id)
    assert script.view().status != "dirty"


def test_slippage_beyond_every_tier_closes_everything() -> None:
    """A first tier of 1 % cannot pay for an expected slippage of 5 %: no part is enough."""
    script = Script(expected_slippage=ONE // 20)
    script.instrument()
    script.account()
    script.deposit("10.5")
    script.fill("buy", "1", "100")
    (order,) = orders(script.price("90.3", 1_000))
    assert (order.stage, order.quantity) == ("full", "1")
