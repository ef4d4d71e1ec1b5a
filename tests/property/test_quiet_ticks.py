"""Ticks without effect are folded many at a time: nobody can tell, whatever the records and however they are cut into batches."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.contracts.codec import decode, encode
from services.contracts.messages import Price
from services.contracts.records import Record
from services.contracts.ticks import Tick, plain_ticks
from services.contracts.topics import BY_NAME
from services.engine.effects import Effect
from services.engine.engine import Engine
from services.engine.quiet import Ticks
from services.engine.settings import Settings
from services.replay.choices import Matching
from services.replay.runner import Runner
from tests.support.histories import START_MS, make_history

SEEDS = st.integers(0, 2**32).map(random.Random)
PLAIN = {"instrument": "I", "mark_price": "10", "ts_ms": 1}


def busy(dice: random.Random, options: bool = False) -> list[Record]:
    """A history with long runs of small ticks in it, a few of them odd: late, early, far off, of another source, or broken."""
    records, offsets, marks, sequence = [], dict[str, int](), dict[str, float](), 0

    def put(topic: str, time_ms: int, value: bytes, key: bytes | None = None) -> None:
        offset = offsets[topic] = offsets.get(topic, -1) + 1
        records.append(Record(topic=topic, partition=0, offset=offset, timestamp_ms=time_ms, key=key, value=value))

    def tick(name: str, time_ms: int) -> None:
        nonlocal sequence
        sequence += 1
        marks[name] *= 1 + dice.gauss(0, 0.0004) * (100 if dice.random() < 0.02 else 1)
        value: dict[str, Any] = {"instrument": name, "ts_ms": time_ms, "mark_price": f"{marks[name]:.4f}"}
        value |= dice.choice(
            [{}, {}, {"source": "x"}, {"source": "x", "sequence": sequence}, {"source": "y", "sequence": 3}]
        )
        value |= dice.choice([{}, {}, {}, {"index_price": f"{marks[name]:.3f}"}])
        if dice.random() < 0.05:
            value |= dice.choice([
                {"ts_ms": time_ms + 5_000}, {"ts_ms": time_ms - 300}, {"index_price": "0"}, {"mark_price": "0"}, {"mark_price": None},
                {"mark_price": "1e3"}, {"source": "no id"}, {"source_epoch": 1}, {"implied_volatility": "0.5"}, {"x": {"x": 1}},
                {"settlement_price": "1"}, {"mark_price": f"{marks[name] * 1.3:.2f}"}, {"interest_rate": "0.1"}, {"ts_ms": -1},
            ])  # fmt: skip
        put("prices", time_ms, orjson.dumps(value), name.encode())

    for event in make_history(dice, steps=25, options=options).events:
        put(event.topic, event.time_ms, orjson.dumps(event.value))
        if event.topic == "prices" and event.value.get("mark_price") and not event.value["instrument"].startswith("O"):
            marks[event.value["instrument"]] = float(event.value["mark_price"])
        for _ in range(dice.choice([0, 0, 1, 8, 30]) if marks else 0):
            tick(dice.choice(sorted(marks)), event.time_ms)
    return records


def batches(dice: random.Random, records: list[Record]) -> Iterator[list[Record]]:
    at = 0
    while at < len(records):
        size = dice.choice([1, 2, 7, 50, 400])
        yield records[at : at + size]
        at += size


def told(engine: Engine) -> tuple[object, ...]:
    """All that can be asked of an engine."""
    now_ms = START_MS + 200_000
    return (
        engine.state_hash(), list(engine.buckets()), engine.stats, engine.next_timer_ms(), list(engine.price_views(now_ms)),
        engine.marks_in_use(now_ms), engine.price_times(), engine.lowest_equity, engine.negative_buckets, engine.totals(),
    )  # fmt: skip


@given(SEEDS, st.booleans(), st.sampled_from(["certificates", "full_scan"]), st.integers(0, 3))
@settings(max_examples=50)
def test_a_batch_is_its_records_one_by_one(dice: random.Random, options: bool, search: Any, most_awake: int) -> None:
    one, many = (Engine(Settings(), search=search, observe=True, most_awake=most_awake) for _ in range(2))
    for batch in batches(dice, busy(dice, options)):
        expected = [effect for record in batch for effect in one.apply(record)]
        assert many.apply_batch(batch) == expected
        assert one.next_timer_ms() == many.next_timer_ms()
        if dice.random() < 0.3 and (due_ms := one.next_timer_ms()) is not None:
            assert one.timer(due_ms) == many.timer(due_ms)
    assert told(one) == told(many)


@given(SEEDS, st.sampled_from(list(Matching)), st.sampled_from([0, 300]))
@settings(max_examples=30)
@example(random.Random(3032), Matching.NEXT, 0)
def test_a_replay_does_not_depend_on_its_stretches(dice: random.Random, matching: Matching, latency_ms: int) -> None:
    records = busy(dice)
    runners = []

    def replayed(stretches: Sequence[list[Record]]) -> tuple[list[Effect], tuple[object, ...]]:
        engine = Engine(Settings(), observe=True)
        runners.append(runner := Runner(engine, matching, settle_ms=200, latency_ms=latency_ms))
        effects = [effect for stretch in stretches for effect in runner.steps(stretch)]
        return [*effects, *runner.finish()], told(engine)

    assert replayed(list(batches(dice, records))) == replayed([[record] for record in records])
    assert runners[0].now_ms == runners[1].now_ms


def test_a_calm_feed_is_folded_in_one_piece_up_to_the_tick_that_means_something() -> None:
    """With one long of 10 at 1000 and 500 of cash: nothing happens down to some 960."""
    engine = Engine(Settings())
    tiers = [{"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"}]
    setup: list[tuple[str, dict[str, Any]]] = [
        ("instruments", {"instrument": "I", "kind": "perpetual", "contract": "linear", "underlying": "B", "settlement_asset": "U",
                         "margin_tiers": tiers, "max_price_move": "0.05"}),
        ("prices", {"instrument": "I", "mark_price": "1000"}),
        ("accounts", {"account": "a", "margin_mode": "cross", "valuation_asset": "U"}),
        ("transfers", {"transfer_id": "t", "account": "a", "asset": "U", "amount": "500", "reason": "deposit"}),
        ("fills", {"fill_id": "f", "account": "a", "instrument": "I", "side": "buy", "quantity": "10", "price": "1000"}),
        ("prices", {"instrument": "I", "mark_price": "1000"}),
    ]  # fmt: skip
    for number, (topic, value) in enumerate(setup):
        engine.apply(record_of(topic, number, value))
    marks = [1000 + number % 7 / 10 for number in range(300)] + [940.0] + [940.1] * 10
    ticks = Ticks([record_of("prices", 10 + n, {"instrument": "I", "mark_price": f"{m}"}) for n, m in enumerate(marks)])
    at = 0
    while (reached := engine.fold_quiet(ticks, at)) > at:
        at = reached
    assert at == 300
    assert engine.stats.records["prices"] == 302
    assert engine.apply(ticks.records[300]), "its order"


def record_of(topic: str, offset: int, value: dict[str, Any]) -> Record:
    raw = orjson.dumps({"ts_ms": START_MS + offset} | value)
    return Record(topic=topic, partition=0, offset=offset, timestamp_ms=START_MS + offset, key=None, value=raw)


def test_a_tick_behind_the_one_of_a_pending_jump_is_left_to_be_passed_over() -> None:
    engine = Engine(Settings())
    engine.apply(record_of("instruments", 0, {
        "instrument": "I", "kind": "perpetual", "contract": "linear", "underlying": "B", "settlement_asset": "U",
        "margin_tiers": [{"notional_floor": "0", "maintenance_margin_rate": "0.01"}], "max_price_move": "0.05",
    }))  # fmt: skip
    for offset, mark in ((1, "1000"), (9, "1200")):
        engine.apply(record_of("prices", offset, {"instrument": "I", "mark_price": mark}))
    late = [record_of("prices", offset, {"instrument": "I", "mark_price": "1000.1"}) for offset in range(2, 8)]
    assert engine.apply_batch(late) == []
    assert engine.stats.skipped_prices == len(late)
    assert [grade for *_, grade in engine.price_views(START_MS + 9)] == ["unconfirmed"]


def test_no_tick_is_passed_at_or_after_the_time_that_is_named() -> None:
    engine = Engine(Settings())
    records = [record_of("prices", number, {"instrument": "I", "mark_price": "10"}) for number in range(20)]
    engine.apply(records[0])
    assert engine.fold_quiet(Ticks(records), 1, START_MS + 9) == 9


FIELDS: dict[str, list[str]] = {
    "mark_price": [
        '"1"',
        '"1.5"',
        '"0"',
        '"-1"',
        '"1e3"',
        '"1 1"',
        '" 1"',
        '"1."',
        '".5"',
        "null",
        "1",
        '"\\u0031"',
        '"\u0661"',
    ],
    "index_price": ['"1"', '"0.00"', '"1 1"', '""', "null", '"x"', '"0.0000000000000000001"'],
    "implied_volatility": ["null", '"1"'],
    "source": ['"x"', "null", '"a:b"', '"\u00e4"', '"\\n"', '"x'],
    "sequence": ["1", "1.0", "1e2", "-1", "null", "9223372036854775807", "9223372036854775808"],
    "source_epoch": ["0", "null"],
    "ts_ms": ["1", "-1", "1e3", "253402300799999", "253402300800000", '"1"'],
    "unknown": ["1", "null", "{}", '{"x":[[]]}', '":"', "[" * 50 + "]" * 50],
}
MEMBER = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: st.tuples(
        st.sampled_from([name, name, name, f"\\u{ord(name[0]):04x}{name[1:]}"]), st.sampled_from(FIELDS[name])
    )
)
SPACE = st.sampled_from(["", "", "", " ", "\n", "\r\n"])
STRANGE = st.builds(
    lambda members, space: ("{" + space + ('"instrument":"I","ts_ms":1,"mark_price":"10"' + "".join(f',{space}"{n}":{space}{v}' for n, v in members)) + "}").encode(),
    st.lists(MEMBER, max_size=4), SPACE,
)  # fmt: skip
VALUES = st.one_of(
    STRANGE, STRANGE, st.just(orjson.dumps(PLAIN)), st.just(encode(Price(instrument="I", ts_ms=1, mark_price="10"))),
    st.binary(max_size=30), st.just(b'{"instrument":"I","ts_ms":1,"mark_price":"1"},{'), st.just(b"\n"),
)  # fmt: skip


@given(st.lists(VALUES, max_size=8))
@example([b'{"instrument":"I","ts_ms":1,"mark_price":"1"', b'"x":1}'])
@example(
    [
        b'{"instrument":"I","ts_ms":1,"mark_price":"1","mark_price":"2"}',
        b'{"instrument":"I","ts_ms":1,"mark_price":"3"}',
    ]
)
@example([b'{"instrument":"I","ts_ms":1,"mark_price":"1 1"}'])
@example([b'{"instrument":"I","ts_ms":1,"mark_price":"1","index_price":"0.0"}'])
@example([orjson.dumps(PLAIN).ljust(BY_NAME["prices"].max_bytes + 1)])
def test_a_plain_tick_is_what_the_codec_reads(values: list[bytes]) -> None:
    """But for what is left to the caller: the ids, and a mark of 0."""
    ticks = plain_ticks(values)
    for value, tick in zip(values, ticks, strict=False):
        message = decode("prices", value)
        if tick.source is not None and not tick.source.replace(":", "").isascii():
            continue
        if not tick.mark_price.strip("0."):
            continue
        assert isinstance(message, Price), message
        assert msgspec.structs.asdict(message) == msgspec.structs.asdict(tick)


@pytest.mark.parametrize("value", [
    orjson.dumps(PLAIN), encode(Price(instrument="I", ts_ms=1, mark_price="10", source="x", sequence=7, index_price="9.5")),
    json.dumps(PLAIN, indent=2).encode(), orjson.dumps(dict(sorted((PLAIN | {"source_epoch": 0}).items()))),
])  # fmt: skip
def test_what_feeds_send_is_plain(value: bytes) -> None:
    message = decode("prices", value)
    assert isinstance(message, Price)
    assert plain_ticks([value] * 3) == [Tick(**{name: getattr(message, name) for name in Tick.__struct_fields__})] * 3


def test_the_fields_of_a_tick_are_those_of_a_price() -> None:
    assert Tick.__struct_encode_fields__ == Price.__struct_encode_fields__
