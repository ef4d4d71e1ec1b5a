"""March 2023 as a recording: BTC perpetuals while USDC, which is the collateral, falls to 0.88 dollars and comes back.

Marks are bars of Binance.US: BTC/USD for a contract settled in USD, BTC/USDC for one settled in USDC, the latter also from
Kraken, as a second source. What a USDC is worth is not recorded; it is BTC/USD over BTC/USDC of the same venue and minute, and so
says the thin print of 2023-03-14 14:24 too. Accounts pay in USDC; `floor` values it at no less than that.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from services.contracts.decimals import ONE, parse, to_text
from services.contracts.messages import Collateral, Instrument, Price, WeightTier
from services.contracts.records import Record
from services.demo.instruments import perpetual
from tests.recordings.seeded import Client, Offer, bar_ticks, opened, plain
from tests.recordings.writing import Stamper, rows_of

BARS: Final = "2023-03_btc_usdc_depeg_1m.csv.gz"
USDC_PRICE: Final = "USDC-USD"
STEP_MS: Final = 200  # a bar's extremes are prints, and prints follow each other
SETTLED_MS: Final = 60_000
MAX_PRICE_AGE_MS: Final = 150_000
MAX_PRICE_MOVE: Final = "0.05"
WEIGHT: Final = "0.95"
MARKS: Final = {
    "BINANCEUS:BTCUSD": ("BTC-PERP", "binanceus"),
    "BINANCEUS:BTCUSDC": ("BTC-USDC-PERP", "binanceus"),
    "KRAKEN:BTCUSDC": ("BTC-USDC-PERP", "kraken"),
}


def recording(
    data: Path, accounts: int, seed: int, *, floor: str | None = None, from_ms: int = 0, to_ms: int = 2**62
) -> Iterator[Record]:
    """The whole recording, or the bars in [from_ms, to_ms). Raises `Missing`."""
    rows = [row for row in rows_of(data, BARS) if from_ms <= int(row["ts_ms"]) < to_ms]
    ticks = sorted(_ticks(rows), key=lambda tick: (tick[0], tick[1].instrument, tick[1].source or ""))
    stamper, start_ms = Stamper(), ticks[0][0] - SETTLED_MS
    first: dict[str, Price] = {}
    for _, tick in ticks:
        first.setdefault(tick.instrument, tick)
    instruments = [_instrument("BTC-PERP", "USD"), _instrument("BTC-USDC-PERP", "USDC")]
    for message in (*instruments, Collateral(asset="USD", ts_ms=0), _usdc(floor)):
        yield stamper.record(message, start_ms)
    marks = {name: parse(tick.mark_price or "0") for name, tick in first.items()}
    for name, mark in marks.items():
        yield stamper.record(
            Price(instrument=name, mark_price=to_text(mark), source="binanceus", ts_ms=start_ms), start_ms
        )
    usdc = marks[USDC_PRICE] / ONE
    worth = {"USD": 1.0, "USDC": usdc}
    offers = [Offer(instrument=i, price=marks[i.instrument], settle_usd=worth[i.settlement_asset]) for i in instruments]
    for number in range(accounts):
        draw = Random(f"{seed}/depeg/{number}")
        client = Client(
            mode="isolated" if draw.random() < 0.5 else "cross", valuation_asset="USD", collateral="USDC",
            credit=usdc * float(WEIGHT), positions=(1, 1, 2),
        )  # fmt: skip
        for opening in opened(f"a-{number:05d}", draw, client, offers, start_ms):
            yield stamper.record(opening, start_ms)
    for ts_ms, tick in ticks:
        yield stamper.record(tick, ts_ms)


def _ticks(rows: list[dict[str, str]]) -> Iterator[tuple[int, Price]]:
    """Every tick of every bar, and after each minute what it says a USDC is worth."""
    usd: dict[str, str] = {}
    for row in rows:
        if row["symbol"] == "BINANCEUS:BTCUSD":
            usd[row["ts_ms"]] = row["close"]
    for row in rows:
        target = MARKS.get(row["symbol"])
        if target is None:
            continue
        yield from bar_ticks(row, target[0], step_ms=STEP_MS, source=target[1])
        dollars = usd.get(row["ts_ms"])
        if row["symbol"] == "BINANCEUS:BTCUSDC" and dollars is not None:
            yield from _usdc_ticks(row, parse(plain(dollars)))


def _usdc_ticks(row: dict[str, str], dollars: int) -> Iterator[tuple[int, Price]]:
    """Each print of BTC/USDC against the minute's BTC/USD: 8 decimals, as USDC pairs are quoted."""
    for ts_ms, tick in bar_ticks(row, USDC_PRICE, step_ms=STEP_MS, source="binanceus"):
        price = dollars * 10**8 // parse(tick.mark_price or "0") * 10**10
        yield ts_ms, Price(instrument=USDC_PRICE, mark_price=to_text(price), source="binanceus", ts_ms=ts_ms)


def _instrument(name: str, settlement: str) -> Instrument:
    plain_one = perpetual(
        "BTC", tick="0.01", lot="0.001", leverage=50, first_tier="250000", max_price_age_ms=MAX_PRICE_AGE_MS
    )
    fields = {key: getattr(plain_one, key) for key in plain_one.__struct_fields__}
    return Instrument(
        **fields
        | {
            "instrument": name, "settlement_asset": settlement, "max_price_move": MAX_PRICE_MOVE,
            "insurance_pool": f"{settlement}-main",
        }
    )  # fmt: skip


def _usdc(floor: str | None) -> Collateral:
    return Collateral(
        asset="USDC", price_instrument=USDC_PRICE, weight_tiers=[WeightTier(floor="0", weight=WEIGHT)],
        max_price_age_ms=MAX_PRICE_AGE_MS, max_price_move=MAX_PRICE_MOVE, price_floor=floor, ts_ms=0,
    )  # fmt: skip
