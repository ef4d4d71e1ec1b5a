"""Write-behind: rows and offsets together, only what is settled, and never a fold that the table did not see."""

from __future__ import annotations

import pytest

from services.liquidator.shard import Reason
from tests.unit.liquidator.fakes import ORDERS, World, a_claim, breathe


async def test_rows_are_stored_with_the_offsets_that_they_are_the_fold_of() -> None:
    world = await World().live(0)
    for _ in range(3):
        world.fill("a")
    await world.run(0.3)
    assert world.table.offsets[0]["fills"] == 3
    assert world.table.rows[0]["a"] == b"3,False"
    assert world.table.epochs[0] == world.worker.shards[0].fence


async def test_offsets_wait_for_the_acknowledgement_of_dead_letters() -> None:
    world = await World().live(0)
    await world.run(0.2)
    world.broker.holding = True
    world.fill("a", value=b"bad")
    await world.run(0.5)
    assert world.table.offsets[0]["fills"] == 0
    world.broker.release()
    await world.run(0.3)
    assert world.table.offsets[0]["fills"] == 1
    assert [record.value for record in world.broker.log("dead-letters", 0)] == [b"bad"]


@pytest.mark.parametrize("told", [b"state", b"deficit"])
async def test_offsets_wait_for_the_acknowledgement_of_account_states_and_defaults(told: bytes) -> None:
    world = await World().live(0)
    await world.run(0.2)
    world.broker.holding = True
    world.fill("a", value=told)
    await world.run(0.5)
    assert world.table.offsets[0]["fills"] == 0
    world.broker.release()
    await world.run(0.3)
    assert world.table.offsets[0]["fills"] == 1


async def test_offsets_wait_until_orders_were_read_back() -> None:
    world = await World().live(0)
    await world.run(0.2)
    world.engine.under["a"] = 0
    world.fill("a")
    await world.input.pump(world.worker)
    await world.clock.advance(0.5)  # nothing is delivered: the order is on the topic and was not read
    assert len(world.broker.valid_orders()) == 1
    assert world.table.offsets[0]["fills"] == 0
    await world.run(0.3)
    assert world.table.offsets[0]["fills"] == 1
    assert world.table.rows[0]["a"] == b"1,True"


async def test_a_lost_reply_is_a_success_that_is_found_out() -> None:
    world = await World().live(0)
    await world.run(0.2)
    world.fill("a")
    world.table.failing = "reply_lost"
    await world.run(1)
    world.fill("a")
    await world.run(0.5)
    assert world.table.rows[0]["a"] == b"2,False"
    assert "shard_reloaded" not in world.meter.events


async def test_as_much_stored_by_another_is_made_up_for_without_loading() -> None:
    world = await World().live(0)
    world.fill("a")
    await world.run(0.3)
    world.table.offsets[0]["fills"], world.table.epochs[0] = 2, -1  # a bit flipped, or another wrote by another way
    world.table.rows[0] = {"a": b"1,True", "x": b"1,False"}
    world.fill("a")
    await world.run(0.5)
    assert world.table.rows[0] == {"a": b"2,False"}
    assert world.table.offsets[0]["fills"] == 2
    assert "shard_reloaded" not in world.meter.events


async def test_while_redis_is_away_decisions_go_on_and_nothing_is_lost() -> None:
    world = await World().live(0)
    world.table.failing = "away"
    for _ in range(3):
        world.fill("a")
        await world.run(0.2)
    world.engine.under["b"] = 0
    await world.worker.fold_broadcast([world.price()])
    await world.run(0.2)
    assert [order.account for order in world.broker.valid_orders()] == ["b"]
    world.table.failing = None
    await world.run(1)
    assert world.table.rows[0]["a"] == b"3,False"
    assert world.table.rows[0]["b"] == b"0,True"


async def test_a_table_that_lost_writes_makes_the_shard_start_over_from_what_it_holds() -> None:
    world = await World().live(0)
    world.fill("a")
    await world.run(0.3)
    before = (dict(world.table.offsets[0]), dict(world.table.rows[0]))
    world.fill("a")
    await world.run(0.3)
    world.table.offsets[0], world.table.rows[0] = before
    world.fill("a")
    await world.run(2)
    assert "shard_reloaded" in world.meter.events
    assert world.engine.fills["a"] == 3
    assert world.table.rows[0]["a"] == b"3,False"
    assert world.engine.gates[0]


async def test_an_empty_table_is_rebuilt_from_the_log() -> None:
    world = await World().live(0)
    for _ in range(4):
        world.fill("a")
    await world.run(0.3)
    for kept in (world.table.offsets, world.table.rows, world.table.epochs, world.table.claims):
        kept.clear()
    world.fill("a")
    await world.run(2)
    assert world.table.rows[0]["a"] == b"5,False"


async def test_a_newer_epoch_in_the_table_stops_the_shard() -> None:
    """Its claim lies in the log, and was not read here yet."""
    world = await World().live(0)
    await world.run(0.2)
    for _ in range(3):
        world.broker.append(ORDERS, 0, a_claim())
    world.input.positions[ORDERS, 0] = 4
    world.table.epochs[0] = 3
    world.fill("a")
    await world.run(0.3)
    world.engine.under["a"] = 0
    await world.run(1)
    assert Reason.FENCED in world.worker.shards[0].reasons
    assert world.broker.valid_orders() == []
    assert "a" not in world.table.rows.get(0, {})


async def test_an_epoch_that_no_claim_can_have_is_not_another_owner() -> None:
    """A flipped bit in the table, or another cluster: nothing is stored over it, and a person is asked."""
    world = await World().live(0)
    await world.run(0.2)
    world.table.epochs[0] = 77
    world.fill("a")
    await world.run(1)
    assert world.worker.shards[0].reasons >= {Reason.REFUSED}
    assert "a" not in world.table.rows.get(0, {})


async def test_a_restart_resumes_without_losing_or_repeating_a_fill() -> None:
    first = await World().live(0)
    for number in range(20):
        first.fill(f"a-{number % 3}")
        await first.run(0.05)
        if number == 11:
            await first.die()
            first = await World(clock=first.clock, broker=first.broker, table=first.table, instance="w-1b").start(0)
            await first.pump()
    await first.run(0.3)
    assert first.engine.fills == {"a-0": 7, "a-1": 7, "a-2": 6}
    assert first.table.rows[0] == {"a-0": b"7,False", "a-1": b"7,False", "a-2": b"6,False"}


async def test_the_restored_shard_knows_the_claim_that_stored_orders_were_checked_against() -> None:
    """The claim lies before the stored offset and is not read again; an order after it must still count."""
    first = await World().live(0)
    await first.run(0.3)
    assert first.table.offsets[0][ORDERS] == 1
    first.broker.holding = True
    first.engine.under["a"] = 0
    await first.worker.fold_broadcast([first.price()])
    await breathe()
    first.broker.release()  # it lands, and its sender dies before reading it
    await first.die()
    second = await World(clock=first.clock, broker=first.broker, table=first.table, instance="w-2").start(0)
    second.engine.under["a"] = 0
    await second.pump()
    await second.run(0.5)
    assert [order.epoch for order in second.broker.valid_orders()] == [0]
    assert second.engine.issued["a"] == "confirmed"


async def test_group_offsets_trail_the_durable_ones() -> None:
    world = await World().live(0)
    world.fill("a")
    world.table.failing = "away"
    await world.run(1.5)
    assert world.input.commits.get(0, {}).get("fills", 0) == 0
    world.table.failing = None
    await world.run(2.5)
    assert world.input.commits[0]["fills"] == 1
