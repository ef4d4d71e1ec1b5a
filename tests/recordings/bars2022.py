"""January 2022 as a recording: every one-minute bar of a BTC perpetual on its way from 47,500 to 32,800.

The marks are the bars' own prices, at equal distances within the minute; margin in USDT, the tiers have a common shape, the
accounts are drawn.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from services.contracts.decimals import ONE, parse
from services.contracts.messages import Collateral
from services.contracts.records import Record
from services.demo.accounts import openings
from services.demo.instruments import ASSET, Listing, perpetual
from tests.recordings.seeded import bar_ticks
from tests.recordings.writing import Stamper, rows_of

BARS: Final = "2022-01_btc_perp_1m.csv.gz"
STEP_MS: Final = 15_000
SETTLED_MS: Final = 60_000
MAX_PRICE_AGE_MS: Final = 150_000  # two bars and a half


def recording(data: Path, accounts: int, seed: int, *, from_ms: int = 0, to_ms: int = 2**62) -> Iterator[Record]:
    """The whole recording, or the bars in [from_ms, to_ms). Raises `Missing`."""
    rows = [row for row in rows_of(data, BARS) if from_ms <= int(row["ts_ms"]) < to_ms]
    stamper, start_ms, first = Stamper(), int(rows[0]["ts_ms"]) - SETTLED_MS, rows[0]["open"]
    instrument = perpetual(
        "BTC", tick="1", lot="0.001", leverage=50, first_tier="250000", max_price_age_ms=MAX_PRICE_AGE_MS
    )
    listing = Listing(instrument=instrument, first_price=parse(first) / ONE)
    yield stamper.record(instrument, start_ms)
    yield stamper.record(Collateral(asset=ASSET, ts_ms=0), start_ms)
    _, opening_tick = next(bar_ticks({**rows[0], "close": first, "low": first, "high": first, "ts_ms": str(start_ms - 59_999)},
                                     listing.name, step_ms=STEP_MS, source="ftx"))  # fmt: skip
    yield stamper.record(opening_tick, start_ms)
    for opening in openings(seed, accounts, [listing], {listing.name: parse(first)}, ts_ms=start_ms):
        for message in (opening.account, *opening.steps):
            yield stamper.record(message, start_ms)
    for row in rows:
        for ts_ms, tick in bar_ticks(row, listing.name, step_ms=STEP_MS, source="ftx"):
            yield stamper.record(tick, ts_ms)
