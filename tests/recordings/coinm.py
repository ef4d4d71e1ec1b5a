"""The crash of 2025-10-10 as a recording: every trade of eight real perpetuals as a mark, and seeded accounts that lived it.

    python -m tests.recordings.coinm --accounts 10000 --seed 1 --out crash.jsonl.zst

The marks are recorded trades, in the order in which the recorder received them; what is not real is said here: the contracts
are taken as linear with margin in USDT, the tiers have a common shape, and the accounts are drawn.
"""

import argparse
import csv
import gzip
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

import orjson
import zstandard

from services.contracts.codec import encode
from services.contracts.decimals import ONE, parse
from services.contracts.identifiers import partition_of
from services.contracts.messages import Account, Collateral, Fill, Instrument, Message, Price, Transfer
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS
from services.demo.accounts import openings
from services.demo.instruments import ASSET, Listing, perpetual

TRADES: Final = Path("market") / "2025-10-10_coinm_perp_trades.csv.gz"
PARTITIONS: Final = 4
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


class Missing(RuntimeError):
    """The market data is not on this machine."""


def default_data() -> Path:
    """Where the data lies beside a checkout."""
    return Path(__file__).resolve().parents[3] / "shared" / "data"


def read_trades(data: Path) -> list[Trade]:
    """Every trade in order of arrival. Raises `Missing`."""
    path = data / TRADES
    if not path.is_file():
        raise Missing(f"no {TRADES.name} below {data}: nothing to do")
    with gzip.open(path, "rt", newline="") as stream:
        trades = [
            Trade(
                int(row["recv_us"]), int(row["trade_id"]), int(row["ts_ms"]), _instrument(row["symbol"]), row["price"]
            )
            for row in csv.DictReader(stream)
        ]
    return sorted(trades)


def records(trades: list[Trade], accounts: int, seed: int) -> Iterator[Record]:
    """The whole recording: reference data, accounts with deposits and opening fills, then every trade."""
    offsets: dict[tuple[str, int], int] = {}
    start_ms = trades[0].recv_us // 1000 - SETTLED_MS
    for topic, key, message in _setup(trades, accounts, seed, start_ms):
        yield _record(offsets, topic, key, message, start_ms)
    for trade in trades:
        yield _record(offsets, "prices", trade.instrument, _price(trade, trade.ts_ms), trade.recv_us // 1000)


def write(path: Path, rows: Iterable[Record]) -> int:
    """Writes `rows` as JSON Lines, compressed as the name says; answers how many there were."""
    count = 0
    with _opened(path) as stream:
        for row in rows:
            stream.write(line(row))
            count += 1
    return count


def line(record: Record) -> bytes:
    """One line of a recording; the value goes in as it is."""
    head = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": None if record.key is None else record.key.decode(),
    }
    return orjson.dumps(head)[:-1] + b',"value":' + record.value + b"}\n"


def _setup(trades: list[Trade], accounts: int, seed: int, ts_ms: int) -> Iterator[tuple[str, str, Message]]:
    first = _first_trades(trades)
    market = [_listing(name, trades, trade) for name, trade in sorted(first.items())]
    for listing in market:
        yield "instruments", listing.name, listing.instrument
    yield "collateral", ASSET, Collateral(asset=ASSET, ts_ms=0)
    for listing in market:
        before = first[listing.name]._replace(trade_id=first[listing.name].trade_id - 1)
        yield "prices", listing.name, _price(before, ts_ms)
    prices = {name: parse(trade.price) for name, trade in first.items()}
    for opening in openings(seed, accounts, market, prices, ts_ms=ts_ms, max_leverage=MAX_LEVERAGE):
        yield "accounts", opening.account.account, opening.account
        for step in opening.steps:
            yield topic_of(step), step.account, step


def topic_of(message: Message) -> str:
    """The topic that carries a message of the venue."""
    topics: dict[type[Message], str] = {
        Transfer: "transfers", Fill: "fills", Account: "accounts", Price: "prices", Instrument: "instruments",
    }  # fmt: skip
    return topics[type(message)]


def _first_trades(trades: list[Trade]) -> dict[str, Trade]:
    first: dict[str, Trade] = {}
    for trade in trades:
        first.setdefault(trade.instrument, trade)
    return first


def _listing(name: str, trades: list[Trade], first: Trade) -> Listing:
    """The tick is the finest step that the recorded prices show; a lot is worth about a dollar at most."""
    places = max(len(trade.price.partition(".")[2]) for trade in trades if trade.instrument == name)
    price = parse(first.price) / ONE
    lot = "1" if price < 1 else "0.1" if price < 50 else "0.001"
    instrument = perpetual(
        name.removesuffix("-PERP"), tick=f"0.{'1':0>{places}}" if places else "1", lot=lot, leverage=MAX_LEVERAGE,
        first_tier="100000", max_price_age_ms=MAX_PRICE_AGE_MS,
    )  # fmt: skip
    return Listing(instrument=instrument, first_price=price)


def _price(trade: Trade, ts_ms: int) -> Price:
    return Price(
        instrument=trade.instrument, mark_price=trade.price, sequence=trade.trade_id, source=SOURCE, ts_ms=ts_ms
    )


def _record(offsets: dict[tuple[str, int], int], topic: str, key: str, message: Message, timestamp_ms: int) -> Record:
    partition = partition_of(key, PARTITIONS) if topic in ACCOUNT_TOPICS else 0
    offset = offsets.get((topic, partition), 0)
    offsets[topic, partition] = offset + 1
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp_ms,
        key=key.encode(),
        value=encode(message),
    )


def _instrument(symbol: str) -> str:
    """`AAVEUSD_PERP` as our catalogue names it."""
    return f"{symbol.removesuffix('USD_PERP')}-PERP"


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".zst":
        compressed: IO[bytes] = zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(level=6))
        return compressed
    return io.BufferedWriter(gzip.open(path, "wb")) if path.suffix == ".gz" else path.open("wb")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_data(), help="the folder that holds market/")
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="plain, .gz or .zst by its name")
    arguments = parser.parse_args()
    try:
        trades = read_trades(arguments.data)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 0
    count = write(arguments.out, records(trades, arguments.accounts, arguments.seed))
    print(f"{arguments.out}: {count} records, {len(trades)} of them recorded trades")
    return 0


if __name__ == "__main__":
    sys.exit(main())
