"""Trades and quotes of Binance as they came off the wire, 2024-08-08: the recorder's clock runs 1.2 s behind the exchange's.

A mark is a trade's price or the best bid, each its own source; trades and quotes overtake each other, so times step back.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from services.contracts.decimals import ONE, parse
from services.contracts.messages import Collateral, Price
from services.contracts.records import Record
from services.demo.accounts import openings
from services.demo.instruments import ASSET, Listing, perpetual
from tests.recordings.writing import Stamper, rows_of

ROWS: Final = "2024-08-08_binance_um_trades_quotes_raw_rate.csv.gz"
SETTLED_MS: Final = 60_000
MAX_PRICE_AGE_MS: Final = 5_000
TICKS: Final = {"BTC": "0.1", "ETH": "0.01"}


def recording(
    data: Path, accounts: int, seed: int, *, corrected_ms: int = 0, rows: int | None = None
) -> Iterator[Record]:
    """The recording, or its first `rows`; `corrected_ms` is added to the recorder's clock. Raises `Missing`."""
    taken = list(islice(rows_of(data, ROWS), rows))
    ticks = [(int(row["recv_ns"]) // 10**6 + corrected_ms, _tick(row)) for row in taken]
    stamper, start_ms = Stamper(), ticks[0][0] - SETTLED_MS
    first: dict[str, Price] = {}
    for _, tick in ticks:
        first.setdefault(tick.instrument, tick)
    marks = {name: parse(tick.mark_price or "0") for name, tick in first.items()}
    market = [
        Listing(
            instrument=perpetual(
                coin, tick=step, lot="0.001", leverage=50, first_tier="250000", max_price_age_ms=MAX_PRICE_AGE_MS
            ),
            first_price=marks[f"{coin}-PERP"] / ONE,
        )
        for coin, step in TICKS.items()
    ]
    for listing in market:
        yield stamper.record(listing.instrument, start_ms)
    yield stamper.record(Collateral(asset=ASSET, ts_ms=0), start_ms)
    for name, tick in first.items():
        before = Price(instrument=name, mark_price=tick.mark_price, source=tick.source, ts_ms=start_ms)
        yield stamper.record(before, start_ms)
    for opening in openings(seed, accounts, market, marks, ts_ms=start_ms):
        for message in (opening.account, *opening.steps):
            yield stamper.record(message, start_ms)
    for arrived_ms, tick in ticks:
        yield stamper.record(tick, arrived_ms)


def _tick(row: dict[str, str]) -> Price:
    return Price(
        instrument=f"{row['symbol'][:-4]}-PERP", mark_price=row["price"] or row["bid"], source=row["kind"],
        ts_ms=int(row["ts_ms"]),
    )  # fmt: skip
