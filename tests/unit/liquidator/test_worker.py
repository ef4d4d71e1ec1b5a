"""Feeding the engine: in order, without holes or repeats, and not while account records wait."""

from __future__ import annotations

import asyncio

from services.adapters.ports import Batch, Feed
from services.liquidator.lag import LagOfTopic
from services.liquidator.shard import Reason
from tests.unit.liquidator.fakes import ORDERS, World, breathe


def batch_of(world: World, start: int, end: int) -> Batch:
    return Batch("fills", 0, start, end, world.broker.log("fills", 0)[start:end])


async def test_a_batch_that_leaves_a_hole_is_not_folded_but_asked_for_again() -> None:
    world = await World().live(0)
    for _ in range(6):
        world.fill("a")
    await world.worker.fold(batch_of(world, 0, 2))
    await world.worker.fold(batch_of(world, 4, 6))
    assert world.engine.fills["a"] == 2
    assert world.input.seeks[-1] == (0, world.worker.shards[0].next)
    await world.pump()
    assert world.engine.fills["a"] == 6


async def test_records_seen_before_are_not_folded_again() -> None:
    world = await World().live(0)
    for _ in range(6):
        world.fill("a")
    await world.worker.fold(batch_of(world, 0, 4))
    await world.worker.fold(batch_of(world, 0, 4))
    await world.worker.fold(batch_of(world, 2, 6))
    assert world.engine.fills["a"] == 6


async def test_offsets_without_records_count_as_read() -> None:
    """Transaction markers and compaction leave offsets that no record has."""
    world = await World().live(0)
    await world.worker.fold(Batch("fills", 0, 0, 9, []))
    assert world.worker.shards[0].next["fills"] == 9


async def test_records_of_a_shard_that_is_not_ours_are_left_alone() -> None:
    world = await World().live(1)
    world.fill("a")
    await world.worker.fold(batch_of(world, 0, 1))
    assert world.engine.fills == {}


async def test_a_rebalance_keeps_the_memory_and_claims_again() -> None:
    world = await World().live(0, 1)
    world.fill("a")
    world.fill("b", partition=1)
    await world.pump()
    await world.worker.revoked()
    assert world.engine.gates == dict.fromkeys(range(4), False)
    world.worker.assigned(frozenset({0}))
    await breathe()
    await world.pump()
    assert world.engine.fills == {"a": 1}
    assert world.engine.gates[0]
    assert [len(world.broker.claims(p)) for p in (0, 1)] == [2, 1]
    assert world.table.rows[1] == {"b": b"1,False"}


async def test_nothing_is_decided_between_revocation_and_the_next_claim() -> None:
    world = await World().live(0)
    await world.worker.revoked()
    world.engine.under["a"] = 0
    await world.run(1)
    assert world.broker.valid_orders() == []


async def test_a_shard_moves_without_losing_or_repeating() -> None:
    first = await World().live(0)
    for _ in range(5):
        first.fill("a")
    await first.pump()
    await first.worker.revoked()
    first.worker.assigned(frozenset())
    second = await World(clock=first.clock, broker=first.broker, table=first.table, instance="w-2").live(0)
    first.fill("a")
    await second.run(0.3)
    assert second.engine.fills["a"] == 6
    assert first.engine.fills == {}
    assert first.table.rows[0]["a"] == b"6,False"


async def test_a_worker_that_was_away_for_a_generation_starts_over_from_the_table() -> None:
    """Its memory is of before; another one stored since, so its own write-behind no longer fits."""
    first = await World().live(0)
    first.fill("a")
    await first.run(0.3)
    second = await World(clock=first.clock, broker=first.broker, table=first.table, instance="w-2").live(0)
    first.fill("a")
    await second.run(0.3)
    await second.worker.revoked()
    second.worker.assigned(frozenset())
    await first.worker.revoked()
    first.worker.assigned(frozenset({0}))
    first.fill("a")
    await first.run(2)
    assert first.engine.fills["a"] == 3
    assert first.table.rows[0]["a"] == b"3,False"
    assert first.engine.gates[0]


async def test_the_gate_shuts_while_account_records_wait_and_opens_when_they_were_read() -> None:
    world = await World().live(0)
    world.fill("a")
    await world.clock.advance(0.1)
    assert Reason.ACCOUNT_LAG not in world.worker.shards[0].reasons
    await world.clock.advance(0.3)
    assert Reason.ACCOUNT_LAG in world.worker.shards[0].reasons
    world.engine.under["a"] = 0
    await world.clock.advance(0.2)
    assert world.broker.valid_orders() == []
    await world.run(0.2)
    assert len(world.broker.valid_orders()) == 1


async def test_a_broker_that_is_silent_shuts_the_gate() -> None:
    world = await World().live(0)
    world.input.silent_since_ms = world.clock.now_ms()
    await world.run(2.2)
    assert Reason.ACCOUNT_LAG in world.worker.shards[0].reasons
    world.input.silent_since_ms = None
    await world.run(0.2)
    assert world.engine.gates[0]


async def test_what_waited_while_the_loop_was_busy_shuts_the_gate_before_a_price_decides() -> None:
    world = await World().live(0)
    await world.clock.advance(0.1)
    world.fill("a")
    world.engine.under["a"] = 0
    world.clock.seconds += 0.3  # nobody ran in between: not even the tick that watches the lag
    await world.worker.fold_broadcast([world.price()])
    await breathe()
    assert Reason.ACCOUNT_LAG in world.worker.shards[0].reasons
    assert world.broker.valid_orders() == []


def test_lag_after_a_quiet_time_is_counted_from_the_last_word_that_nothing_waits() -> None:
    lag = LagOfTopic()
    lag.folded(newest_ms=1_000, position=5, feed=Feed(5, 1_000))
    lag.observe(position=5, feed=Feed(5, 3_600_000), now_ms=3_600_000)
    lag.observe(position=5, feed=Feed(6, 3_600_050), now_ms=3_600_050)
    assert (lag.records, lag.ms) == (1, 50)
    lag.observe(position=5, feed=Feed(6, 3_600_050), now_ms=3_600_150)
    assert lag.ms == 150


def test_lag_in_a_backlog_is_counted_from_the_newest_folded_record() -> None:
    lag = LagOfTopic()
    lag.folded(newest_ms=1_000, position=5, feed=Feed(500, 9_000))
    lag.observe(position=5, feed=Feed(500, 9_000), now_ms=9_000)
    assert (lag.records, lag.ms) == (495, 8_000)


def test_lag_after_a_silence_is_counted_from_its_beginning() -> None:
    """The broker was away: what it tells of then may have waited all that time."""
    lag = LagOfTopic()
    lag.observe(position=5, feed=Feed(5, 1), now_ms=1_000)
    lag.observe(position=5, feed=Feed(5, 1), now_ms=4_000)
    assert lag.ms == 3_000
    lag.observe(position=5, feed=Feed(9, 2), now_ms=4_050)
    assert (lag.records, lag.ms) == (4, 3_050)


def test_records_that_wait_and_never_come_are_noticed() -> None:
    lag = LagOfTopic()
    for now_ms in (1_000, 3_000, 7_000):
        lag.observe(position=5, feed=Feed(9, now_ms), now_ms=now_ms)
    assert lag.stuck_ms == 6_000
    lag.asked_again()
    lag.observe(position=5, feed=Feed(9, 7_050), now_ms=7_050)
    assert lag.stuck_ms == 0


async def test_records_lost_on_the_way_are_asked_for_again() -> None:
    """No later record follows that would show the hole."""
    world = await World().live(0)
    world.fill("a")
    world.input.positions["fills", 0] = 1  # fetched, and dropped before it reached the worker
    await world.run(4)
    assert Reason.ACCOUNT_LAG in world.worker.shards[0].reasons
    await world.run(2)
    assert world.engine.fills == {"a": 1}
    assert world.engine.gates[0]


async def test_the_engines_time_follows_the_wall_at_most_every_100_ms() -> None:
    world = await World().live(0)
    world.engine.timers.clear()
    await world.clock.advance(2)
    steps = [b - a for a, b in zip(world.engine.timers, world.engine.timers[1:], strict=False)]
    assert 15 <= len(world.engine.timers) <= 20
    assert min(steps) >= 100


async def test_old_prices_are_folded_to_the_newest_marks_and_decided_once() -> None:
    world = await World().live(0)
    old = [world.price(offset) for offset in range(5)]
    await world.clock.advance(1)
    world.engine.calls.clear()
    await world.worker.fold_broadcast(old)
    assert world.engine.calls == ["fold_prices:5"]
    assert world.engine.timers[-1] == world.clock.now_ms()
    await world.worker.fold_broadcast([world.price(5), world.price(6)])
    assert world.engine.calls[1:] == ["prices@5", "prices@6"]


async def test_a_clean_stop_settles_and_stores_everything() -> None:
    world = await World().live(0)
    world.fill("a")
    world.engine.under["a"] = 0
    await world.input.pump(world.worker)
    stopping = asyncio.ensure_future(world.worker.stop())
    await breathe()
    await world.pump()
    await asyncio.wait_for(stopping, 5)
    assert world.table.rows[0]["a"] == b"1,True"
    assert world.table.offsets[0][ORDERS] == 2
    assert "stopping" in world.worker.readiness(1_000)


async def test_readiness_names_what_is_missing() -> None:
    world = World()
    await world.outbox.connect()
    world.worker.assigned(frozenset({0}))
    assert "broadcast topics are being read" in world.worker.readiness(1_000)
    world = await World().start(0)
    assert "shard 0: claim" in world.worker.readiness(1_000)
    await world.pump()
    assert world.worker.readiness(1_000) == ["no fresh price"]
    await world.worker.fold_broadcast([world.price()])
    assert world.worker.readiness(1_000) == []
    await world.run(1.2)
    assert world.worker.readiness(1_000) == ["no fresh price"]


async def test_an_unexpected_error_ends_the_worker() -> None:
    world = World()

    async def broken(partition: int) -> None:
        raise RuntimeError("a mistake of ours")

    world.table.load = broken  # type: ignore[method-assign,assignment]  # a table with a bug
    await world.start(0)
    assert [str(error) for error in world.failures] == ["a mistake of ours"]
