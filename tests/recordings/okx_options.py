"""Five BTC options through 2025-10-10: premiums in BTC, forward and volatility as the venue quoted them, in order of arrival.

Half of the accounts are in portfolio mode (preset derive-pm2), some of them with a call bought on margin; half margin short options
one by one. All pay in BTC and are
valued in dollars at the Gemini spot trades of the day, which arrive up to 180 s late and were silent for 14 minutes.
What is not real: the margin rates outside portfolio mode and the accounts.
"""

from collections.abc import Iterator
from heapq import merge
from pathlib import Path
from random import Random
from typing import Final

from msgspec import structs

from services.contracts.decimals import ONE, ceil_div, parse, to_text
from services.contracts.messages import (
    Account,
    Collateral,
    Fill,
    Instrument,
    MarginTier,
    Message,
    OptionMargin,
    Price,
    Transfer,
    WeightTier,
)
from services.contracts.records import Record
from tests.recordings.writing import Stamper, rows_of

OPTIONS: Final = "2025-10-10_okx_btc_options_ticks.csv.gz"
SPOT: Final = "2025-10-10_gemini_spot_trades.csv.gz"
SPOT_ID: Final = "BTC-USD"
SIZE: Final = "0.01"  # BTC a contract
SETTLED_MS: Final = 60_000
OPTION_AGE_MS: Final = 60_000
SPOT_AGE_MS: Final = 60_000
PRESET: Final = "derive-pm2"
TAKER: Final = "0.0003"

# BTC put up for an option on one: above the initial margin of the position alone before the crash, so that nobody opens under water.
ASKED: Final = {"135000-C": 0.08, "80000-P": 0.05, "80000-C": 0.13, "132000-C": 0.1, "102000-C": 0.16}
PLAIN_ASKED: Final = 0.12
# Calls bought on margin, as portfolio margin allows: the part of the premium that is paid, least and most; the rest is owed in BTC.
FINANCED_SHARE: Final = 0.15  # of all accounts
FINANCED: Final = {"102000-C": (0.69, 0.95), "80000-C": (0.46, 0.75)}

Timed = tuple[int, int, Price]  # received in microseconds, number, tick


def recording(data: Path, accounts: int, seed: int, *, from_ms: int = 0, to_ms: int = 2**62) -> Iterator[Record]:
    """The whole recording, or what was received in [from_ms, to_ms). Raises `Missing`."""
    options = sorted(
        ((int(row["recv_us"]), number, row) for number, row in enumerate(rows_of(data, OPTIONS))),
        key=lambda each: each[:2],
    )
    options = [each for each in options if from_ms <= each[0] // 1000 < to_ms]
    first: dict[str, dict[str, str]] = {}
    for _, _, row in options:
        first.setdefault(row["symbol"], row)
    start_ms = options[0][0] // 1000 - SETTLED_MS
    spots = _spots(data)
    before = [tick for received_us, _, tick in spots if received_us // 1000 <= start_ms]
    stamper = Stamper()
    for message in (*(_instrument(row) for _, row in sorted(first.items())), Collateral(asset="USD", ts_ms=0), _btc()):
        yield stamper.record(message, start_ms)
    yield stamper.record(before[-1], start_ms)
    for row in first.values():
        yield stamper.record(_option(row, start_ms), start_ms)
    for number in range(accounts):
        draw = Random(f"{seed}/options/{number}")
        for message in _opened(f"a-{number:05d}", draw, list(first.values()), start_ms):
            yield stamper.record(message, start_ms)
    last_ms = options[-1][0] // 1000
    later = ((t, n, tick) for t, n, tick in spots if start_ms < t // 1000 <= last_ms)
    ticks = ((t, n, _option(row, int(row["ts_ms"]))) for t, n, row in options)
    for received_us, _, tick in merge(later, ticks, key=lambda each: each[0]):
        yield stamper.record(tick, received_us // 1000)


def _spots(data: Path) -> list[Timed]:
    rows = [row for row in rows_of(data, SPOT) if row["symbol"] == "BTCUSD"]
    ticks = [
        (int(row["recv_us"]), number, Price(instrument=SPOT_ID, mark_price=row["price"], source="gemini", ts_ms=int(row["ts_ms"])))
        for number, row in enumerate(rows)
    ]  # fmt: skip
    return sorted(ticks, key=lambda each: each[:2])


def _option(row: dict[str, str], ts_ms: int) -> Price:
    return Price(
        instrument=row["symbol"], mark_price=row["mark_price"] or None, index_price=row["underlying_price"],
        implied_volatility=row["mark_iv"], source="okx", ts_ms=ts_ms,
    )  # fmt: skip


def _instrument(row: dict[str, str]) -> Instrument:
    """The rates of OKX's plain account mode, in shape: 15 % less what it is out of the money, at least 10 %; 7.5 % to keep."""
    return Instrument(
        instrument=row["symbol"], kind="option", contract="inverse", underlying="BTC", settlement_asset="BTC", contract_size=SIZE,
        tick_size="0.0001", lot_size="1", margin_tiers=[MarginTier(notional_floor="0", maintenance_margin_rate="0")],
        expiry_ms=int(row["expiry_ms"]), strike=row["strike"], option_type="call" if row["type"] == "call" else "put",
        spot_instrument=SPOT_ID,
        option_margin=OptionMargin(
            short_initial_rate="0.15", short_minimum_rate="0.1", short_maintenance_rate="0.075", put_mark_rate="1"
        ),
        taker_fee_rate=TAKER, liquidation_fee_rate="0.002", max_price_age_ms=OPTION_AGE_MS, max_price_move="0.1",
        insurance_pool="BTC-main", ts_ms=0,
    )  # fmt: skip


def _btc() -> Collateral:
    return Collateral(
        asset="BTC", price_instrument=SPOT_ID, weight_tiers=[WeightTier(floor="0", weight="0.95")], hedges="BTC",
        max_price_age_ms=SPOT_AGE_MS, max_price_move="0.1", ts_ms=0,
    )  # fmt: skip


def _opened(name: str, draw: Random, rows: list[dict[str, str]], ts_ms: int) -> Iterator[Message]:
    """One to three options bought or sold, against one to four times the BTC that they may ask for; or a call bought on margin."""
    kind = draw.random()
    portfolio = kind < 0.5
    yield Account(
        account=name, client=f"c-{name}", margin_mode="portfolio" if portfolio else "cross", valuation_asset="USD",
        margin_preset=PRESET if portfolio else None, ts_ms=ts_ms,
    )  # fmt: skip
    if kind < FINANCED_SHARE:
        fills, paid = _on_margin(name, rows, draw, ts_ms)
    else:
        chosen = draw.sample(rows, k=draw.choice((1, 2, 3)))
        fills = [_fill(name, row, draw, ts_ms) for row in chosen]
        premiums = sum(_premium(fill) for fill in fills if fill.side == "buy")
        asked = sum(_asked(fill, portfolio=portfolio) for fill in fills)
        paid = premiums + round(asked * (1 + 3 * draw.random() ** 2))
    yield Transfer(
        transfer_id=f"{name}/deposit", account=name, bucket="main", asset="BTC", amount=to_text(paid), reason="deposit",
        ts_ms=ts_ms,
    )  # fmt: skip
    yield from fills


def _on_margin(name: str, rows: list[dict[str, str]], draw: Random, ts_ms: int) -> tuple[list[Fill], int]:
    """A call, and what of its premium is paid, e18 BTC."""
    call, (least, most) = draw.choice(sorted(FINANCED.items()))
    row = next(row for row in rows if row["symbol"].endswith(call))
    fill = structs.replace(_fill(name, row, draw, ts_ms), side="buy")
    return [fill], round(_premium(fill) * (least + (most - least) * draw.random() ** 2))


def _fill(name: str, row: dict[str, str], draw: Random, ts_ms: int) -> Fill:
    quantity = draw.randint(10, 500)
    fee = ceil_div(quantity * parse(SIZE) * parse(TAKER), ONE)
    return Fill(
        fill_id=f"{name}/open/{row['symbol']}", account=name, instrument=row["symbol"], bucket="main",
        side="buy" if draw.random() < 0.4 else "sell", quantity=str(quantity), price=row["mark_price"], fee=to_text(fee),
        exec_type="trade", ts_ms=ts_ms,
    )  # fmt: skip


def _premium(fill: Fill) -> int:
    """BTC paid for what was bought, e18."""
    return parse(fill.quantity) * parse(SIZE) * parse(fill.price) // (ONE * ONE)


def _asked(fill: Fill, *, portfolio: bool) -> float:
    """What a position may ask for, e18 BTC; nothing of what is bought outside portfolio mode."""
    underlying = parse(fill.quantity) * parse(SIZE) // ONE
    if portfolio:
        return underlying * next(rate for name, rate in ASKED.items() if fill.instrument.endswith(name))
    return underlying * PLAIN_ASKED if fill.side == "sell" else 0.0
