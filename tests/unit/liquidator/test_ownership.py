"""Claims: who decides is what the log says, and nothing is decided before it was read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import pytest

from services.adapters.ports import LogRange, Stored, Unreachable
from services.contracts.codec import encode
from services.liquidator.ownership import STARTED_AT_ONCE
from services.liquidator.shard import Reason
from tests.unit.liquidator.fakes import ORDERS, FakeTable, World, a_claim, an_order, breathe


async def test_nothing_is_decided_before_claim_and_topics_were_read_to_their_ends() -> None:
    world = World()
    world.engine.under["a"] = 0
    world.fill("a")
    await world.start(0)
    assert len(world.broker.claims()) == 1
    await world.input.pump(world.worker, only=[ORDERS])
    await breathe()
    assert Reason.RECOVERING in world.worker.shards[0].reasons
    assert world.broker.valid_orders() == []
    await world.pump()
    assert world.worker.shards[0].reasons == set()
    assert [order.account for order in world.broker.valid_orders()] == ["a"]


async def test_records_that_arrive_after_the_claim_do_not_hold_the_gate_shut() -> None:
    world = World()
    await world.start(0)
    world.fill("late")
    await world.input.pump(world.worker, only=[ORDERS])
    await breathe()
    assert world.engine.gates[0]


async def test_reference_data_comes_first() -> None:
    world = World()
    await world.outbox.connect()
    world.worker.assigned(frozenset({0}))
    await breathe()
    assert world.input.seeks == []
    world.worker.broadcast_ready.set()
    await breathe()
    assert [partition for partition, _ in world.input.seeks] == [0]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_takeover_whose_cancellation_was_lost_restores_and_claims_nothing(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group gives the shard again while it is being taken over, and the client loses the cancellation."""
    world = World()
    ranges, asked = world.input.ranges, asyncio.Event()

    async def loses_the_first_cancellation(partition: int) -> Mapping[str, LogRange]:
        if not asked.is_set():
            asked.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            if not answers:
                raise Unreachable("cancelled")
        return await ranges(partition)

    monkeypatch.setattr(world.input, "ranges", loses_the_first_cancellation)
    await world.start(0)
    assert asked.is_set()
    world.worker.assigned(frozenset({0}))
    await world.run(1)
    assert world.engine.calls.count("restore 0") == 1
    assert len(world.broker.claims()) == 1


async def test_of_many_shards_a_few_are_in_memory_twice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows that were loaded, and what they became; whoever cannot load gives way to the others."""
    world = World()
    load, may_go = world.table.load, asyncio.Event()
    loading: list[int] = []

    async def slow(partition: int) -> Stored:
        loading.append(partition)
        await may_go.wait()
        if loading.count(partition) == 1 and partition < STARTED_AT_ONCE:
            raise Unreachable("busy")
        return await load(partition)

    monkeypatch.setattr(world.table, "load", slow)
    await world.start(*range(6))
    assert loading == [0, 1]
    may_go.set()
    await breathe()
    assert sorted({*loading}) == [0, 1, 2, 3, 4, 5]
    await world.run(1)
    assert all(shard.loaded for shard in world.worker.shards.values())


async def test_an_order_of_the_tail_is_known_before_deciding() -> None:
    """The predecessor's order landed and was not stored: the successor reads it and does not order again."""
    world = World()
    world.engine.under["a"] = 0
    epoch = world.broker.append(ORDERS, 0, a_claim())
    world.broker.append(ORDERS, 0, encode(an_order("a", epoch)))
    await world.live(0)
    await world.run(1)
    assert [order.epoch for order in world.broker.valid_orders()] == [epoch]
    assert world.engine.issued["a"] == "confirmed"


async def test_an_order_of_an_older_epoch_does_not_count_and_is_decided_again() -> None:
    world = World()
    world.engine.under["a"] = 0
    world.broker.append(ORDERS, 0, a_claim("first"))
    world.broker.append(ORDERS, 0, a_claim("second"))
    world.broker.append(ORDERS, 0, encode(an_order("a", 0)))
    await world.live(0)
    await world.pump()
    assert [order.epoch for order in world.broker.valid_orders()] == [world.worker.shards[0].fence]


async def test_a_later_claim_of_another_stops_the_shard_before_the_engine_takes_its_epoch() -> None:
    world = await World().live(0)
    theirs = world.broker.append(ORDERS, 0, a_claim())
    world.engine.under["a"] = 0
    world.engine.calls.clear()
    await world.input.pump(world.worker)
    assert world.engine.calls.index("shut 0") < world.engine.calls.index(f"{ORDERS}@{theirs}")
    await world.run(1)
    assert world.worker.shards[0].reasons >= {Reason.FENCED, Reason.CLAIM}
    assert world.broker.valid_orders() == []


async def test_a_fenced_shard_is_not_stored() -> None:
    world = await World().live(0)
    await world.run(0.2)
    world.broker.append(ORDERS, 0, a_claim())
    world.fill("a")
    await world.run(0.5)
    assert world.table.offsets[0]["fills"] == 0


async def test_after_a_rivals_long_silence_the_assigned_worker_claims_again() -> None:
    world = await World().live(0)
    world.broker.append(ORDERS, 0, a_claim())
    await world.run(1)
    assert not world.engine.gates[0]
    await world.run(8)
    assert world.engine.gates[0]
    assert len(world.broker.claims()) == 3


async def test_a_ghost_of_our_own_claims_makes_us_claim_again() -> None:
    """An old claim that lands late replaces the epoch that we send under: orders in between would not count."""
    world = await World().live(0)
    shard = world.worker.shards[0]
    world.broker.append(ORDERS, 0, a_claim(shard.nonces[0], "w-1"))
    world.engine.under["a"] = 0
    await world.pump()
    assert world.engine.gates[0]
    assert shard.fence == len(world.broker.claims()) - 1
    assert [order.epoch for order in world.broker.valid_orders()] == [shard.fence]


async def test_a_claim_is_renewed_every_minute() -> None:
    world = await World().live(0)
    await world.clock.advance(59, step=0.4)
    assert len(world.broker.claims()) == 1
    await world.run(2)
    assert len(world.broker.claims()) == 2
    assert world.engine.gates[0]


async def test_while_a_claim_is_renewed_nothing_is_decided_under_the_old_one() -> None:
    world = await World().live(0)
    world.worker._ownership.claim(world.worker.shards[0])
    world.engine.under["a"] = 0
    await breathe()
    assert world.broker.valid_orders() == []
    await world.pump()
    assert [order.epoch for order in world.broker.valid_orders()] == [1]


async def test_two_workers_that_both_believe_to_own_a_shard_issue_one_valid_order() -> None:
    first = await World().live(0)
    second = await World(clock=first.clock, broker=first.broker, table=first.table, instance="w-2").live(0)
    first.engine.under["a"] = second.engine.under["a"] = 0
    await first.worker.fold_broadcast([first.price()])  # has not read the second one's claim
    await second.worker.fold_broadcast([second.price()])
    for _ in range(10):
        await breathe()
        await second.pump()
        await first.pump()
    orders = [m for m in first.broker.messages(ORDERS) if hasattr(m, "order_id")]
    assert len(orders) == 2
    assert [order.epoch for order in first.broker.valid_orders()] == [second.worker.shards[0].fence]
    assert Reason.FENCED in first.worker.shards[0].reasons


async def test_below_the_logs_start_the_shard_is_refused_and_the_others_go_on() -> None:
    table = FakeTable()
    world = World(table=table)
    table.offsets[1] = dict.fromkeys(
        ("accounts", "fills", "transfers", "order-events", "account-statements", ORDERS), 0
    )
    table.epochs[1] = table.claims[1] = 0
    world.broker.begin["fills", 1] = 7
    await world.start(0, 1)
    await world.pump()
    assert world.worker.shards[1].reasons >= {Reason.REFUSED}
    assert "shard_refused" in world.meter.alarms
    assert world.engine.gates == {0: True, 1: False, 2: False, 3: False}


async def test_a_truncated_log_is_refused() -> None:
    table = FakeTable()
    table.offsets[0] = dict.fromkeys(
        ("accounts", "fills", "transfers", "order-events", "account-statements", ORDERS), 9
    )
    table.epochs[0] = table.claims[0] = 3
    world = await World(table=table).start(0)
    assert Reason.REFUSED in world.worker.shards[0].reasons


async def test_a_shard_that_nobody_stored_is_refused_where_its_topics_were_cut() -> None:
    """What retention took away would be missing from the ledger."""
    world = World()
    for _ in range(7):
        world.fill("a")
    world.broker.begin["fills", 0] = 5
    await world.start(0)
    await world.pump()
    assert Reason.REFUSED in world.worker.shards[0].reasons
    assert world.broker.claims() == []


async def test_a_shard_of_cut_topics_may_be_started_where_openings_hold_what_was_before() -> None:
    world = World(from_cut_topics=True)
    for _ in range(7):
        world.fill("a")
    world.broker.begin["fills", 0] = 5
    await world.live(0)
    assert world.engine.fills["a"] == 2


async def test_redis_being_away_delays_the_start_and_nothing_else() -> None:
    world = World()
    world.table.failing = "away"
    await world.start(0)
    await world.run(1)
    assert world.broker.claims() == []
    world.table.failing = None
    await world.run(5)
    assert world.engine.gates[0]


async def _claims_after_a_fill_that_waits(world: World, may_go: asyncio.Event) -> None:
    """An earlier claim is acknowledged, a fill comes, and only then the next claim is made and read: the fill is still to be."""
    world.broker.release()
    await breathe()
    world.fill("late")
    may_go.set()
    await breathe()
    for _ in range(3):
        await world.input.pump(world.worker, [ORDERS])
        await breathe()
    assert world.worker.shards[0].holds_claim
    assert Reason.RECOVERING in world.worker.shards[0].reasons


async def test_ends_that_were_asked_for_before_the_claim_of_a_shard_begun_anew_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A claim of the shard as it was before is acknowledged while the shard is loaded once more."""
    world = await World().live(0)
    load, may_go = world.table.load, asyncio.Event()

    async def slow(partition: int) -> Stored:
        await may_go.wait()
        return await load(partition)

    monkeypatch.setattr(world.table, "load", slow)
    world.broker.holding = True
    world.worker._ownership.claim(world.worker.shards[0])
    await breathe()
    world.worker._reload(world.worker.shards[0])
    await _claims_after_a_fill_that_waits(world, may_go)
    await world.pump()
    assert world.worker.shards[0].reasons == set()


async def test_ends_that_were_asked_for_before_a_shard_was_given_again_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await World().live(0)
    seek, may_go = world.input.seek, asyncio.Event()

    async def slow(partition: int, offsets: Mapping[str, int]) -> None:
        await may_go.wait()
        await seek(partition, offsets)

    monkeypatch.setattr(world.input, "seek", slow)
    world.broker.holding = True
    world.worker._ownership.claim(world.worker.shards[0])
    await breathe()
    await world.worker.revoked()
    world.worker.assigned(frozenset({0}))
    await _claims_after_a_fill_that_waits(world, may_go)
    await world.pump()
    assert world.worker.shards[0].reasons == set()


async def test_shards_that_the_broker_does_not_answer_for_hold_no_place_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Partitions without a leader: each question takes as long as a request may."""
    world = World()
    ranges, gone = world.input.ranges, range(2 * STARTED_AT_ONCE)

    async def leaderless(partition: int) -> Mapping[str, LogRange]:
        if partition in gone:
            await world.clock.sleep(15)
            raise Unreachable("no leader")
        return await ranges(partition)

    monkeypatch.setattr(world.input, "ranges", leaderless)
    await world.start(*range(2 * STARTED_AT_ONCE + 4))
    await world.clock.advance(1)
    assert [shard.partition for shard in world.worker.shards.values() if shard.loaded] == [4, 5, 6, 7]
