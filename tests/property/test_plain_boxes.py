"""Boxes of plain buckets, drawn alone: what is found without a valuation the exact one must confirm, and nobody can tell."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.decimals import ONE
from services.contracts.messages import Fill
from services.contracts.records import Record
from services.engine import engine as engines
from services.engine.bounds import Interval, Sheet
from services.engine.bulk_boxes import BulkBoxes
from services.engine.certificates import Certificates
from services.engine.effects import Alarm, Effect, Emit
from services.engine.engine import Engine
from services.engine.ledger import enter, traded
from services.engine.plain_boxes import Held, PlainBoxes
from services.engine.settings import Settings
from services.engine.state import Account, Bucket
from services.engine.terms import Terms
from services.engine.valuation import Valuation
from tests.support.crowds import Crowd, glanced
from tests.support.histories import Drive, make_history

SEEDS = st.integers(0, 2**32)


def played(engine: Engine, records: list[Record]) -> list[Effect]:
    return [effect for record in records for effect in engine.apply(record)]


def in_time(engine: Engine, records: list[Record]) -> list[Effect]:
    """With every timer that is due before a record."""
    effects = []
    for record in records:
        while (due_ms := engine.next_timer_ms()) is not None and due_ms <= record.timestamp_ms:
            effects += engine.timer(due_ms)
        effects += engine.apply(record)
    return effects + engine.timer(records[-1].timestamp_ms)


def told(engine: Engine) -> tuple[object, ...]:
    census = engine.census
    return (
        engine.state_hash(), list(engine.buckets()), engine.totals(), engine.next_timer_ms(), engine.stats.newly_liquidatable,
        census.statuses, census.negative, census.unordered, census.unanswered, census.unchecked,
    )  # fmt: skip


@given(SEEDS, st.sampled_from([0, 3, 1000]))
@settings(max_examples=30)
def test_a_trading_crowd_has_the_effects_of_the_full_scan(seed: int, most_awake: int) -> None:
    records = list(Crowd(random.Random(seed), 16, trading=0.7, odd=0.1).records(60))
    index, scan = Engine(Settings(), most_awake=most_awake), Engine(Settings(), search="full_scan")
    assert in_time(index, records) == in_time(scan, records)
    assert told(index) == told(scan)


@given(SEEDS, st.sampled_from([0, 3, 1000]))
@settings(max_examples=30)
def test_a_batch_of_fills_is_its_records_one_by_one(seed: int, most_awake: int) -> None:
    dice = random.Random(seed)
    records, at = list(Crowd(dice, 16, most_leverage=dice.choice((6, 45)), trading=0.9, odd=0.1).records(30)), 0
    one, many = (Engine(Settings(), most_awake=most_awake) for _ in range(2))
    while at < len(records):
        batch = records[at : at + dice.choice((1, 2, 7, 50))]
        at += len(batch)
        assert many.apply_batch(batch) == played(one, batch)
        if dice.random() < 0.3 and (due_ms := one.next_timer_ms()) is not None:
            assert one.timer(due_ms) == many.timer(due_ms)
    assert told(one) == told(many)
    assert one.stats == many.stats
    assert one.take_dirty(0) == many.take_dirty(0), "also what is kept of the account: ids, places, numbers, times"


@given(SEEDS, st.integers(0, 2**16), st.integers(0, 3))
@settings(max_examples=60)
def test_no_effect_depends_on_who_is_valued(seed: int, answers: int, most_awake: int) -> None:
    """Orders and their answers, doubts, halts, other models: whatever else there is about a bucket."""
    history = make_history(random.Random(seed))
    index, scan = Engine(Settings(), most_awake=most_awake), Engine(Settings(), search="full_scan")
    assert Drive(index, answers).play(history) == Drive(scan, answers).play(history)
    assert told(index) == told(scan)


def test_prices_that_are_folded_at_once_and_come_back_into_a_box_leave_no_box_without_a_trigger() -> None:
    """A trigger that was met is gone; a box is not kept without it."""
    for seed in range(8):
        dice = random.Random(seed)
        records = list(Crowd(dice, 20, trading=0.7).records(100))
        index, scan = Engine(Settings()), Engine(Settings(), search="full_scan")
        at = 0
        while at < len(records):
            size = dice.choice((1, 1, 2, 12))
            chosen = records[at : at + size]
            at += size
            prices = [each for each in chosen if each.topic == "prices"]
            others = [each for each in chosen if each.topic != "prices"]
            assert index.fold_prices(prices) == scan.fold_prices(prices)
            assert played(index, others) == played(scan, others)
        assert told(index) == told(scan)


@given(SEEDS)
@settings(max_examples=40)
def test_a_box_is_accepted_only_where_exact_numbers_confirm_it(seed: int) -> None:
    """At its corners and anywhere in it the bucket has its status and is not liquidatable; the bounds of any bucket allow it too."""
    dice = random.Random(seed)
    engine = Engine(Settings())
    played(engine, list(Crowd(dice, 12).records(30)))
    context, search = engine._context, engine._search
    assert isinstance(search, Certificates)
    plain, marks = PlainBoxes(context, None, Terms(context.market)), context.market.book.marks
    for account, bucket in list(context.awake_buckets()):
        held = plain.held(account, bucket)
        drawn = None if held is None else plain.draw(held)
        if drawn is None:
            continue
        box = drawn.box
        assert plain.stay(account, bucket, box) == drawn
        bounds = Sheet(account, bucket, context.market).over(box)
        assert search._holds(bucket, context.ladders.rungs_of(account), bounds, 0.0)
        present = dict(marks)
        for _ in range(12):
            for name, (low, high) in box.items():
                marks[name] = round(dice.choice((low, high, dice.uniform(low, high))) * ONE)
            assert keeps_exactly(engine, account, bucket)
        marks |= present


@given(SEEDS)
@settings(max_examples=30)
def test_bounds_that_fills_went_into_are_those_that_are_added_up_whole(seed: int) -> None:
    """Whatever was absorbed, exact numbers confirm the box; what sizes grow and shrink by on the way does not spoil the sums."""
    dice = random.Random(seed)
    engine = Engine(Settings())
    played(engine, list(Crowd(dice, 6, most_leverage=8, trading=0.0).records(3)))
    context = engine._context
    plain, marks = PlainBoxes(context, None, Terms(context.market)), context.market.book.marks
    for account, bucket in list(context.awake_buckets()):
        held = plain.held(account, bucket)
        stay = None if held is None else plain.draw(held)
        if stay is None:
            continue
        largest = stay.peak
        for number in range(40):
            key = dice.choice(list(bucket.positions))
            fill = Fill(
                fill_id=f"f{number}", account=account.account, instrument=key[0], ts_ms=0, side=dice.choice(("buy", "sell")),
                quantity=f"{10 ** dice.uniform(-9, 0.5):.12f}", price=f"{1000 * dice.uniform(0.99, 1.01):.6f}", fee="0.01",
            )  # fmt: skip
            spec, before = context.market.specs[key[0]], bucket.positions[key].quantity
            if before + traded(fill, spec).quantity and plain.absorbs(stay, traded(fill, spec), before):
                enter(bucket, traded(fill, spec), spec)
                largest = max(largest, stay.sums[6])
        whole = plain.stay(account, bucket, stay.box)
        assert whole is not None
        assert stay.fills > 5
        assert stay.sums[:6] == pytest.approx(whole.sums[:6], abs=1e-12 * stay.peak)
        assert stay.peak >= whole.peak * (1 - 1e-12)
        assert stay.peak == largest, "what was rounded while the bucket was larger stays in the sums"
        present = dict(marks)
        for _ in range(8):
            for name, (low, high) in stay.box.items():
                marks[name] = round(dice.choice((low, high, dice.uniform(low, high))) * ONE)
            assert keeps_exactly(engine, account, bucket)
        marks |= present


def keeps_exactly(engine: Engine, account: Account, bucket: Bucket) -> bool:
    valuation = engine._valuer.value_bucket(account, bucket, 0)
    assert isinstance(valuation, Valuation)
    stays = engine._context.ladders.status_of(account, bucket, valuation) == bucket.status
    return stays and not engine._decider.judge.breaches(account, valuation)


@given(SEEDS)
@settings(max_examples=15)
def test_a_box_alone_is_the_box_in_bulk(seed: int) -> None:
    """But where one of both is accepted by a hair, and the other is halved once more."""
    dice = random.Random(seed)
    engine = Engine(Settings())
    played(engine, list(Crowd(dice, 30).records(30)))
    context, terms = engine._context, Terms(engine._context.market)
    plain = PlainBoxes(context, None, terms)
    accounts = [each for each in context.accounts.awake.values() if len(each.buckets) == 1]
    columns = context.columnist.columns(glanced(accounts))
    found = BulkBoxes(context, None, terms).draw(range(len(accounts)), columns)
    bulk: dict[int, dict[str, Interval]] = {}
    for edges in found.edges:
        for number, low, high in zip(edges.numbers.tolist(), edges.lows.tolist(), edges.highs.tolist(), strict=True):
            bulk.setdefault(number, {})[edges.price_id] = low, high
    assert bulk
    other = 0
    for number, account in enumerate(accounts):
        held = alone_of(plain, account)
        drawn = None if held is None else plain.draw(held)
        expected = {name: pytest.approx(edges, rel=1e-6) for name, edges in bulk.get(number, {}).items()}
        other += ({} if drawn is None else drawn.box) != expected
    assert other <= 1


@given(SEEDS)
@settings(max_examples=15)
def test_an_account_at_rest_has_the_boxes_of_one_that_is_awake(seed: int) -> None:
    engine = Engine(Settings())
    played(engine, list(Crowd(random.Random(seed), 30).records(30)))
    context = engine._context
    plain = PlainBoxes(context, None, Terms(context.market))
    for account in context.accounts.awake.values():
        held = [plain.held(account, bucket) for bucket in account.buckets.values() if bucket.positions]
        boxes = [None if each is None else plain.draw(each) for each in held]
        at_rest = plain.at_rest(*glanced([account]))
        if any(bucket.orders or bucket.tries for bucket in account.buckets.values()):
            continue  # such never rest
        if at_rest is None:
            assert None in boxes or any(each.status in ("bankrupt", "incomplete") for each in account.buckets.values())
        else:
            assert at_rest == [
                {name: pytest.approx(e) for name, e in each.box.items()} for each in boxes if each is not None
            ]
            assert None not in boxes


def alone_of(plain: PlainBoxes, account: Account) -> Held | None:
    (bucket,) = account.buckets.values()
    return plain.held(account, bucket)


def test_an_edge_that_is_met_wakes_nobody_who_is_well() -> None:
    records = list(Crowd(random.Random(3), 40, most_leverage=6, trading=0.0).records(0))
    engine = Engine(Settings(), most_awake=0)
    scan = Engine(Settings(), search="full_scan")
    assert played(engine, records) == played(scan, records)
    for offset in range(40):  # everyone had time to go to rest
        tick = record_of("prices", 1_000 + offset, instrument="A", mark_price="1000")
        assert engine.apply(tick) == scan.apply(tick)
    assert not engine._context.accounts.awake
    before = list(engine._context.accounts.packed.versions)
    tick = record_of("prices", 2_000, instrument="A", mark_price="870")
    assert engine.apply(tick) == scan.apply(tick)
    assert sum(a != b for a, b in zip(engine._context.accounts.packed.versions, before, strict=True)) >= 3
    assert len(engine._context.accounts.awake) < 3
    assert told(engine) == told(scan)


def record_of(topic: str, offset: int, **value: Any) -> Record:
    raw = orjson.dumps({"ts_ms": 1_000 + offset} | value)
    return Record(topic=topic, partition=0, offset=offset, timestamp_ms=1_000 + offset, key=None, value=raw)


def engine_with_a_bucket(search: Any = "certificates") -> Engine:
    """One long of 10 at 1000 in it, and 500 of cash."""
    engine = Engine(Settings(), search=search)
    tiers = [{"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"}]
    setup: list[tuple[str, dict[str, Any]]] = [
        ("instruments", {"instrument": "I", "kind": "perpetual", "contract": "linear", "underlying": "B", "settlement_asset": "U",
                         "margin_tiers": tiers}),
        ("prices", {"instrument": "I", "mark_price": "1000"}),
        ("accounts", {"account": "a", "margin_mode": "cross", "valuation_asset": "U"}),
        ("transfers", {"transfer_id": "t", "account": "a", "asset": "U", "amount": "500", "reason": "deposit"}),
        ("fills", {"fill_id": "f", "account": "a", "instrument": "I", "side": "buy", "quantity": "10", "price": "1000"}),
    ]  # fmt: skip
    for offset, (topic, value) in enumerate(setup):
        engine.apply(record_of(topic, offset, **value))
    return engine


def test_an_ordinary_fill_is_not_valued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all of this would say nothing."""
    engine = engine_with_a_bucket()
    monkeypatch.setattr(engines.Valuer, "value_bucket", lambda *_: pytest.fail("valued"))
    more = {"account": "a", "instrument": "I", "quantity": "0.1", "price": "1000"}
    for offset in range(10, 20):
        side = ("buy", "sell")[offset % 2]
        assert engine.apply(record_of("fills", offset, fill_id=f"f{offset}", side=side, **more)) == []
    assert engine.apply(record_of("prices", 20, instrument="I", mark_price="995")) == []


def test_ordinary_fills_in_a_row_are_no_events_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """But the one that may mean something is."""
    engine = engine_with_a_bucket()
    more = {"account": "a", "instrument": "I", "price": "1000"}
    engine.apply(record_of("fills", 9, fill_id="g", side="buy", quantity="0.01", **more))
    fills = [
        record_of("fills", 10 + n, fill_id=f"f{n}", side=("buy", "sell")[n % 2], quantity="0.1", **more)
        for n in range(300)
    ]
    last = record_of("fills", 400, fill_id="z", side="buy", quantity="30", **more)
    events: list[Record] = []
    original = Engine.apply
    monkeypatch.setattr(Engine, "apply", lambda self, record: events.append(record) or original(self, record))
    effects = engine.apply_batch([*fills, last])
    assert events == [last]
    assert [effect.message.status for effect in effects if isinstance(effect, Emit)] == ["margin_call"]


@pytest.mark.parametrize(("topic", "change"), [
    ("instruments", {"instrument": "I", "kind": "perpetual", "contract": "linear", "underlying": "B", "settlement_asset": "U",
                     "margin_tiers": [{"notional_floor": "0", "maintenance_margin_rate": "0.06"}]}),
    ("risk-parameters", {"instrument": "I", "multiplier": "6", "effective_ms": 0}),
    ("collateral", {"asset": "U", "weight_tiers": [{"floor": "0", "weight": "0.1"}]}),
    ("transfers", {"transfer_id": "u", "account": "a", "asset": "U", "amount": "-450", "reason": "withdrawal"}),
    ("prices", {"instrument": "I", "mark_price": "955"}),
    ("prices", {"instrument": "I", "implied_volatility": "0.5"}),
])  # fmt: skip
def test_whatever_changes_the_bucket_is_found_after_its_box_was_drawn(topic: str, change: Any) -> None:
    effects = []
    for search in ("certificates", "full_scan"):
        engine = engine_with_a_bucket(search)
        more = {"fill_id": "g", "account": "a", "instrument": "I", "side": "buy", "quantity": "0.01", "price": "1000"}
        engine.apply(record_of("fills", 9, **more))
        effects.append(engine.apply(record_of(topic, 10, **change)) + engine.timer(10_000))
    assert effects[0] == effects[1]
    assert effects[0]


@pytest.mark.parametrize("place", [0, 2, 4, 5])
@pytest.mark.parametrize("through", [11, 12, 13])
def test_a_statement_among_fills_in_a_row_is_compared_as_soon_as_all_that_it_covers_was_read(
    place: int, through: int
) -> None:
    """Also where the record that it waits for is a fill that nothing follows from."""
    more = {"account": "a", "instrument": "I", "side": "buy", "quantity": "0.01", "price": "1000"}
    records = [record_of("fills", 9, fill_id="g", **more)]
    rows = [record_of("fills", 10 + n, fill_id=f"f{n}", **more) for n in range(5)]
    told_by_venue = {"balances": {"main": {"U": "1"}}, "positions": {}, "through": {"fills": through}}
    rows.insert(place, record_of("account-statements", 3, account="a", **told_by_venue))
    one, many = engine_with_a_bucket(), engine_with_a_bucket()
    assert played(one, records) == played(many, records)
    effects = played(one, rows)
    assert many.apply_batch(rows) == effects
    assert told(many) == told(one)
    assert any(isinstance(each, Alarm) for each in effects) == (place - 1 + 10 <= through)
