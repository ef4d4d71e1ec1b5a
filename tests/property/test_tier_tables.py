"""Margin tiers: generated tables, and a venue's 349 real ones where the data lies beside the checkout."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.contracts.decimals import ONE, to_text
from services.contracts.messages import Instrument, MarginTier
from services.contracts.records import Record
from services.contracts.views import BucketView, PositionView
from services.engine.instruments import Tier, spec_of
from services.engine.settings import Settings
from services.replay.choices import EngineName
from services.replay.engines import make_engine
from services.replay.fold import fold, sorted_views

TABLES = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_leverage_tiers.json.gz"
Row = tuple[str, str, str, str, str]  # floor, cap, maintenance rate, amount, highest leverage
SYMBOL = "X-PERP"
MARK, TICK = Fraction(100), Fraction(1, 1000)


@cache
def real_tables() -> dict[str, list[Row]]:
    if not TABLES.is_file():
        pytest.skip("the real tier tables are not beside this checkout")
    with gzip.open(TABLES, "rt", encoding="utf-8") as stream:
        content = json.load(stream)
    return {symbol: [tuple(row) for row in rows] for symbol, rows in content["tiers"].items()}


def instrument_of(rows: list[Row], *, given_amounts: bool = False) -> Instrument:
    """A linear perpetual with these tiers; initial rates are 1 / leverage, rounded up at 18 decimals."""
    tiers = [
        MarginTier(
            notional_floor=floor,
            maintenance_margin_rate=rate,
            initial_margin_rate=to_text(-(-ONE // int(leverage))),
            maintenance_deduction=amount if given_amounts else None,
        )
        for floor, _, rate, amount, leverage in rows
    ]
    return Instrument(
        instrument=SYMBOL, kind="perpetual", contract="linear", underlying="X", settlement_asset="USDT",
        tick_size=to_text(int(TICK * ONE)), margin_tiers=tiers, tier_boundary="lower",
    )  # fmt: skip


def requirement(tier: Tier, notional: Fraction) -> Fraction:
    """m·N - c of one tier."""
    return Fraction(tier.maintenance_rate, ONE) * notional - Fraction(tier.maintenance_deduction, ONE * ONE)


def tax(rows: list[Row], notional: Fraction) -> Fraction:
    """The same by slices, as a tax: nothing of it is the engine's."""
    caps = [Fraction(row[0]) for row in rows[1:]] + [max(notional, Fraction(rows[-1][0]))]
    slices = ((min(notional, cap) - Fraction(row[0]), Fraction(row[2])) for row, cap in zip(rows, caps, strict=True))
    return sum((amount * rate for amount, rate in slices if amount > 0), Fraction(0))


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    count = draw(st.integers(1, 8))
    floors = [0, *sorted(draw(st.sets(st.integers(1, 10**9), min_size=count - 1, max_size=count - 1)))]
    rates = sorted(draw(st.lists(st.integers(1, 10_000), min_size=count, max_size=count)))
    return [
        (str(floor), "", to_text(rate * ONE // 10_000), "0", "1") for floor, rate in zip(floors, rates, strict=True)
    ]


@given(tables(), st.fractions(0, 2 * 10**9))
def test_derived_deductions_make_a_continuous_tax(rows: list[Row], notional: Fraction) -> None:
    tiers = spec_of(instrument_of(rows), (0, 0)).tiers
    for below, above in pairwise(tiers):
        floor = Fraction(above.floor, ONE)
        assert requirement(below, floor) == requirement(above, floor)
    assert tax(rows, notional) == max(requirement(tier, notional) for tier in tiers)


@st.composite
def small_accounts(draw: st.DrawFn) -> tuple[list[Row], str, Fraction, Fraction]:
    """Tiers whose rate is that of all of a position, a boundary, a signed quantity and a margin, around one another in size."""
    rows = [(str(int(row[0]) % 50_000), *row[1:]) for row in draw(tables())]
    rows = [
        row for number, row in enumerate(rows) if number == 0 or int(row[0]) > max(int(r[0]) for r in rows[:number])
    ]
    quantity = Fraction(draw(st.integers(1, 1_000_000)), 1000) * draw(st.sampled_from([1, -1]))
    share = Fraction(draw(st.integers(1, 2_000)), 1000)
    return rows, draw(st.sampled_from(["upper", "lower"])), quantity, abs(quantity) * MARK * share


@settings(max_examples=60)
@given(small_accounts())
def test_a_rate_for_all_of_a_position_is_liquidated_at_the_first_crossing(
    account: tuple[list[Row], str, Fraction, Fraction],
) -> None:
    """As OKX and BitMEX have it: the requirement jumps at a floor, and so the first crossing may be a jump."""
    rows, boundary, quantity, margin = account
    whole = [(floor, cap, rate, "0", leverage) for floor, cap, rate, _, leverage in rows]
    instrument = msgspec.structs.replace(
        instrument_of(whole, given_amounts=True), tier_boundary="upper" if boundary == "upper" else "lower"
    )
    side = "buy" if quantity > 0 else "sell"
    events = list(records(instrument, [(side, to_text(int(abs(quantity) * ONE)), to_text(int(margin * ONE)))]))
    (view,) = views_of(events, EngineName.FAST)
    assert [view] == views_of(events, EngineName.REFERENCE)

    def left(price: Fraction) -> Fraction:
        notional = abs(quantity) * price
        held = [
            row
            for row in whole
            if Fraction(row[0]) < notional or (Fraction(row[0]) == notional and boundary == "upper")
        ]
        rate = Fraction((held or whole)[-1 if held else 0][2])
        return margin + quantity * (price - MARK) - rate * notional

    assume(left(MARK) >= 0)
    reported = view.positions[0].liquidation_price
    away = -1 if quantity > 0 else 1
    end = Fraction(reported) if reported is not None else (TICK if quantity > 0 else MARK * 1000)
    between = [MARK + (end - MARK) * step / 50 for step in range(50)]
    between += [Fraction(row[0]) / abs(quantity) + nudge for row in whole for nudge in (-TICK, TICK)]
    before = [price for price in between if price > 0 and (price - MARK) * away >= 0 and (end - price) * away > TICK]
    assert all(left(price) >= 0 for price in before)
    if reported is not None:
        assert min(left(end), left(end + away * TICK)) <= 0


@given(tables(), st.integers(0, 7), st.sampled_from(["upper", "lower"]))
def test_a_floor_belongs_to_the_tier_that_the_convention_says(rows: list[Row], at: int, boundary: str) -> None:
    message = Instrument(
        instrument=SYMBOL, kind="perpetual", contract="linear", underlying="X", settlement_asset="USDT",
        margin_tiers=instrument_of(rows).margin_tiers, tier_boundary="upper" if boundary == "upper" else "lower",
    )  # fmt: skip
    spec = spec_of(message, (0, 0))
    index = at % len(rows)
    floor = spec.tiers[index].floor
    expected = index if boundary == "upper" or index == 0 else index - 1
    assert spec.tier_of(floor, ONE) is spec.tiers[expected]
    assert spec.tier_of(floor + 1, ONE) is spec.tiers[index]


def test_amounts_of_the_real_tables_are_the_derived_deductions() -> None:
    wrong = []
    for symbol, rows in real_tables().items():
        derived = spec_of(instrument_of(rows), (0, 0)).tiers
        stated = spec_of(instrument_of(rows, given_amounts=True), (0, 0)).tiers
        if derived != stated:
            wrong.append(symbol)
    assert not wrong


def test_real_tables_are_continuous_at_every_floor() -> None:
    floors = 0
    for rows in real_tables().values():
        for below, above in pairwise(spec_of(instrument_of(rows, given_amounts=True), (0, 0)).tiers):
            floor = Fraction(above.floor, ONE)
            assert requirement(below, floor) == requirement(above, floor) == tax(rows, floor)
            floors += 1
    assert floors > 1000


@pytest.mark.slow
def test_liquidation_prices_of_the_real_tables_are_roots_and_both_implementations_agree() -> None:
    """Long and short, below the first floor, on a floor, between floors and above the last one."""
    checked = 0
    for symbol, rows in real_tables().items():
        events = list(records(instrument_of(rows), positions(rows)))
        views = views_of(events, EngineName.FAST)
        assert views == views_of(events, EngineName.REFERENCE), symbol
        for view in views:
            checked += check_root(rows, view)
    assert checked > 2000


def check_root(rows: list[Row], view: BucketView) -> int:
    """Equity - MM is not negative at the reported price and is negative one tick further on the losing side."""
    (position,) = view.positions
    if position.liquidation_price is None:
        assert Fraction(position.quantity) > 0, "a long may have no price left to be liquidated at"
        assert excess(rows, view, position, TICK) >= 0
        return 0
    price = Fraction(position.liquidation_price)
    losing = -TICK if Fraction(position.quantity) > 0 else TICK
    assert price % TICK == 0
    assert excess(rows, view, position, price) >= 0 > excess(rows, view, position, price + losing), view
    assert abs(excess(rows, view, position, price)) <= abs(Fraction(position.quantity)) * TICK * 2
    return 1


def excess(rows: list[Row], view: BucketView, position: PositionView, price: Fraction) -> Fraction:
    quantity = Fraction(position.quantity)
    return Fraction(view.balances["USDT"]) + quantity * price - tax(rows, abs(quantity) * price)


def views_of(events: list[Record], engine: EngineName) -> list[BucketView]:
    machine = make_engine(engine, Settings(), {}, gates_open=False, observe=False)
    refused = [letter.refusal for letter in fold(machine, events)]
    assert not refused, refused
    return sorted_views(machine)


def records(instrument: Instrument, held: Iterable[tuple[str, str, str]]) -> Iterator[Record]:
    """One isolated account a (side, quantity, margin), entered at the mark."""
    yield record("instruments", json_of(instrument))
    yield record("prices", {"instrument": SYMBOL, "mark_price": to_text(int(MARK * ONE))})
    for number, (side, quantity, margin) in enumerate(held):
        account = f"a-{number:03}"
        yield record("accounts", {"account": account, "margin_mode": "isolated", "valuation_asset": "USDT"})
        yield record("transfers", {
            "transfer_id": "t", "account": account, "bucket": SYMBOL, "asset": "USDT", "amount": margin, "reason": "deposit",
        })  # fmt: skip
        yield record("fills", {
            "fill_id": "f", "account": account, "instrument": SYMBOL, "side": side, "quantity": quantity,
            "price": to_text(int(MARK * ONE)),
        })  # fmt: skip


def positions(rows: list[Row]) -> Iterator[tuple[str, str, str]]:
    """Both sides of four sizes, each with a tenth more than the initial margin of its tier."""
    middle = len(rows) // 2
    last = Fraction(rows[-1][0])
    for notional, at in (
        (Fraction(rows[0][1]) / 2, 0),
        (Fraction(rows[middle][0]) or Fraction(rows[0][1]), middle),
        ((Fraction(rows[middle][0]) + Fraction(rows[middle][1])) / 2, middle),
        (max(2 * last, Fraction(1000)), -1),
    ):
        for side in ("buy", "sell"):
            margin = notional / int(rows[at][4]) * Fraction(11, 10)
            yield side, to_text(int(notional / MARK * ONE)), to_text(int(margin * ONE))


def record(topic: str, value: dict[str, Any]) -> Record:
    content = json.dumps(value | {"ts_ms": 0}).encode()
    return Record(topic=topic, partition=0, offset=0, timestamp_ms=0, key=None, value=content)


def json_of(instrument: Instrument) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(instrument)
    return plain
