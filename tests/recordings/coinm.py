"""The crash of 2025-10-10 as a recording: every trade of eight real perpetuals as a mark, and seeded accounts that lived it.

    python -m tests.recordings coinm-linear --accounts 10000 --seed 1 --out crash.jsonl.zst

The marks are recorded trades, in the order in which the recorder received them; what is not real is said here: the contracts
are taken as linear with margin in USDT, the tiers have a common shape, and the accounts are drawn.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from services.contracts.decimals import ONE, parse
from services.contracts.messages import Collateral, Message, Price
from services.contracts.records import Record
from services.demo.accounts import openings
from services.demo.instruments import ASSET, Listing, perpetual
from tests.recordings.writing import Stamper, rows_of

TRADES: Final = "2025-10-10_coinm_perp_trades.csv.gz"
SETTLED_MS: Final = 60_000  # the accounts opened this long before the first trade
MAX_LEVERAGE: Final = 50
MAX_PRICE_AGE_MS: Final = 60_000  # a quiet contract is not a dead feed
SOURCE: Final = "coinm"


class Trade(NamedTuple):
    """One recorded trade; the price as the source wrote it."""

    recv_us: int
    trade_id: int
    ts_ms: int
    instrument: str
    price: str


def read_trades(data: Path, from_ms: int = 0, to_ms: int = 2**62) -> list[Trade]:
    """Every trade that was received in [from_ms, to_ms), in order of arrival. Raises `Missing`."""
    trades = [
        Trade(int(row["recv_us"]), int(row["trade_id"]), int(row["ts_ms"]), _instrument(row["symbol"]), row["price"])
        for row in rows_of(data, TRADES)
        if from_ms <= int(row["recv_us"]) // 1000 < to_ms
    ]
    return sorted(trades)


def recording(data: Path, accounts: int, seed: int) -> Iterator[Record]:
    """The whole recording. Raises `Missing`."""
    return records(read_trades(data), accounts, seed)


def records(trades: list[Trade], accounts: int, seed: int) -> Iterator[Record]:
    """Reference data, accounts with deposits and opening fills, then every trade."""
    stamper = Stamper()
    start_ms = trades[0].recv_us // 1000 - SETTLED_MS
    for message in _setup(trades, accounts, seed, start_ms):
        yield stamper.record(message, start_ms)
    for trade in trades:
        yield stamper.record(_price(trade, trade.ts_ms), trade.recv_us // 1000)


def _setup(trades: list[Trade], accounts: int, seed: int, ts_ms: int) -> Iterator[Message]:
    first = first_trades(trades)
    market = [_listing(name, trades, trade) for name, trade in sorted(first.items())]
    for listing in market:
        yield listing.instrument
    yield Collateral(asset=ASSET, ts_ms=0)
    for listing in market:
        before = first[listing.name]._replace(trade_id=first[listing.name].trade_id - 1)
        yield _price(before, ts_ms)
    prices = {name: parse(trade.price) for name, trade in first.items()}
    for opening in openings(seed, accounts, market, prices, ts_ms=ts_ms, max_leverage=MAX_LEVERAGE):
        yield opening.account
        yield from opening.steps


def first_trades(trades: list[Trade]) -> dict[str, Trade]:
    """The first trade of each instrument."""
    first: dict[str, Trade] = {}
    for trade in trades:
        first.setdefault(trade.instrument, trade)
    return first


def tick_of(name: str, trades: list[Trade]) -> str:
    """The finest step that the recorded prices of an instrument show."""
    places = max(len(trade.price.partition(".")[2]) for trade in trades if trade.instrument == name)
    return f"0.{'1':0>{places}}" if places else "1"


def _listing(name: str, trades: list[Trade], first: Trade) -> Listing:
    """A lot is worth about a dollar at most."""
    price = parse(first.price) / ONE
    lot = "1" if price < 1 else "0.1" if price < 50 else "0.001"
    instrument = perpetual(
        name.removesuffix("-PERP"), tick=tick_of(name, trades), lot=lot, leverage=MAX_LEVERAGE, first_tier="100000",
        max_price_age_ms=MAX_PRICE_AGE_MS,
    )  # fmt: skip
    return Listing(instrument=instrument, first_price=price)


def _price(trade: Trade, ts_ms: int) -> Price:
    return Price(
        instrument=trade.instrument, mark_price=trade.price, sequence=trade.trade_id, source=SOURCE, ts_ms=ts_ms
    )


def _instrument(symbol: str) -> str:
    """`AAVEUSD_PERP` as our catalogue names it."""
    return f"{symbol.removesuffix('USD_PERP')}-PERP"
