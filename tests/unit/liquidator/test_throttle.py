"""Caps: what any second and any minute sees, who goes first, and what a worker does with what finds no room."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.decimals import ONE, parse
from services.contracts.messages import Order
from services.engine.effects import Emit
from services.liquidator.config import Misconfigured, load
from services.liquidator.throttle import Caps, Held, Lane, Throttle, rank_of
from tests.support.script import Script
from tests.unit.liquidator.fakes import FakeClock, World, an_order


def order(name: str, equity: str = "0", margin: str = "1", valid_until_ms: int = 2**62) -> Order:
    return msgspec.structs.replace(
        an_order(name, 0), equity=equity, maintenance_margin=margin, valid_until_ms=valid_until_ms
    )


def throttle(orders: int | None = None, notional: int | None = None) -> tuple[Throttle, FakeClock]:
    clock = FakeClock()
    return Throttle(Caps(orders_per_second=orders, notional_per_minute=notional), clock), clock


@given(st.integers(1, 60), st.lists(st.sampled_from([0.0, 0.001, 0.05, 0.05, 0.3]), max_size=150))
def test_no_second_sees_more_orders_than_the_cap(cap: int, waits: list[float]) -> None:
    lane, now, passed = Lane(Caps(orders_per_second=cap), 0), 0.0, []
    for wait in waits:
        now += wait
        while lane.admits(now, 0):
            lane.take(now, 0)
            passed.append(now)
    assert all(sum(at <= each < at + 1 for each in passed) <= cap for at in passed)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 100)), max_size=60))
def test_no_minute_sees_more_notional_than_the_cap(steps: list[tuple[float, int]]) -> None:
    lane, now, passed = Lane(Caps(notional_per_minute=600), 0), 0.0, []
    for wait, amount in steps:
        now += wait
        if lane.admits(now, amount):
            lane.take(now, amount)
            passed.append((now, amount))
    for at, _ in passed:
        assert sum(amount for each, amount in passed if at <= each < at + 60) <= 600 * (1 + 1e-9)


def test_an_order_above_the_cap_passes_and_leaves_a_debt() -> None:
    """A cap delays and never halts: what can never fit is let through when nothing else was."""
    lane = Lane(Caps(notional_per_minute=600), 0)
    assert lane.admits(0, 5_000)
    lane.take(0, 5_000)
    assert not lane.admits(588, 1)
    assert lane.admits(589, 1)


def test_caps_are_shared_by_the_partitions_rounded_down() -> None:
    caps = Caps(orders_per_second=50, notional_per_minute=1_000)
    assert caps.share(12) == Caps(orders_per_second=4, notional_per_minute=83)
    with pytest.raises(ValueError, match=r"caps\.orders_per_second leaves nothing for each of 64 partitions"):
        caps.share(64)


def test_the_caps_are_configured_for_all_workers_together(tmp_path: Path) -> None:
    path = tmp_path / "ringfence.toml"
    needed = '[kafka]\nbootstrap = "h:1"\n[redis]\nurl = "redis://h"\n'
    path.write_text(needed)
    assert load(path).caps.of_shard(12) == Caps()
    path.write_text(needed + '[caps]\norders_per_second = 50\nnotional_per_minute = "1000000"\n')
    assert load(path).caps.of_shard(4) == Caps(orders_per_second=12, notional_per_minute=250_000 * ONE)
    with pytest.raises(Misconfigured, match="51 partitions"):
        load(path).caps.of_shard(51)


def test_the_worst_go_first_whenever_they_came() -> None:
    held, clock = throttle(orders=1)
    assert held.passes(0, order("first", "9"), 1)
    for name, equity in (("mild", "0.9"), ("worst", "-3"), ("bad", "0.1")):
        assert not held.passes(0, order(name, equity), 1)
    gone = []
    for _ in range(3):
        clock.jump(1)
        held.release(0, lambda places: gone.extend(place[0] for place in places))
    assert gone == ["worst", "bad", "mild"]


def test_a_newcomer_passes_only_if_nothing_worse_waits() -> None:
    held, clock = throttle(orders=1)
    assert held.passes(0, order("first"), 1)
    assert not held.passes(0, order("bad", "0.1"), 1)
    clock.jump(1)
    assert not held.passes(0, order("mild", "0.9"), 1)
    assert held.passes(0, order("worst", "-1"), 1)


def test_shards_do_not_wait_for_each_other() -> None:
    held, _ = throttle(orders=1)
    assert held.passes(0, order("a"), 1)
    assert held.passes(1, order("b"), 1)
    assert not held.passes(0, order("c"), 1)


def test_debt_that_nothing_secures_is_the_worst() -> None:
    names = sorted(
        [order("mild", "0.9"), order("debt", "-1", "0"), order("empty", "1", "0"), order("worse", "-5", "2")],
        key=rank_of,
    )
    assert [each.account for each in names] == ["debt", "worse", "mild", "empty"]


def test_what_waits_too_long_is_decided_again_though_there_is_no_room() -> None:
    held, clock = throttle(orders=1)
    now_ms = clock.now_ms()
    assert held.passes(0, order("a"), 1)
    assert not held.passes(0, order("b", "0.5", valid_until_ms=now_ms + 300), 1)
    again: list[str] = []

    def decide_again(places: object) -> None:
        again.append("b")
        assert not held.passes(0, order("b", "0.4", valid_until_ms=now_ms + 5_000), 1)

    clock.jump(0.2)
    held.release(0, decide_again)
    assert again == []
    clock.jump(0.2)
    held.release(0, decide_again)
    assert again == ["b"]
    assert held.oldest_s(0) == pytest.approx(0.4), "the wait is counted from the first decision on"
    assert held.held(0) == 1


def test_the_queue_does_not_grow_with_how_often_it_is_decided_again() -> None:
    """Three orders, their ranks renewed a thousand times each while the worst of them finds no room."""
    lane = Lane(Caps(orders_per_second=1), 0.0)
    for number in range(1_000):
        for name, equity in (("a", 0), ("b", number), ("c", number)):
            rank = rank_of(order(name, str(equity), "1"))
            lane.hold(Held(rank, (name, "main", name), 1, 0.0, 0))
    assert len(lane._worst) < 100
    worst = lane.worst()
    assert worst is not None
    assert worst.place[0] == "a"


async def test_a_worker_sends_no_more_than_its_cap_and_all_in_the_end() -> None:
    world = await World(caps=Caps(orders_per_second=4)).live(0)
    world.engine.under |= {f"a{number}": 0 for number in range(12)}
    world.fill("x")
    counts = []
    for _ in range(8):
        await world.run(0.5)
        counts.append(len(world.broker.valid_orders()))
    assert counts[0] <= 4
    assert all(later - earlier <= 4 for earlier, later in zip(counts, counts[2:], strict=False))
    assert counts[-1] == 12
    assert "order_held" in world.meter.events
    assert world.worker.brakes.throttle.held(0) == 0


async def test_what_recovered_while_it_waited_is_not_sent() -> None:
    world = await World(caps=Caps(orders_per_second=1)).live(0)
    world.engine.under |= {"a": 0, "b": 0}
    world.fill("x")
    await world.run(0.1)
    assert len(world.broker.valid_orders()) == 1
    del world.engine.under["b"]
    await world.run(3)
    assert [each.account for each in world.broker.valid_orders()] == ["a"]
    assert world.worker.brakes.throttle.held(0) == 0


async def test_a_long_wait_alarms() -> None:
    world = await World(caps=Caps(orders_per_second=1)).live(0)
    world.engine.under |= {f"a{number}": 0 for number in range(5)}
    world.fill("x")
    await world.run(0.9)
    assert world.meter.alarms == []
    await world.run(1.5)
    assert "orders_throttled" in world.meter.alarms


async def test_held_orders_are_decided_anew_after_a_new_claim() -> None:
    """Nothing held is an issued order: a claim forgets it, and the level finds it again."""
    world = await World(caps=Caps(orders_per_second=1)).live(0)
    world.engine.under |= {"a": 0, "b": 0}
    world.fill("x")
    await world.run(0.1)
    world.worker._ownership.claim(world.worker.shards[0])
    await world.run(3)
    assert sorted(each.account for each in world.broker.valid_orders()) == ["a", "b"]


def again_of(script: Script, held: Order) -> list[Order]:
    """What the engine orders when the held order has room."""
    effects = script.engine.decide_again([(held.account, held.bucket, held.order_id)])
    return [each.message for each in effects if isinstance(each, Emit) and isinstance(each.message, Order)]


def test_the_engine_decides_a_held_order_again_at_the_mark_of_now() -> None:
    script = Script(reads_back=False).under().mark("905")
    (first,) = script.orders
    (again,) = again_of(script, first)
    assert (first.mark_price, again.mark_price, again.order_id) == ("909", "905", first.order_id)
    assert script.engine.notional(again) == parse(again.quantity) * parse(again.mark_price) // ONE


def test_a_held_order_of_a_recovered_bucket_is_forgotten() -> None:
    script = Script(reads_back=False).under().mark("1000")
    assert len(script.bucket().orders) == 1
    assert again_of(script, script.orders[0]) == []
    assert script.bucket().orders == {}


def test_a_held_order_of_a_halted_account_waits_for_the_resume() -> None:
    script = Script(reads_back=False).under().control("halt", "account", "a-1")
    assert again_of(script, script.orders[0]) == []
    script.control("resume", "account", "a-1")
    assert len(script.orders) == 2


def test_a_held_repetition_is_sent_with_a_fresh_validity_and_an_answered_one_is_not() -> None:
    script = Script().under().wait(10_000)
    first, order_id = script.orders[0], script.orders[0].order_id
    resends = script.bucket().orders[order_id].resends
    script.engine.timer(script.now)
    (again,) = again_of(script, first)
    assert (again.order_id, again.valid_until_ms) == (order_id, script.now + 2_000)
    assert script.bucket().orders[order_id].resends == resends
    script.answer("expired", "0", order=first)
    assert order_id not in [each.order_id for each in again_of(script, first)]
