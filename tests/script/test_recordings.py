"""The recordings' real defects reach the engine, and nobody is liquidated for them.

A wrongful liquidation is an order for a bucket that is not under its maintenance margin at the true last valid marks: one that
rests on a print that the next one takes back, on a price that nobody renewed, or on a time that stepped back. Slices of the
recorded data are made here and now; where the data is absent these tests say so and skip.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.contracts.codec import decode
from services.contracts.decimals import ONE, parse
from services.contracts.messages import Account, Fill, Order
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.settings import Settings
from services.replay.overrides import Overrides
from tests.recordings import depeg, gemini, inverse, okx_options, raw_rate
from tests.recordings.probe import Probe, Tick
from tests.recordings.report import report, thin_prints, watched, wrongful
from tests.recordings.writing import Missing, default_data, rows_of

THIN_PRINT_MS = 1_678_803_840_000  # 2023-03-14 14:24, the minute of the high of 31,000
QUIET = {"orders_on_thin_prints": 0, "orders_on_stale_prices": 0, "orders_without_breach": 0}
BTC_SILENT_MS = (1_760_129_666_000, 1_760_130_486_000)  # Gemini, 20:54:26 to 21:08:06

DATA = Path(os.environ.get("RINGFENCE_MARKET_DATA", str(default_data())))

Make = Callable[..., Iterator[Record]]


def made(make: Make, accounts: int, **window: Any) -> list[Record]:
    """A slice of a recording; skips where the data is not on this machine."""
    try:
        return list(make(DATA, accounts, 1, **window))
    except Missing as missing:
        pytest.skip(str(missing))


def without(records: list[Record], *sets: str) -> list[Record]:
    """The same recording with other limits: what the guards are worth is seen when they are gone."""
    return list(Overrides([f"{name}=null" for name in sets]).records(records))


def ticks_of(probe: Probe, order: Order) -> dict[str, Tick]:
    """The ticks that an order rests on."""
    places = {price_id: place[1] for price_id, place in (order.evidence.prices or {}).items()}
    by_offset = {tick.offset: tick for ticks in probe.tally.ticks.values() for tick in ticks}
    return {price_id: by_offset[offset] for price_id, offset in places.items()}


# -- the thin print of 2023-03-14 ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thin_print() -> list[Record]:
    return made(depeg.recording, 60, from_ms=THIN_PRINT_MS - 600_000, to_ms=THIN_PRINT_MS + 600_000)


def shorts_bought_back_above(probe: Probe, price: str) -> list[Order]:
    return [o for o in probe.tally.orders.values() if o.side == "buy" and parse(o.mark_price) > parse(price)]


def test_the_thin_print_is_in_the_slice(thin_print: list[Record]) -> None:
    ticks = watched(thin_print, Settings()).tally.ticks["BTC-USDC-PERP"]
    assert [tick.mark for tick in ticks if tick.offset in thin_prints(ticks)] == [31_000 * ONE]


def test_a_print_that_the_next_one_takes_back_liquidates_no_short(thin_print: list[Record]) -> None:
    probe = watched(thin_print, Settings())
    assert not shorts_bought_back_above(probe, "28000")
    assert wrongful(probe.tally) == QUIET
    assert probe.tally.alarms["price_unconfirmed"] >= 1


def test_without_the_limit_the_same_print_does(thin_print: list[Record]) -> None:
    """The guard is what saves them: this is the test of the test."""
    probe = watched(without(thin_print, "instrument.BTC-USDC-PERP.max_price_move"), Settings())
    assert shorts_bought_back_above(probe, "28000")
    assert wrongful(probe.tally)["orders_on_thin_prints"] > 0


# -- Gemini: late and silent -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def silent() -> list[Record]:
    return made(gemini.recording, 150, window=(gemini.CRASH_MS[0], BTC_SILENT_MS[1] + 600_000))


def test_nothing_is_closed_at_a_price_that_nobody_renews(silent: list[Record]) -> None:
    """BTC is silent for 14 minutes while the others fall: no order on it, and others of its buckets on fresh prices only."""
    probe = watched(silent, Settings())
    assert wrongful(probe.tally) == QUIET
    during = [
        order for order in probe.tally.orders.values() if BTC_SILENT_MS[0] + 60_000 < order.ts_ms < BTC_SILENT_MS[1]
    ]
    assert during, "others are liquidated meanwhile"
    assert not [order for order in during if order.instrument == "BTC-PERP"]


def contradicted(records: list[Record], probe: Probe) -> tuple[list[Order], list[Order]]:
    """Orders that rest on a silent BTC mark, and those of them that OKX's forward of the same second contradicts."""
    truth = [(int(row["ts_ms"]), parse(row["price"])) for row in rows_of(DATA, "2025-10-10_okx_btc_forward_1s.csv.gz")]
    resting, wrong = [], []
    for order in probe.tally.orders.values():
        used = ticks_of(probe, order).get("BTC-PERP")
        if used is None or used.mark is None or order.ts_ms - used.ts_ms < 60_000:
            continue
        real = next(price for ts_ms, price in reversed(truth) if ts_ms <= order.ts_ms)
        held = _position_of(records, order.account, "BTC-PERP")
        resting.append(order)
        if parse(order.equity) + held * (real - used.mark) // ONE >= parse(order.maintenance_margin):
            wrong.append(order)
    return resting, wrong


def test_a_bucket_with_a_silent_leg_is_not_closed_against_the_truth() -> None:
    """Cross accounts with BTC and something else. The twin without a limit of age closes on a BTC price of minutes ago."""
    window = (gemini.CRASH_MS[0], BTC_SILENT_MS[1] + 60_000)
    records = _of_mixed_accounts(made(gemini.recording, 1_500, window=window))
    _, wrong = contradicted(records, watched(records, Settings()))
    assert not wrong
    believing = without(records, "instrument.BTC-PERP.max_price_age_ms")
    resting, _ = contradicted(believing, watched(believing, Settings()))
    assert resting, "this is the test of the test"


def _of_mixed_accounts(records: list[Record]) -> list[Record]:
    """Without the accounts that are isolated, or hold no BTC, or hold nothing else."""
    messages = [decode(record.topic, record.value) for record in records if record.topic in ("accounts", "fills")]
    held: dict[str, set[str]] = {}
    for message in messages:
        if isinstance(message, Fill):
            held.setdefault(message.account, set()).add(message.instrument)
    kept = {
        message.account.encode()
        for message in messages
        if isinstance(message, Account) and message.margin_mode == "cross" and len(held[message.account]) > 1
        if "BTC-PERP" in held[message.account]
    }
    return [record for record in records if record.topic not in ACCOUNT_TOPICS or record.key in kept]


def _position_of(records: list[Record], account: str, instrument: str) -> int:
    """What the account opened with, signed e18; it cannot have been closed while the price was silent."""
    fills = [decode(record.topic, record.value) for record in records if record.topic == "fills"]
    return sum(
        parse(fill.quantity) * (1 if fill.side == "buy" else -1)
        for fill in fills
        if isinstance(fill, Fill) and (fill.account, fill.instrument) == (account, instrument)
    )


def test_late_trades_are_not_taken_for_fresh_ones(silent: list[Record]) -> None:
    """Some arrive minutes late: they count, but nothing is closed on them."""
    (summary, *_) = report("gemini", silent)
    assert summary["late_over_1s"] > 100
    assert summary["latest_s"] > 60
    assert summary["orders_on_stale_prices"] == 0


# -- clocks and order ------------------------------------------------------------------------------------------------


def test_a_clock_that_runs_behind_makes_every_price_doubtful_and_liquidates_nobody() -> None:
    probe = watched(made(raw_rate.recording, 40, rows=6_000), Settings())
    assert probe.tally.alarms["price_from_future"] >= 1
    assert not probe.tally.orders


def test_with_the_clock_set_right_a_price_that_steps_back_is_skipped() -> None:
    records = made(raw_rate.recording, 40, rows=20_000, corrected_ms=1_300)
    probe = watched(records, Settings())
    newest = {name: max(tick.ts_ms for tick in ticks) for name, ticks in probe.tally.ticks.items()}
    assert probe.stats.skipped_prices > 0
    assert probe.price_times() == newest
    assert wrongful(probe.tally) == QUIET
    assert not probe.negative_buckets


# -- perpetuals far under spot ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def far_under_spot() -> list[Record]:
    """21:19:30 to 21:20:30, when AVAX traded at 6.02 here and at 17.00 on Coinbase."""
    return made(inverse.recording, 60, from_ms=1_760_131_170_000, to_ms=1_760_131_230_000)


def test_coins_keep_their_own_price_while_the_perpetual_is_far_under_it(far_under_spot: list[Record]) -> None:
    """Collateral is valued at spot; what is ordered breaches at the marks that the records held, on no lone print."""
    probe = watched(far_under_spot, Settings())
    lowest, spot = (min(t.mark or 0 for t in probe.tally.ticks[name]) for name in ("AVAX-PERP", "AVAX-USD"))
    assert 2 * lowest < spot, "the slice holds the dislocation"
    assert wrongful(probe.tally) == QUIET
    dollars = [view for view in probe.buckets() if view.valuation_asset == "USD" and view.equity is not None]
    assert dollars, "cross accounts are valued in dollars"


# -- options and a silent collateral ---------------------------------------------------------------------------------


def test_a_silent_collateral_price_liquidates_no_option_account() -> None:
    """BTC's own price is silent, the options' forwards go on: accounts are judged at the favourable end of what BTC may be."""
    records = made(okx_options.recording, 4, from_ms=1_760_129_640_000, to_ms=1_760_129_820_000)
    probe = watched(records, Settings())
    assert wrongful(probe.tally) == QUIET
    assert not probe.negative_buckets
