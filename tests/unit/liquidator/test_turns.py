"""An event that is half done: what others may do meanwhile, and what comes of it whatever happens to those who wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.adapters.ports import Batch
from services.contracts.messages import Order
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.pieces import Pieces
from services.liquidator.shard import ORDERS, Reason
from services.liquidator.turns import FORCED
from tests.unit.liquidator.fakes import World, a_claim, breathe, renamed


async def half_done(world: World, stops: int = 3, accounts: str = "abcd") -> asyncio.Task[None]:
    """A tick makes several accounts liquidatable; the event stops, after the first order, until time goes on."""
    world.engine.under |= dict.fromkeys(accounts, 0)
    world.engine.stops = stops
    folding = asyncio.ensure_future(world.worker.fold_broadcast([world.price()]))
    await breathe()
    assert not world.worker._engine.is_free
    return folding


async def finish(world: World, pieces: int = 8) -> None:
    """Time enough for what is half done, and none for anything else."""
    for _ in range(pieces):
        world.clock.jump(0)
        await breathe()


def sent(world: World) -> list[str]:
    return [order.account for order in world.broker.valid_orders()]


async def test_the_first_orders_leave_while_the_rest_is_still_decided() -> None:
    world = await World().live(0)
    folding = await half_done(world)
    assert sent(world) == ["a"]
    await finish(world, 1)
    assert sent(world) == ["a", "b"]
    await finish(world)
    assert sent(world) == ["a", "b", "c", "d"]
    assert folding.done()


async def test_account_records_wait_their_turn_and_come_before_the_next_price() -> None:
    world = await World().live(0)
    prices = asyncio.ensure_future(world.worker.fold_broadcast([]))
    await half_done(world)
    world.fill("x")
    folding = asyncio.ensure_future(world.input.pump(world.worker, ["fills"]))
    await breathe()
    second = asyncio.ensure_future(world.worker.fold_broadcast([world.price(1)]))
    await breathe()
    assert "fills@0" not in world.engine.calls
    assert world.worker.shards[0].next["fills"] == 0
    await finish(world)
    assert world.engine.calls[-2:] == ["fills@0", "prices@1"]
    assert all(each.done() for each in (prices, folding, second))


async def test_what_is_stored_is_of_one_moment() -> None:
    """A batch of fills stops in the middle: neither its rows nor its offsets are stored before it is over."""
    world = await World().live(0)
    await world.run(0.3)
    flushes = world.table.flushes
    world.fill("x")
    world.engine.stops = 2
    folding = asyncio.ensure_future(world.input.pump(world.worker, ["fills"]))
    await breathe()
    storing = asyncio.ensure_future(world.worker._storage.store(world.worker.shards[0]))
    await breathe()
    assert (world.table.flushes, world.engine.dirty_count(0)) == (flushes, 1)
    await finish(world)
    assert folding.done()
    assert storing.done()
    assert world.table.rows[0]["x"] == b"1,False"
    assert world.table.offsets[0]["fills"] == 1


async def test_a_claim_of_another_is_read_after_it_and_the_rest_of_its_orders_does_not_count() -> None:
    world = await World().live(0)
    await half_done(world)
    world.broker.append(ORDERS, 0, a_claim())
    reading = asyncio.ensure_future(world.input.pump(world.worker, [ORDERS]))
    await breathe()
    assert Reason.FENCED not in world.worker.shards[0].reasons
    await finish(world)
    await reading
    assert Reason.FENCED in world.worker.shards[0].reasons
    assert sent(world) == ["a"]  # the consumer acts on no other
    assert not world.engine.gates[0]


@pytest.mark.parametrize("reason", [Reason.FENCED, Reason.LOOP_GAP, Reason.MALFUNCTION])
async def test_a_reason_that_comes_up_meanwhile_holds_for_what_is_still_to_be_decided(reason: Reason) -> None:
    world = await World().live(0)
    await half_done(world)
    world.worker._gates.shut(world.worker.shards[0], reason)
    assert world.engine.gates[0]  # the engine's gate follows when the event is over
    await finish(world)
    assert not world.engine.gates[0]
    assert sent(world) == ["a"]


async def test_a_gate_that_is_shut_and_opened_meanwhile_is_open_afterwards() -> None:
    world = await World().live(0)
    await half_done(world)
    shard, calls = world.worker.shards[0], len(world.engine.calls)
    world.worker._gates.shut(shard, Reason.ACCOUNT_LAG)
    world.worker._gates.lift(shard, Reason.ACCOUNT_LAG)
    await finish(world)
    assert world.engine.calls[calls:] == ["shut 0", "open 0"]
    assert sent(world) == ["a", "b", "c", "d"]


async def test_after_a_standstill_what_was_half_done_sends_nothing_though_the_tail_is_read_at_once() -> None:
    """The marks that it decides by may be as old as the standstill was long."""
    world = await World().live(0)
    await half_done(world, stops=4, accounts="bcde")
    world.clock.seconds += 5  # nobody ran
    world.worker.tick()
    await breathe()
    assert Reason.LOOP_GAP in world.worker.shards[0].reasons
    await finish(world)
    assert sent(world) == ["b"]
    await world.run(1)
    assert {order.account for order in world.broker.valid_orders()} == set("bcde")
    assert len({order.epoch for order in world.broker.valid_orders()}) == 2


async def test_a_shard_that_is_revoked_is_stored_when_the_event_is_over() -> None:
    world = await World().live(0)
    world.fill("x")
    world.engine.stops = 2
    folding = asyncio.ensure_future(world.input.pump(world.worker, ["fills"]))
    await breathe()
    revoking = asyncio.ensure_future(world.worker.revoked())
    await breathe()
    assert not revoking.done()
    await finish(world)
    assert revoking.done()
    assert folding.done()
    assert world.table.offsets[0]["fills"] == 1


async def test_a_shard_that_is_given_away_takes_the_rest_of_its_orders_along() -> None:
    world = await World().live(0, 1)
    world.engine.under["z"] = 1
    await half_done(world)
    world.worker.assigned(frozenset({1}))
    await finish(world)
    assert world.failures == []
    assert "drop 0" in world.engine.calls
    assert sent(world) == ["a"]
    await world.run(1)
    assert [order.account for order in world.broker.valid_orders(1)] == ["z"]


async def test_a_takeover_that_is_cancelled_while_rows_are_restored_is_not_made_twice() -> None:
    world = World()
    world.table.rows[0], world.table.offsets[0] = {"a": b"2,False"}, dict.fromkeys(ACCOUNT_TOPICS, 0)
    world.engine.stops = 3
    await world.start(0)
    assert not world.worker.shards[0].loaded
    world.worker.assigned(frozenset({0}))
    await finish(world)
    assert world.worker.shards[0].loaded
    assert world.engine.calls.count("restore 0") == 1
    assert world.failures == []
    await world.run(1)
    assert world.engine.gates[0]


async def test_who_waits_may_be_cancelled_and_the_event_comes_to_its_end() -> None:
    world = await World().live(0)
    folding = await half_done(world)
    folding.cancel()
    await finish(world)
    assert sent(world) == ["a", "b", "c", "d"]
    assert world.worker._engine.is_free


async def test_an_event_that_fails_in_the_middle_ends_the_worker_and_nothing_is_asked_any_more() -> None:
    world = await World().live(0)
    await half_done(world)
    storing = asyncio.ensure_future(world.worker._storage.store(world.worker.shards[0]))
    world.worker._engine.carry_out = _fails
    world.worker._engine._event._carry = lambda _: _fails([])  # type: ignore[union-attr]  # the one that is half done
    await finish(world)
    assert [str(error) for error in world.failures] == ["broken"]
    calls = list(world.engine.calls)
    world.worker.tick()
    world.worker._gates.shut(world.worker.shards[0], Reason.REVOKED)
    await finish(world)
    assert world.engine.calls == calls
    assert not storing.done()
    storing.cancel()


def _fails(_: object) -> None:
    raise RuntimeError("broken")


async def test_who_cannot_wait_has_the_event_finished_and_is_counted() -> None:
    world = await World().live(0)
    await half_done(world)
    world.worker._engine.take_dirty(0)
    assert world.meter.events.count(FORCED) == 1
    await breathe()
    assert sent(world) == ["a", "b", "c", "d"]
    await finish(world)
    assert world.failures == []


async def test_stopping_waits_for_what_is_half_done() -> None:
    world = await World().live(0)
    world.worker._settings = replace(world.worker._settings, release_ms=100)
    await half_done(world)
    stopping = asyncio.ensure_future(world.worker.stop())
    await finish(world)
    assert world.worker._engine.is_free
    await stopping
    assert sent(world) == ["a"]


async def test_a_claim_of_ours_meanwhile_makes_the_rest_void_and_it_is_decided_again() -> None:
    world = await World().live(0)
    await half_done(world)
    world.worker._ownership.claim(world.worker.shards[0])
    await breathe()
    reading = asyncio.ensure_future(world.input.pump(world.worker, [ORDERS]))
    await finish(world, 12)
    await reading
    await world.run(1)
    assert sent(world) == ["a", "b", "c", "d"]
    assert sum(isinstance(each, Order) for each in world.broker.messages(ORDERS)) == 1 + 3 + 3


async def test_a_shut_gate_holds_for_what_was_asked_for_before_and_is_begun_after() -> None:
    """A timer waits behind a storm; before its turn comes the accounts' records are late."""
    world = await World().live(0)
    await half_done(world)
    world.worker._timer()
    world.engine.under["x"] = 0
    world.worker._gates.shut(world.worker.shards[0], Reason.ACCOUNT_LAG)
    await finish(world)
    assert world.engine.timers
    assert sent(world) == ["a", "b", "c", "d"]


async def test_a_gate_that_is_to_be_opened_and_is_shut_again_before_that_stays_shut() -> None:
    world = await World().live(0)
    shard = world.worker.shards[0]
    world.worker._gates.shut(shard, Reason.ACCOUNT_LAG)
    world.engine.under["x"] = 0
    world.engine.stops = 3
    world.worker._timer()
    world.worker._gates.lift(shard, Reason.ACCOUNT_LAG)
    world.worker._gates.shut(shard, Reason.ACCOUNT_LAG)
    await finish(world)
    assert not world.engine.gates[0]
    assert sent(world) == []


async def test_timers_that_take_longer_than_they_are_apart_leave_turns_to_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await World().live(0)
    at_time = world.engine.at_time

    def slow(time_ms: int) -> Pieces:
        world.engine.stops = 20
        return at_time(time_ms)

    monkeypatch.setattr(world.engine, "at_time", slow)
    world.worker._timer()
    world.fill("x")
    folding = asyncio.ensure_future(world.input.pump(world.worker, ["fills"]))
    for _ in range(100):
        world.clock.jump(0.01)
        await breathe(5)
    assert folding.done()


async def test_a_void_order_that_is_read_does_not_stand_for_its_successor() -> None:
    """Both have one id: what was decided again is on its way still, and the store waits for it."""
    world = await World().live(0)
    await half_done(world)
    world.worker._ownership.claim(world.worker.shards[0])
    await breathe()
    await finish(world)
    log, at = world.broker.log(ORDERS, 0), world.input.positions[ORDERS, 0]
    first, claim, *void = (renamed(record, ORDERS) for record in log[at:])
    world.broker.holding = True
    await world.worker.fold(Batch(ORDERS, 0, at, claim.offset + 1, [first, claim]))
    await breathe()
    again = dict(world.worker.shards[0].outstanding)
    assert len(again) == len(void) == 3
    await world.worker.fold(Batch(ORDERS, 0, claim.offset + 1, len(log), void))
    assert world.worker.shards[0].outstanding == again
    world.broker.release()
