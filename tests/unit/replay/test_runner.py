"""The runner: the order of inputs, timers, read-backs and answers, and what of a recording is no input."""

from __future__ import annotations

import pytest

from services.contracts.codec import decode
from services.contracts.messages import Fill, Order, OrderEvent
from services.contracts.records import Record
from services.contracts.refusals import Reason, Refusal
from services.engine.effects import Cause, DeadLetter, Effect
from services.replay.choices import Matching
from services.replay.runner import Runner, TimerStuck
from tests.unit.replay.fakes import FakeEngine, emit, instrument, of, order, price, record

FILL = Fill(
    fill_id="f-1", account="a-1", instrument="BTC-PERP", side="buy", quantity="1", price="100", ts_ms=0, order_id="o-1"
)
EVENT = OrderEvent(
    order_id="o-1", account="a-1", bucket="b", instrument="BTC-PERP", attempt=1, status="filled", ts_ms=0
)


def run(
    engine: FakeEngine, records: list[Record], matching: Matching = Matching.NEXT, settle_ms: int = 200
) -> list[Effect]:
    return list(Runner(engine, matching, settle_ms=settle_ms).run(records))


def heard(engine: FakeEngine) -> list[str | int]:
    """What the engine was given, as words: the topic with the offset, or the time of a timer."""
    return [entry if isinstance(entry, int) else f"{entry.topic}@{entry.offset}" for entry in engine.heard]


def orders_at(offset: int, *orders: Order, partition: int = 0) -> FakeEngine:
    """An engine that emits `orders` at the price record of this offset."""

    def says(record: Record) -> list[Effect]:
        wanted = record.topic == "prices" and record.offset == offset
        return [emit(o, cause=Cause("prices", 0, offset), partition=partition) for o in orders] if wanted else []

    return FakeEngine(says)


def test_records_are_applied_in_the_order_of_the_file() -> None:
    engine = FakeEngine()
    run(engine, [of(price("1"), offset=7, time_ms=9), of(instrument(), time_ms=3), of(price("1"), offset=2, time_ms=5)])
    assert heard(engine) == ["prices@7", "instruments@0", "prices@2"]


def test_timers_fire_one_by_one_before_the_first_record_at_or_after_them() -> None:
    engine = FakeEngine(due=[10, 20, 30])
    run(engine, [of(price("1"), time_ms=9), of(price("1"), offset=1, time_ms=20), of(price("1"), offset=2, time_ms=29)])
    assert heard(engine) == ["prices@0", 10, 20, "prices@1", "prices@2", 30]


def test_after_the_last_record_only_timers_within_the_settling_time_fire() -> None:
    engine = FakeEngine(due=[199, 300, 301])
    run(engine, [of(price("1"), time_ms=100), of(price("1"), offset=1, time_ms=50)])
    assert heard(engine) == ["prices@0", "prices@1", 199, 300]


def test_a_record_without_a_time_fires_nothing() -> None:
    engine = FakeEngine(due=[10])
    run(engine, [of(price("1"), time_ms=0)], settle_ms=0)
    assert heard(engine) == ["prices@0"]


def test_a_timer_that_stays_due_is_a_mistake_of_ours() -> None:
    class Stuck(FakeEngine):
        def next_timer_ms(self) -> int | None:
            return 5

    with pytest.raises(TimerStuck):
        run(Stuck(), [of(price("1"), time_ms=9)])


def test_an_emitted_order_is_read_back_as_a_record_of_its_partition() -> None:
    asked = order()
    engine = orders_at(1, asked, partition=3)
    effects = run(engine, [of(price("1")), of(price("1"), offset=1, time_ms=40)], Matching.NONE)
    assert [e.message for e in effects if not isinstance(e, DeadLetter) and hasattr(e, "message")] == [asked]
    back = engine.heard[-1]
    assert isinstance(back, Record)
    assert (back.topic, back.partition, back.offset, back.timestamp_ms, back.key) == (
        "liquidation-orders",
        3,
        0,
        40,
        b"a-1",
    )
    assert decode(back.topic, back.value) == asked


def test_read_backs_count_their_offsets_and_come_before_answers() -> None:
    engine = orders_at(1, order(account="a-1"), order(account="a-2"))
    run(engine, [of(instrument()), of(price("1")), of(price("100"), offset=1)], Matching.LIMIT)
    assert heard(engine) == [
        "instruments@0", "prices@0", "prices@1", "liquidation-orders@0", "liquidation-orders@1",
        "fills@0", "order-events@0", "fills@1", "order-events@1",
    ]  # fmt: skip


def test_answers_come_right_after_the_price_that_brings_them_with_its_time() -> None:
    engine = orders_at(0, order(), partition=2)
    run(
        engine,
        [
            of(instrument()),
            of(price("100"), time_ms=5),
            of(price("99"), offset=1, time_ms=6),
            of(price("98"), offset=2, time_ms=7),
        ],
    )
    assert heard(engine)[2:] == ["liquidation-orders@0", "prices@1", "fills@0", "order-events@0", "prices@2"]
    fill = engine.heard[4]
    assert isinstance(fill, Record)
    assert (fill.partition, fill.timestamp_ms, fill.key) == (2, 6, b"a-1")
    message = decode("fills", fill.value)
    assert isinstance(message, Fill)
    assert (message.price, message.ts_ms) == ("99", 6)


def test_the_price_that_decides_an_order_does_not_fill_it() -> None:
    engine = orders_at(0, order())
    run(engine, [of(instrument()), of(price("100"))])
    assert heard(engine) == ["instruments@0", "prices@0", "liquidation-orders@0"]


def test_an_order_decided_by_a_timer_is_read_back_at_its_time() -> None:
    engine = FakeEngine(lambda r: [emit(order())] if r.topic == "timer" else [], due=[150])
    run(engine, [of(instrument()), of(price("100"), time_ms=100)])
    back = engine.heard[-1]
    assert isinstance(back, Record)
    assert (back.topic, back.timestamp_ms) == ("liquidation-orders", 150)


def test_a_refused_price_answers_nothing() -> None:
    bad = record("prices", price("99"), offset=1)
    refusal = DeadLetter(cause=Cause("prices", 0, 1), record=bad, refusal=Refusal(Reason.WRONG_PARTITION, ""))
    engine = FakeEngine(lambda r: [refusal] if r.offset == 1 else [emit(order())] if r.topic == "prices" else [])
    effects = run(engine, [of(instrument()), of(price("100")), bad])
    assert effects[-1] == refusal
    assert "fills@0" not in heard(engine)


def test_synthetic_offsets_follow_those_of_the_recording() -> None:
    engine = orders_at(0, order())
    fills = record("fills", FILL, offset=40)
    run(engine, [of(instrument()), fills, of(price("100"))], Matching.LIMIT)
    # The recorded fill answers somebody's order by its id, but as an ordinary trade it is a fact all the same.
    assert heard(engine) == [
        "instruments@0",
        "fills@40",
        "prices@0",
        "liquidation-orders@0",
        "fills@41",
        "order-events@0",
    ]


@pytest.mark.parametrize(
    "topic", ["liquidation-orders", "liquidation-orders-shadow", "account-states", "defaults", "dead-letters"]
)
def test_what_a_monitor_wrote_is_no_input(topic: str) -> None:
    engine = FakeEngine(due=[5])
    assert run(engine, [record(topic, b"{}", time_ms=9)], settle_ms=0) == []
    assert engine.heard == []


@pytest.mark.parametrize(
    ("matching", "fed"),
    [
        (Matching.RECORDED, ["fills@0", "order-events@0"]),
        (Matching.NEXT, []),
        (Matching.LIMIT, []),
        (Matching.NONE, []),
    ],
)
def test_recorded_answers_are_inputs_only_when_the_recording_answers(matching: Matching, fed: list[str]) -> None:
    engine = FakeEngine()
    closing = Fill(
        fill_id="f-2", account="a-1", instrument="BTC-PERP", side="buy", quantity="1", price="100", ts_ms=0,
        order_id="o-1", exec_type="liquidation",
    )  # fmt: skip
    run(engine, [record("fills", closing), record("order-events", EVENT)], matching)
    assert heard(engine) == fed


def test_input_that_is_no_message_reaches_the_engine() -> None:
    engine = FakeEngine()
    run(engine, [record("fills", b"not json"), record("unheard-of", b"{}")])
    assert heard(engine) == ["fills@0", "unheard-of@0"]
