"""Evidence of malfunction: what counts, and that a shard which gave some orders nothing until a person has cleared it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from msgspec import structs

from services.contracts.codec import encode
from services.contracts.messages import Control, Order
from services.contracts.records import Record
from services.liquidator.guard import Evidence, Guard
from services.liquidator.second_opinion import SecondOpinion
from services.liquidator.shard import ORDERS, Reason
from tests.unit.liquidator.fakes import World, a_claim, an_order, breathe


def order(**changed: Any) -> Order:
    return msgspec.structs.replace(an_order("a", 0), **changed)


def name_of(found: Evidence | None) -> str | None:
    return None if found is None else found.name


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, None),
        ({"quantity": "0.5"}, None),
        ({"quantity": "1.000000000000000001"}, "order_exceeds_position"),
        ({"quantity": "0"}, "order_exceeds_position"),
        ({"side": "buy"}, "order_exceeds_position"),
        ({"side": "buy", "position_quantity": "-1"}, None),
        ({"side": "buy", "position_quantity": "-1", "quantity": "2"}, "order_exceeds_position"),
        ({"position_quantity": "0"}, "order_exceeds_position"),
        ({"position_quantity": "0", "stage": "convert", "quantity": "9"}, None),
        ({"equity": "1", "maintenance_margin": "1"}, None),
        ({"equity": "1.1", "maintenance_margin": "1"}, "order_not_justified"),
        ({"equity": "0", "trigger": "negative_equity"}, "order_not_justified"),
        ({"equity": "-0.1", "trigger": "negative_equity"}, None),
        ({"equity": "5", "trigger": "gap_guard"}, None),
    ],
)
def test_what_no_correct_monitor_orders(changed: dict[str, Any], name: str | None) -> None:
    assert name_of(Guard(50).evidence(order(**changed))) == name


def test_attempts_that_change_nothing_are_counted_by_position() -> None:
    guard = Guard(3)
    found = [name_of(guard.evidence(order(attempt=attempt))) for attempt in (1, 2, 2, 3, 4)]
    assert found == [None, None, None, None, "attempts_without_effect"], "a repetition is no attempt"
    assert guard.evidence(order(attempt=5, account="b")) is None


def test_an_attempt_that_changed_the_position_begins_the_count_anew() -> None:
    guard = Guard(2)
    for attempt, held in enumerate(["1", "1", "0.9", "0.9", "0.8"], start=1):
        assert guard.evidence(order(attempt=attempt, position_quantity=held, quantity="0.1")) is None


def test_forgiven_attempts_are_forgotten() -> None:
    guard = Guard(1)
    guard.evidence(order(attempt=1))
    found = guard.evidence(order(attempt=2))
    assert found is not None
    guard.forgive(found)
    assert guard.evidence(order(attempt=3)) is None


def control(world: World, action: str, scope: str, target: str) -> Record:
    message = Control(control_id="c", scope=scope, target=target, action=action, ts_ms=0)  # type: ignore[arg-type]  # words of the test
    return Record(
        topic="controls", partition=0, offset=0, timestamp_ms=world.clock.now_ms(), key=b"k", value=encode(message)
    )


async def halted() -> World:
    """The first order of account `bad` is for more than its position; `good` is in another shard, `other` in the same."""
    world = await World().live(0, 1)
    world.engine.changed["bad"] = {"quantity": "2"}
    world.engine.under |= {"bad": 0, "other": 0, "good": 1}
    world.fill("x")
    await world.run(0.3)
    return world


async def test_a_malfunction_halts_its_shard_and_no_other() -> None:
    world = await halted()
    assert world.worker.shards[0].reasons == {Reason.MALFUNCTION}
    assert world.worker.shards[1].reasons == set()
    assert world.broker.valid_orders(0) == []
    assert [each.account for each in world.broker.valid_orders(1)] == ["good"]
    assert world.meter.alarms == ["order_exceeds_position"]
    assert world.worker.readiness(10_000)[0] == "shard 0: malfunction"


async def test_time_rebalances_and_reloads_do_not_clear_it() -> None:
    world = await halted()
    await world.run(70)
    world.worker.assigned(frozenset({0, 1}))
    await world.run(1)
    assert Reason.MALFUNCTION in world.worker.shards[0].reasons
    world.worker._reload(world.worker.shards[0])
    await world.run(1)
    assert world.worker.shards[0].reasons == {Reason.MALFUNCTION}
    assert world.broker.valid_orders(0) == []


@pytest.mark.parametrize(
    ("action", "scope", "target", "clears"),
    [
        ("resume", "all", "*", True),
        ("clear", "account", "bad", True),
        ("resume", "instrument", "BTC-PERP", True),
        ("clear", "account", "other", False),
        ("halt", "all", "*", False),
    ],
)
async def test_an_operator_clears_it(action: str, scope: str, target: str, clears: bool) -> None:
    world = await halted()
    world.engine.changed.clear()
    await world.worker.fold_broadcast([control(world, action, scope, target)])
    await world.run(1)
    assert (Reason.MALFUNCTION not in world.worker.shards[0].reasons) is clears
    assert sorted(each.account for each in world.broker.valid_orders(0)) == (["bad", "other"] if clears else [])


async def test_a_cleared_halt_does_not_take_a_shard_back_from_its_new_owner() -> None:
    world = await halted()
    world.engine.changed.clear()
    world.broker.append(ORDERS, 0, a_claim())
    await world.run(0.3)
    assert Reason.FENCED in world.worker.shards[0].reasons
    before = len(world.broker.claims(0))
    await world.worker.fold_broadcast([control(world, "resume", "all", "*")])
    await world.run(1)
    assert len(world.broker.claims(0)) == before
    await world.run(10)
    assert sorted(each.account for each in world.broker.valid_orders(0)) == ["bad", "other"], (
        "nobody else claimed again"
    )


async def test_what_is_still_wrong_halts_again() -> None:
    world = await halted()
    await world.worker.fold_broadcast([control(world, "resume", "all", "*")])
    await world.run(1)
    assert world.worker.shards[0].reasons == {Reason.MALFUNCTION}
    assert world.broker.valid_orders(0) == []


async def test_what_the_index_overlooked_halts_its_shard() -> None:
    world = await World().live(0, 1)
    world.engine.missed = [(1, "a", "main")]
    await world.run(0.3)
    assert (world.worker.shards[0].reasons, world.worker.shards[1].reasons) == (set(), {Reason.MALFUNCTION})
    assert world.meter.alarms == ["certificate_violated"]


class Contradicts:
    """A second opinion that differs on every order it is asked about."""

    def is_due(self) -> bool:
        return True

    def differs(self, order: Order, basis: object) -> str:
        return f"{order.account}: {basis}"


async def test_a_reference_that_differs_halts_the_shard() -> None:
    world = await World().live(0)
    world.worker.brakes._opinion = cast("SecondOpinion", Contradicts())
    world.engine.basis = cast("Any", lambda _: "another ledger")  # type: ignore[method-assign]  # the fake keeps none
    world.engine.under["a"] = 0
    world.fill("x")
    await world.run(0.3)
    assert world.meter.alarms == ["reference_differs"]
    assert world.worker.shards[0].reasons == {Reason.MALFUNCTION}
    assert world.broker.valid_orders(0) == []


async def test_the_second_opinion_knows_the_collateral_that_an_order_follows_from() -> None:
    """A weight that is cut makes orders due at once: judged by the weight of before, a sound one would halt its shard."""
    world = await World().live(0)
    told = world.engine.calls

    class Listens(Contradicts):
        def read(self, records: Sequence[Record]) -> None:
            told.extend(f"opinion {record.topic}@{record.offset}" for record in records)

    world.worker.brakes._opinion = cast("SecondOpinion", Listens())
    record = structs.replace(control(world, "resume", "all", "*"), topic="collateral", value=b"{}")
    await world.worker.fold_broadcast([record])
    assert told[-2:] == ["opinion collateral@0", "collateral@0"]


def test_one_of_so_many_orders_is_looked_at() -> None:
    opinion, none = SecondOpinion(3), SecondOpinion(0)
    assert [opinion.is_due() for _ in range(7)] == [True, False, False, True, False, False, True]
    assert not any(none.is_due() for _ in range(9))


async def test_orders_that_wait_in_the_outbox_do_not_leave_after_the_evidence() -> None:
    world = await World().live(0)
    world.engine.changed["z"] = {"quantity": "2"}
    world.engine.under |= {"a": 0, "z": 0}
    world.engine.fills["x"] = 0
    world.worker._dispatch.carry_out(world.engine.decide())
    await breathe()
    assert world.broker.valid_orders(0) == []
