"""What leaves: an order or claim once, with an error meaning unknown; everything else until it is acknowledged."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from services.contracts.records import Record
from services.contracts.refusals import Reason as Refused
from services.contracts.refusals import Refusal
from services.engine.effects import Cause, DeadLetter
from services.liquidator.shard import Reason
from tests.unit.liquidator.fakes import ORDERS, World, breathe


@pytest.mark.parametrize("fate", ["unknown", "lost"])
async def test_after_a_producer_error_the_shard_claims_again_and_one_order_counts(fate: str) -> None:
    world = await World().live(0)
    world.broker.failing = fate
    world.engine.under["a"] = 0
    await world.worker.fold_broadcast([world.price()])
    await breathe()
    assert not world.engine.gates[0]
    world.broker.failing = None
    await world.run(1)
    assert len(world.broker.valid_orders()) == 1
    assert len(world.broker.claims()) > 1
    assert world.engine.issued["a"] == "confirmed"
    assert world.broker.producers > 1


async def test_an_order_that_lands_after_the_new_claim_is_void_and_its_successor_counts() -> None:
    world = await World().live(0)
    world.broker.holding = True
    world.engine.under["a"] = 0
    await world.worker.fold_broadcast([world.price()])
    await breathe()
    ghost = world.broker.held[0][0]
    world.broker.holding = False
    world.outbox._break(RuntimeError("timed out"))
    await breathe()
    world.broker._store(ghost)
    await world.run(1)
    values = [record.value for record in world.broker.log(ORDERS, 0)]
    assert values.count(ghost.value) == 1
    (valid,) = world.broker.valid_orders()
    assert valid.epoch == world.worker.shards[0].fence > 0


async def test_dead_letters_are_sent_over_as_many_producers_as_it_takes() -> None:
    world = await World().live(0)
    world.broker.failing = "lost"
    world.fill("a", value=b"bad")
    await world.run(1)
    assert world.broker.log("dead-letters", 0) == []
    world.broker.failing = None
    await world.run(3)
    assert [record.value for record in world.broker.log("dead-letters", 0)] == [b"bad"]
    assert world.table.offsets[0]["fills"] == 1


async def test_a_broker_that_is_down_is_tried_again() -> None:
    world = await World().live(0)
    world.broker.failing = "down"
    world.engine.under["a"] = 0
    await world.worker.fold_broadcast([world.price()])
    await world.run(3)
    assert world.broker.valid_orders() == []
    world.broker.failing = None
    await world.run(4)
    assert len(world.broker.valid_orders()) == 1


async def test_an_order_decided_while_no_broker_answers_is_not_sent_later_and_decided_again_if_it_is_still_due() -> (
    None
):
    """By the time somebody answers, transfers may wait unread that make it wrong: as with all other orders, it is now or never."""
    world = await World().live(0)
    world.broker.failing = "down"
    world.fill("x", value=b"bad")  # something is sent, and the producer breaks; no order of the shard is under way
    await world.run(0.1)
    world.engine.under |= {"a": 0, "b": 0}
    await world.worker.fold_broadcast([world.price()])
    await breathe()
    assert world.outbox.queued > 2
    del world.engine.under["a"]  # it was topped up meanwhile
    world.broker.failing = None
    await world.run(3)
    assert [(order.account, order.epoch) for order in world.broker.valid_orders()] == [("b", 1)]
    assert len(world.broker.claims()) == 2
    assert [record.value for record in world.broker.log("dead-letters", 0)] == [b"bad"]


async def test_a_dead_letter_carries_the_whole_record_and_its_place() -> None:
    world = await World().live(0)
    world.fill("a")
    offset = world.fill("a", value=b"bad")
    stamp = world.clock.now_ms()
    await world.pump()
    (letter,) = world.broker.log("dead-letters", 0)
    assert (letter.key, letter.value) == (b"a", b"bad")
    assert world.broker.headers["dead-letters", 0, 0] == {
        "reason": b"invalid_json", "detail": b"bad", "topic": b"fills", "partition": b"0", "offset": str(offset).encode(),
        "timestamp-ms": str(stamp).encode(),
    }  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [(5, 1_048_400), (1_000_000, 40_000)])
async def test_a_refused_record_that_fills_a_request_is_cut_to_what_its_topic_takes(key: int, value: int) -> None:
    """With headers beside it the producer would refuse it, at every start anew."""
    world = await World().live(0)
    record = Record(topic="fills", partition=0, offset=7, timestamp_ms=0, key=b"k" * key, value=b"v" * value)
    refusal = Refusal(Refused.RECORD_TOO_LARGE, "too much")
    world.worker._dispatch.carry_out([DeadLetter(cause=Cause("fills", 0, 7), record=record, refusal=refusal)])
    await world.pump()
    (letter,) = world.broker.log("dead-letters", 0)
    headers = world.broker.headers["dead-letters", 0, 0]
    assert headers["whole-bytes"] == f"{key}+{value}".encode()
    assert record.value.startswith(letter.value)
    assert (record.key or b"").startswith(letter.key or b"")
    pairs = list(headers.items())
    assert DefaultRecordBatchBuilder.estimate_size_in_bytes(letter.key, letter.value, pairs) < 1_000_000


async def test_orders_carry_their_schema() -> None:
    world = await World().live(0)
    world.engine.under["a"] = 0
    await world.worker.fold_broadcast([world.price()])
    await breathe()
    assert world.broker.headers[ORDERS, 0, 1] == {"content-type": b"application/json", "schema": b"liquidation-order"}


async def test_shadow_writes_to_its_own_topic_alone_and_reads_that_back() -> None:
    world = await World(shadow=True).live(0)
    world.fill("a", value=b"bad")
    world.fill("a", value=b"state")
    world.engine.under["a"] = 0
    await world.run(0.5)
    written = {topic for (topic, _), log in world.broker.logs.items() if log}
    assert written == {"fills", f"{ORDERS}-shadow"}
    assert len(world.broker.valid_orders(topic=f"{ORDERS}-shadow")) == 1
    assert world.engine.issued["a"] == "confirmed"
    assert world.table.offsets[0]["fills"] == 2


async def test_after_standing_still_the_orders_are_read_to_their_end_before_anything_is_sent() -> None:
    world = await World().live(0)
    world.broker.append(ORDERS, 0, b"{}")  # what somebody wrote while we stood still
    world.clock.jump(30)
    world.engine.under["a"] = 0
    await world.worker.fold_broadcast([world.price()])
    await breathe()
    assert Reason.LOOP_GAP in world.worker.shards[0].reasons
    assert world.broker.valid_orders() == []
    await world.run(0.5)
    assert len(world.broker.valid_orders()) == 1


async def test_an_order_decided_before_a_pause_is_not_sent_after_it() -> None:
    world = await World().live(0)
    world.engine.under["a"] = 0
    await world.worker.fold_broadcast([world.price()])  # decided and queued
    world.clock.jump(30)  # and the process stops before it is handed over
    await breathe()
    assert world.broker.valid_orders() == []
    await world.run(1)
    assert [order.epoch for order in world.broker.valid_orders()] == [world.worker.shards[0].fence]
    assert world.worker.shards[0].fence == 1


async def test_a_storm_that_was_computed_all_the_while_is_no_standing_still() -> None:
    """Else its orders were withheld and decided again, which takes as long: a worker that never sends one."""
    world = await World().live(0)
    world.engine.under["a"] = 0
    world.clock.jump(30)
    world.clock.worked_s += 29.9
    await world.worker.fold_broadcast([world.price()])
    await breathe()
    assert Reason.LOOP_GAP not in world.worker.shards[0].reasons
    assert len(world.broker.valid_orders()) == 1


async def test_who_was_taken_over_while_standing_still_stays_silent() -> None:
    first = await World().live(0)
    first.engine.under["a"] = 0
    first.clock.seconds += 30  # the process stops
    second = await World(clock=first.clock, broker=first.broker, table=first.table, instance="w-2").live(0)
    await first.worker.fold_broadcast([first.price()])
    await breathe()
    await first.run(1)
    assert first.broker.valid_orders() == []
    assert Reason.FENCED in first.worker.shards[0].reasons
    assert second.worker.shards[0].reasons == set()


async def test_after_a_producer_error_a_shard_that_is_anothers_is_left_to_its_owner() -> None:
    first = await World().live(0)
    second = await World(clock=first.clock, broker=first.broker, table=first.table, instance="w-2").live(0)
    await first.run(0.3)
    assert Reason.FENCED in first.worker.shards[0].reasons
    claims = len(first.broker.claims())
    first.worker._lost(frozenset({0}))
    await first.run(0.3)
    assert len(first.broker.claims()) == claims
    await second.run(0.3)
    assert second.worker.shards[0].holds_claim
    assert Reason.FENCED in first.worker.shards[0].reasons
