"""Operators, publishers of multipliers, claims and gates: who may stop orders, and what happens when they may go on."""

from __future__ import annotations

import pytest

from tests.support.script import START_MS, Script

SCOPES = [("instrument", "BTC-PERP"), ("account", "a-1"), ("all", "*")]


@pytest.mark.parametrize(("scope", "target"), SCOPES)
def test_a_halt_stops_orders_and_resume_lets_them_out(scope: str, target: str) -> None:
    script = Script().long().control("halt", scope, target).mark("905")
    assert not script.orders
    script.wait(5_000).control("resume", scope, target)
    assert len(script.orders) == 1


@pytest.mark.parametrize(("scope", "target"), SCOPES)
def test_a_halt_expires_by_time_unless_it_was_renewed(scope: str, target: str) -> None:
    """A forgotten halt must not hold a bucket for ever; a renewed one lasts as long as it says last."""
    script = Script().long().control("halt", scope, target, expires_ms=START_MS + 5_000).mark("905")
    script.wait(3_999)
    assert not script.orders
    script.wait(1)
    assert len(script.orders) == 1
    script = Script().long().control("halt", scope, target, expires_ms=START_MS + 5_000).mark("905")
    script.control("halt", scope, target, expires_ms=START_MS + 9_000).wait(7_999)
    assert not script.orders
    assert len(script.wait(1).orders) == 1


@pytest.mark.parametrize(("scope", "target"), [("instrument", "ETH-PERP"), ("account", "a-2")])
def test_a_halt_of_another_stops_nobody(scope: str, target: str) -> None:
    assert Script().long().control("halt", scope, target).mark("905").orders


def test_a_halt_stops_sending_again_too() -> None:
    """An unanswered order is not repeated under a halt; when the halt ends it is, at once."""
    script = Script().under().control("halt", "account", "a-1").wait(10_000)
    assert len(script.orders) == 1
    script.control("resume", "account", "a-1")
    assert len(script.orders) == 2


@pytest.mark.parametrize(
    ("status", "trades"), [("trading", True), ("cancel_only", True), ("halted", False), ("settling", False)]
)
def test_an_instrument_is_closed_only_where_it_trades(status: str, trades: bool) -> None:
    assert bool(Script().long(status=status).mark("905").orders) is trades


def test_a_multiplier_of_the_future_holds_from_its_own_time_on() -> None:
    """Twice the requirement from 5 s on: 20 of margin against 15 of equity is too little then, not before."""
    script = Script().long().mark("915").forget()
    script.put("risk-parameters", {"instrument": "BTC-PERP", "multiplier": "2", "effective_ms": START_MS + 5_000})
    script.wait(3_999)
    assert not script.orders
    script.wait(1)
    assert [order.maintenance_margin for order in script.orders] == ["18.3"]


def test_of_several_multipliers_the_one_effective_last_holds() -> None:
    """Read in the wrong order: what becomes effective later wins, an older one changes nothing."""
    script = (
        Script()
        .long()
        .put("risk-parameters", {"instrument": "BTC-PERP", "multiplier": "3", "effective_ms": START_MS + 900})
    )
    script.put("risk-parameters", {"instrument": "BTC-PERP", "multiplier": "2", "effective_ms": START_MS + 800})
    assert script.view().maintenance_margin == "30"


def test_of_multipliers_effective_at_once_the_one_read_last_holds() -> None:
    script = Script().long()
    for multiplier in ("3", "2"):
        script.put("risk-parameters", {"instrument": "BTC-PERP", "multiplier": multiplier, "effective_ms": START_MS})
    assert script.view().maintenance_margin == "20"
    script.mark("915").check_reference()
    assert [order.maintenance_margin for order in script.orders] == ["18.3"]


def test_an_order_of_an_older_epoch_is_void() -> None:
    """Another worker's order, written under a claim that was superseded, reserves nothing and counts no attempt."""
    script = Script(reads_back=False).claim().under()
    old = script.orders[0]
    script.producer_fails().claim().again(old).forget()
    assert script.engine.stats.void_orders == 1
    assert not script.bucket().attempts
    script.mark("909")
    assert [(order.epoch, order.order_id) for order in script.orders] == [(0, old.order_id), (1, old.order_id)]


def test_an_order_of_the_present_epoch_is_adopted() -> None:
    """Twin: what the topic holds under the latest claim was issued, whoever wrote it."""
    writer = Script(reads_back=False).claim().under()
    reader = Script(gates_open=False).claim().under().again(writer.orders[0])
    reader.engine.open_gate(0)
    assert reader.mark("908.9").orders == []
    assert reader.bucket().attempts == {"BTC-PERP": 1}


def test_a_shut_gate_folds_and_emits_no_order_and_opening_it_does() -> None:
    """The breach is known all the while; the order goes out with the opening and not a record later."""
    script = Script(gates_open=False).long().mark("905")
    assert script.bucket().status == "reduce_only"
    assert not script.orders
    effects = script.engine.open_gate(0)
    assert len(effects) == 2
    script.engine.shut_gate(0)
    assert not script.wait(10_000).orders  # nothing is sent again behind a shut gate
    assert script.alarms == []


def test_only_the_partition_whose_gate_opens_is_decided() -> None:
    """Two accounts in two partitions, both under: each order waits for its own gate."""
    script = Script(partitions=8, gates_open=False).instrument().mark("1000")
    places = {name: script.partition("fills", name) for name in ("a-1", "a-2")}
    assert len(set(places.values())) == 2
    for name in places:
        script.account(name=name).transfer("100", account=name).fill("buy", "1", "1000", account=name)
    script.wait(1_000).mark("905").forget()
    for name, place in places.items():
        orders = [effect.key for effect in script.engine.open_gate(place) if effect.topic == "liquidation-orders"]
        assert orders == [name]


def test_a_partition_that_was_given_up_is_forgotten() -> None:
    script = Script().long()
    script.engine.drop(0)
    assert not list(script.engine.places())
    assert not script.mark("500").orders
