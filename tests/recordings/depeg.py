"""March 2023 as a recording: BTC perpetuals while USDC, which is the collateral, falls to 0.88 dollars and comes back.

Marks are bars of Binance.US: BTC/USD for a contract settled in USD, BTC/USDC for one settled in USDC, the latter with Kraken's
BTC/USDC as index. What a USDC is worth is not recorded; it is the close of BTC/USD over that of BTC/USDC of the same venue and
minute. Accounts pay in USDC; `floor` values it at no less than that. Debt in dollars asks for 2 % and is paid by selling USDC.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from msgspec import structs

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
SOURCE: Final = "binanceus"
MARKS: Final = {"BINANCEUS:BTCUSD": "BTC-PERP", "BINANCEUS:BTCUSDC": "BTC-USDC-PERP"}
INDEX: Final = "KRAKEN:BTCUSDC"


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
    dollars = Collateral(asset="USD", liability_maintenance_rate="0.02", ts_ms=0)
    for message in (*instruments, _instrument(USDC_PRICE, "USD"), dollars, _usdc(floor)):
        yield stamper.record(message, start_ms)
    marks = {name: parse(tick.mark_price or "0") for name, tick in first.items()}
    for name, mark in marks.items():
        yield stamper.record(Price(instrument=name, mark_price=to_text(mark), source=SOURCE, ts_ms=start_ms), start_ms)
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
    closes = {(row["symbol"], row["ts_ms"]): plain(row["close"]) for row in rows}
    for row in rows:
        target, minute = MARKS.get(row["symbol"]), row["ts_ms"]
        if target is None:
            continue
        in_usdc = target == "BTC-USDC-PERP"
        index = (
            closes.get((INDEX, str(int(minute) - 60_000))) if in_usdc else None
        )  # the last one that is known by then
        for ts_ms, tick in bar_ticks(row, target, step_ms=STEP_MS, source=SOURCE):
            yield ts_ms, structs.replace(tick, index_price=index)
        dollars = closes.get(("BINANCEUS:BTCUSD", minute))
        if in_usdc and dollars is not None:
            yield _usdc_tick(parse(dollars), parse(plain(row["close"])), int(minute) + 59_999)


def _usdc_tick(dollars: int, usdc: int, ts_ms: int) -> tuple[int, Price]:
    """8 decimals, rounded down."""
    price = to_text(dollars * 10**8 // usdc * 10**10)
    return ts_ms, Price(instrument=USDC_PRICE, mark_price=price, source=SOURCE, ts_ms=ts_ms)


def _instrument(name: str, settlement: str) -> Instrument:
    tick = "0.0001" if name == USDC_PRICE else "0.01"
    plain_one = perpetual(
        "BTC", tick=tick, lot="0.001", leverage=50, first_tier="250000", max_price_age_ms=MAX_PRICE_AGE_MS
    )
    fields = {key: getattr(plain_one, key) for key in plain_one.__struct_fields__}
    return Instrument(
        **fields
        | {
            "instrument": name, "underlying": name.partition("-")[0], "settlement_asset": settlement, "max_price_move": MAX_PRICE_MOVE,
            "insurance_pool": f"{settlement}-main",
        }
    )  # fmt: skip


def _usdc(floor: str | None) -> Collateral:
    return Collateral(
        asset="USDC", price_instrument=USDC_PRICE, weight_tiers=[WeightTier(floor="0", weight=WEIGHT)],
        max_price_age_ms=MAX_PRICE_AGE_MS, max_price_move=MAX_PRICE_MOVE, price_floor=floor,
        conversion_instrument=USDC_PRICE, ts_ms=0,
    )  # fmt: skip
