"""What holds of any history: buckets do not know each other, nor does a decision know batches, partitions or restarts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.codec import encode
from services.contracts.messages import Order
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS, BROADCAST_TOPICS
from services.engine.effects import Alarm, Cause, Effect, Emit
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.support.histories import START_MS, Event, History, make_history

SEEDS = st.integers(0, 2**32)
END_MS = START_MS + 120_000  # beyond every record of a history: what is due by itself comes too
NOBODY = Cause("timer", 0, 0)
Place = tuple[str, str]  # account, bucket


class Venue:
    """Plays a history to an engine. Each order is read back and answered at once, as its own id says: no dice that accounts share."""

    def __init__(self, restart_before: int = -1) -> None:
        self.engine = Engine(Settings())
        self.effects: list[Effect] = []
        self._restart_before = restart_before
        self._broadcasts: list[Record] = []
        self._offset = 0

    def play(self, history: History) -> Venue:
        for number, event in enumerate(history.events):
            self._fire_until(event.time_ms)
            if number == self._restart_before:
                self._restart(event.time_ms)
                self.effects = []
            self._feed(event.topic, event.time_ms, orjson.dumps(event.value))
        self._fire_until(END_MS)
        return self

    def _fire_until(self, time_ms: int) -> None:
        while (due_ms := self.engine.next_timer_ms()) is not None and due_ms <= time_ms:
            self._take(self.engine.timer(due_ms))

    def _feed(self, topic: str, time_ms: int, value: bytes) -> None:
        self._offset += 1
        record = Record(topic=topic, partition=0, offset=self._offset, timestamp_ms=time_ms, key=None, value=value)
        if topic in BROADCAST_TOPICS:
            self._broadcasts.append(record)
        self._take(self.engine.apply(record))

    def _take(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.effects.append(effect)
            if isinstance(effect, Emit) and isinstance(effect.message, Order):
                self._feed(effect.topic, effect.message.ts_ms, encode(effect.message))
                self._answer(effect.message)

    def _answer(self, order: Order) -> None:
        luck = int(order.order_id[:2], 16) / 256
        if order.stage == "convert" or luck < 0.2 or order.attempt > 12:
            return  # silence: it is sent again
        same = {name: getattr(order, name) for name in ("account", "bucket", "instrument", "order_id", "ts_ms")}
        filled = order.quantity if luck < 0.7 else "0"
        if luck < 0.7:
            self._feed("fills", order.ts_ms, orjson.dumps(same | {
                "fill_id": f"x{order.order_id[:20]}", "position_side": order.position_side, "side": order.side,
                "quantity": order.quantity, "price": order.limit_price, "exec_type": "liquidation",
            }))  # fmt: skip
        status = "filled" if luck < 0.7 else "expired"
        event = {"attempt": order.attempt, "status": status, "filled_quantity": filled}
        self._feed("order-events", order.ts_ms, orjson.dumps(same | event))

    def _restart(self, time_ms: int) -> None:
        """A new process: broadcast topics from their beginning, then the rows of everything."""
        rows = self.engine.take_dirty(0)
        self.engine = Engine(Settings(), gates_open=False)
        self.effects = []
        for record in self._broadcasts:
            while (due_ms := self.engine.next_timer_ms()) is not None and due_ms <= record.timestamp_ms:
                self.engine.timer(due_ms)
            self.engine.apply(record)
        self.engine.restore(0, ((field, row) for field, row in rows.items() if row is not None))
        while (due_ms := self.engine.next_timer_ms()) is not None and due_ms <= time_ms:
            self.engine.timer(due_ms)
        self._take(self.engine.open_gate(0))

    def by_place(self) -> dict[Place, list[object]]:
        """Effects by account and bucket, without what names offsets of records or is for people only."""
        found: dict[Place, list[object]] = defaultdict(list)
        for effect in self.effects:
            if isinstance(effect, Emit):
                fields = msgspec.to_builtins(effect.message)
                fields.pop("evidence", None)
                found[fields["account"], fields["bucket"]].append(fields)
            elif isinstance(effect, Alarm) and effect.account:
                found[effect.account, effect.bucket].append((effect.name, effect.ts_ms))
        return dict(found)


def history_of(seed: int) -> History:
    return make_history(random.Random(seed), steps=50)


def changed(history: History, change: Callable[[dict[str, Any]], dict[str, Any]]) -> History:
    return History([Event(event.topic, event.time_ms, change(dict(event.value))) for event in history.events])


@given(SEEDS, st.integers(0, 3), st.sampled_from(["gone", "poorer", "broken"]))
@settings(max_examples=25)
def test_no_account_s_records_change_another_s_effects(seed: int, number: int, how: str) -> None:
    """Contagion: an account that vanishes, loses its money or becomes unreadable is nobody else's matter."""
    history, sick = history_of(seed), f"a{number}"

    def change(value: dict[str, Any]) -> dict[str, Any]:
        if value.get("account") != sick:
            return value
        if how == "poorer" and "amount" in value:
            return value | {"amount": "0.001"}
        return value | {"ts_ms": "x"} if how == "broken" else value

    other = history.for_accounts(lambda name: name != sick) if how == "gone" else changed(history, change)
    one, two = (Venue().play(each).by_place() for each in (history, other))
    assert without(one, sick) == without(two, sick)


def without(effects: dict[Place, list[object]], account: str) -> dict[Place, list[object]]:
    return {place: listed for place, listed in effects.items() if place[0] != account}


@given(SEEDS, st.integers(0, 3))
@settings(max_examples=25)
def test_no_isolated_bucket_s_cash_changes_a_sibling_s_effects(seed: int, number: int) -> None:
    """Ring-fenced: other amounts in one bucket of an account, at the same moments, and all its other buckets do as before."""
    history = changed(
        history_of(seed), lambda value: value | ({"margin_mode": "isolated"} if "margin_mode" in value else {})
    )
    sick = f"I{number}-PERP"

    def poorer(value: dict[str, Any]) -> dict[str, Any]:
        mine = value.get("bucket") == sick and value.get("reason") != "move"
        return value | {"amount": "0.01"} if mine else value

    one, two = (Venue().play(each).by_place() for each in (history, changed(history, poorer)))
    assert {p: e for p, e in one.items() if p[1] != sick} == {p: e for p, e in two.items() if p[1] != sick}


@given(SEEDS, st.integers(0, 15))
@settings(max_examples=25)
def test_any_split_of_the_accounts_over_engines_gives_the_union_of_effects(seed: int, mask: int) -> None:
    """Partition independence: what another worker owns changes no order, id, time or status."""
    history = history_of(seed)
    whole = Venue().play(history).by_place()
    halves = [
        Venue().play(history.for_accounts(lambda name, side=side: mask >> int(name[1:]) & 1 == side)).by_place()
        for side in (0, 1)
    ]
    assert not halves[0].keys() & halves[1].keys()
    assert whole == halves[0] | halves[1]


def records_of(history: History) -> Iterator[Record]:
    for offset, event in enumerate(history.events):
        yield Record(
            topic=event.topic, partition=0, offset=offset, timestamp_ms=event.time_ms, key=None,
            value=orjson.dumps(event.value),
        )  # fmt: skip


@given(SEEDS, st.lists(st.integers(1, 9), min_size=1, max_size=40))
@settings(max_examples=25)
def test_any_batching_gives_the_same_effects(seed: int, sizes: list[int]) -> None:
    records = list(records_of(history_of(seed)))
    one, many = Engine(Settings()), Engine(Settings())
    expected = [effect for record in records for effect in one.apply(record)]
    found, rest, number = [], records, 0
    while rest:
        size = sizes[number % len(sizes)]
        found += many.apply_batch(rest[:size])
        rest, number = rest[size:], number + 1
    assert found == expected
    assert one.state_hash() == many.state_hash()


@given(SEEDS, st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_any_interleaving_of_the_account_topics_folds_to_one_ledger(seed: int, dice: random.Random) -> None:
    """Each topic in its own order, all at one moment: balances, quantities, open costs and locks are the same."""
    records = list(records_of(history_of(seed)))
    topics: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.topic in ACCOUNT_TOPICS:
            topics[record.topic].append(msgspec.structs.replace(record, timestamp_ms=1))
    order = [topic for topic, listed in topics.items() for _ in listed]
    ledgers = []
    for _ in range(3):
        engine = Engine(Settings(), gates_open=False)
        engine.apply_batch([record for record in records if record.topic == "instruments"])
        waiting = {topic: iter(listed) for topic, listed in topics.items()}
        engine.apply_batch([next(waiting[topic]) for topic in order])
        ledgers.append({
            (account.account, bucket.name): (bucket.balances, bucket.locked, bucket.positions)
            for account, bucket in engine._context.all_buckets()
        })  # fmt: skip
        dice.shuffle(order)
    assert ledgers[0] == ledgers[1] == ledgers[2]


@given(SEEDS, st.integers(10, 60))
@settings(max_examples=25)
def test_a_restart_at_any_record_changes_nothing_that_follows(seed: int, moment: int) -> None:
    """Rows hold all that matters: restored from them, the engine says what the one that never stopped says."""
    history = history_of(seed)
    calm, crashed = Venue().play(history), Venue(restart_before=moment).play(history)
    found = [words(effect) for effect in crashed.effects]
    assert [words(effect) for effect in calm.effects][len(calm.effects) - len(found) :] == found
    assert crashed.engine.state_hash() == calm.engine.state_hash()
    assert list(crashed.engine.buckets()) == list(calm.engine.buckets())


def words(effect: Effect) -> object:
    """An effect without its cause and, of an order, without the evidence: a restart reads both at other places."""
    if isinstance(effect, Emit) and isinstance(effect.message, Order):
        return msgspec.to_builtins(effect.message) | {"evidence": None}
    return effect.message if isinstance(effect, Emit) else msgspec.structs.replace(effect, cause=NOBODY)


@given(SEEDS)
@settings(max_examples=25)
def test_rows_hold_no_float_and_every_row_can_be_written(seed: int) -> None:
    """Money is text of integers; nothing in a stored row is a float, however deep."""
    venue = Venue().play(history_of(seed))
    rows = venue.engine.take_dirty(0)
    assert rows
    for row in rows.values():
        assert row is not None
        assert not [each for each in leaves(msgspec.msgpack.decode(row)) if isinstance(each, float)]


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield value
