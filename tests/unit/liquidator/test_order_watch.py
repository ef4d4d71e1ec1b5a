"""What is known of the newest orders, and the trace context that goes out with them."""

from __future__ import annotations

import pytest

from services.adapters.ports import Batch, Headers
from services.adapters.tracing import Arrived, NoTracing
from services.contracts.messages import Order
from services.contracts.records import Record
from services.contracts.status import ORDERS_SHOWN
from services.engine.effects import Cause
from services.liquidator.order_watch import OrderWatch
from tests.unit.liquidator import fakes
from tests.unit.liquidator.fakes import ORDERS, START_MS, FakeClock, World, an_order, breathe

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class SpyTracer(NoTracing):
    """Answers a header of its own and remembers what it was told."""

    def __init__(self) -> None:
        self.causes: list[Arrived] = []
        self.ends: list[tuple[str, int | None]] = []

    def decided(self, order: Order, cause: Arrived) -> Headers:  # noqa: ARG002  # the port's parameters
        self.causes.append(cause)
        return (("traceparent", TRACEPARENT),)

    def acknowledged(self, order_id: str, offset: int) -> None:
        self.ends.append((order_id, offset))

    def unknown(self, order_id: str) -> None:
        self.ends.append((order_id, None))


class TracedWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.tracer = SpyTracer()
        self.worker._orders = OrderWatch(self.clock, self.tracer)
        self.worker._dispatch._orders = self.worker._orders


def test_the_newest_orders_first_and_a_bounded_number() -> None:
    clock = FakeClock()
    watch = OrderWatch(clock, NoTracing())
    for number in range(ORDERS_SHOWN + 5):
        watch.decided(an_order(f"a-{number}", 1), Arrived("prices", 0, number, START_MS - 3))
    watch.acknowledged("order-of-a-30", 12)
    newest = watch.newest()
    assert len(newest) == ORDERS_SHOWN
    assert newest[0].account == f"a-{ORDERS_SHOWN + 4}"
    told = {order.account: (order.offset, order.acknowledged_ms, order.caused_ms) for order in newest}
    assert told["a-30"] == (12, START_MS, START_MS - 3)
    assert told["a-31"] == (None, None, START_MS - 3)
    assert watch.decided_count == ORDERS_SHOWN + 5


def test_an_order_that_is_sent_again_is_one_order() -> None:
    watch = OrderWatch(FakeClock(), NoTracing())
    for account in ("a", "b", "a"):
        watch.decided(an_order(account, 1), Arrived("timer", 0, 0))
    assert [order.account for order in watch.newest()] == ["a", "b"]


async def test_an_orders_record_carries_the_context_and_its_answer_ends_the_trace() -> None:
    world = await TracedWorld().live(0)
    world.engine.under["a"] = 0
    await world.worker.fold_broadcast([world.price()])
    await breathe()
    offset = len(world.broker.log(ORDERS, 0)) - 1
    assert world.broker.headers[ORDERS, 0, offset]["traceparent"] == TRACEPARENT
    assert world.broker.headers[ORDERS, 0, offset]["content-type"] == b"application/json"
    assert world.tracer.ends == [("order-of-a", offset)]


async def test_the_context_of_the_causing_fill_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await TracedWorld().live(0)
    world.engine.under["a"] = 0
    offset = world.fill("a")
    monkeypatch.setattr(fakes, "CAUSE", Cause("fills", 0, offset))
    records = world.broker.log("fills", 0)[offset:]
    await world.worker.fold(Batch("fills", 0, offset, offset + 1, records, {offset: TRACEPARENT}))
    (cause,) = world.tracer.causes
    assert (cause.topic, cause.offset, cause.traceparent) == ("fills", offset, TRACEPARENT)
    assert cause.timestamp_ms == cause.arrived_ms == world.clock.now_ms()


async def test_a_timer_that_a_traced_fill_started_belongs_to_its_trace() -> None:
    world = await TracedWorld().live(0)
    offset = world.fill("a")
    world.fill("b")
    records = world.broker.log("fills", 0)[offset:]
    await world.worker.fold(Batch("fills", 0, offset, offset + 2, records, {offset: TRACEPARENT}))
    world.engine.under |= {"a": 0, "b": 0}
    world.worker.tick()
    traced, untraced = world.tracer.causes
    assert (traced.topic, traced.offset, traced.traceparent) == ("fills", offset, TRACEPARENT)
    assert (untraced.topic, untraced.traceparent) == ("timer", None)


async def test_an_old_trace_is_over() -> None:
    clock, tracer = FakeClock(), SpyTracer()
    watch = OrderWatch(clock, tracer)
    record = Record(topic="fills", partition=0, offset=7, timestamp_ms=START_MS, key=b"a", value=b"")
    watch.heard([record], {7: TRACEPARENT})
    clock.jump(11.0)
    watch.decided(an_order("a", 1), Arrived("timer", 0, 0))
    assert tracer.causes[0].traceparent is None


async def test_orders_whose_fate_is_unknown_end_their_trace() -> None:
    world = await TracedWorld().live(0)
    world.engine.under["a"] = 0
    world.broker.failing = "unknown"
    await world.worker.fold_broadcast([world.price()])
    await breathe()
    assert world.tracer.ends[0] == ("order-of-a", None)
