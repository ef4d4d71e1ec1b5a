"""Changes of the price feed: which records they touch, when they begin, and how prices are rounded."""

from __future__ import annotations

import msgspec
import pytest

from services.contracts.codec import decode
from services.contracts.messages import Price
from services.replay.feeds import Feeds, drop, shock, stick
from services.replay.overrides import OverrideError
from tests.unit.replay.fakes import instrument, of, price, record

DAY = 86_400_000
NOON = 1_700_000_000_000 // DAY * DAY + 12 * 3_600_000


def marks(feeds: Feeds, *ticks: tuple[int, str]) -> list[str | None]:
    """The marks that come of ticks at milliseconds after noon."""
    told = []
    for at, mark in ticks:
        changed = feeds.apply(of(price(mark, ts_ms=NOON + at), time_ms=NOON + at))
        message = None if changed is None else decode("prices", changed.value)
        told.append(message.mark_price if isinstance(message, Price) else None)
    return told


def test_a_step_lasts() -> None:
    assert marks(Feeds([shock("BTC-PERP=-10%@12:00:01")]), (0, "100"), (999, "100"), (1_000, "100"), (9_000, "50")) == [
        "100",
        "100",
        "90",
        "45",
    ]


def test_a_ramp_is_a_line() -> None:
    assert marks(Feeds([shock("*=+20%@+0s..+4s")]), (0, "100"), (1_000, "100"), (4_000, "100"), (5_000, "100")) == [
        "100",
        "105",
        "120",
        "120",
    ]


def test_prices_keep_twelve_decimals_rounded_down() -> None:
    assert marks(Feeds([shock("BTC-PERP=-33.3333333%@+0s")]), (0, "0.000000000005"), (1, "0.000000000001")) == [
        "0.000000000003",
        "0.000000000001",
    ]


def test_a_shock_moves_the_index_with_the_mark() -> None:
    tick = Price(instrument="BTC-PERP", mark_price="100", index_price="101", implied_volatility="0.5", ts_ms=NOON)
    changed = Feeds([shock("BTC-PERP=10%@+0s")]).apply(of(tick, time_ms=NOON))
    assert changed is not None
    body = msgspec.json.decode(changed.value)
    assert (body["mark_price"], body["index_price"], body["implied_volatility"]) == ("110", "111.1", "0.5")


def test_a_window_is_half_open() -> None:
    assert marks(Feeds([drop("BTC-PERP@12:00:01..12:00:02")]), (0, "1"), (1_000, "2"), (1_999, "3"), (2_000, "4")) == [
        "1",
        None,
        None,
        "4",
    ]


def test_a_stuck_feed_repeats_the_last_price_before_its_window() -> None:
    assert marks(Feeds([stick("BTC-PERP@+1s..+2s")]), (0, "1"), (1_000, "2"), (1_500, "3"), (2_000, "4")) == [
        "1",
        "1",
        "1",
        "4",
    ]


def test_changes_apply_one_after_the_other() -> None:
    assert marks(Feeds([stick("*@+1s..+2s"), shock("*=100%@+0s")]), (0, "1"), (1_000, "5"), (2_000, "6")) == [
        "2",
        "2",
        "12",
    ]


def test_a_time_of_day_before_the_first_price_is_the_next_days() -> None:
    feeds = Feeds([shock("*=100%@11:00")])
    assert marks(feeds, (0, "1"), (DAY - 3_600_001, "1"), (DAY - 3_600_000, "1")) == ["1", "1", "2"]


def test_other_instruments_other_topics_and_undecodable_prices_stay() -> None:
    feeds = Feeds([shock("ETH-PERP=-10%@+0s")])
    for untouched in (of(price("1"), time_ms=1), of(instrument()), record("prices", b"not json", time_ms=2)):
        assert feeds.apply(untouched) is untouched
    assert feeds.unused == ["--shock ETH-PERP=-10%@+0s"]


@pytest.mark.parametrize(
    "text",
    ["BTC-PERP=-10%", "=-10%@+1s", "BTC-PERP=-10@+1s", "BTC-PERP=-100%@+1s", "BTC-PERP=1%@24:00", "BTC-PERP=1%@+1d"],
)
def test_what_is_no_shock_is_refused(text: str) -> None:
    with pytest.raises(OverrideError, match="--shock"):
        shock(text)
