"""The crash of 2025-10-10 with the contracts that were traded: inverse, ten dollars each, margin and profit in the coin.

The mark is the trade price; its record carries as index the last Coinbase trade of the coin that had *arrived* by then, and the
same trades value coins where an account is valued in dollars (TRX is not traded there: its accounts are valued in TRX). Both
streams are in the order in which the recorder got them. What is not real: the tiers have a common shape, the accounts are drawn.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from services.contracts.decimals import ONE, parse, to_text
from services.contracts.messages import Collateral, Instrument, MarginTier, Price, WeightTier
from services.contracts.records import Record
from tests.recordings.coinm import SOURCE, Trade, first_trades, read_trades, tick_of
from tests.recordings.seeded import Client, Offer, opened
from tests.recordings.writing import Stamper, rows_of

SPOT: Final = "2025-10-10_coinbase_spot_trades.csv.gz"
FACE: Final = "10"
SETTLED_MS: Final = 60_000
MAX_PRICE_AGE_MS: Final = 60_000
TIERS: Final = (("0", "0.02"), ("100000", "0.03"), ("500000", "0.05"), ("2500000", "0.1"))  # dollars, initial rate
DOLLARS: Final = "USD"


def recording(data: Path, accounts: int, seed: int, *, from_ms: int = 0, to_ms: int = 2**62) -> Iterator[Record]:
    """The whole recording, or what was received in [from_ms, to_ms). Raises `Missing`."""
    trades, spots = read_trades(data, from_ms, to_ms), _read_spots(data, from_ms, to_ms)
    stamper, start_ms = Stamper(), trades[0].recv_us // 1000 - SETTLED_MS
    coins, dollars = first_trades(trades), first_trades(spots)
    instruments = [_instrument(name, trades, trade) for name, trade in sorted(coins.items())]
    for instrument in instruments:
        yield stamper.record(instrument, start_ms)
    yield stamper.record(Collateral(asset=DOLLARS, ts_ms=0), start_ms)
    for name in sorted(dollars):
        yield stamper.record(_collateral(name), start_ms)
    for trade in (*coins.values(), *dollars.values()):
        before = trade._replace(trade_id=trade.trade_id - 1, ts_ms=start_ms)
        yield stamper.record(_price(before, None), start_ms)
    offers = [_offer(i, coins[i.instrument], dollars.get(spot_of(i.instrument))) for i in instruments]
    for number in range(accounts):
        draw = Random(f"{seed}/inverse/{number}")
        client, choice = _client(draw, offers, set(dollars))
        for message in opened(f"a-{number:05d}", draw, client, choice, start_ms):
            yield stamper.record(message, start_ms)
    yield from _marks(stamper, trades, spots)


def spot_of(perpetual: str) -> str:
    """`AVAX-PERP` to `AVAX-USD`."""
    return f"{perpetual.removesuffix('-PERP')}-{DOLLARS}"


def _marks(stamper: Stamper, trades: list[Trade], spots: list[Trade]) -> Iterator[Record]:
    last: dict[str, str] = {}
    for trade in sorted([*trades, *spots]):
        index = last.get(spot_of(trade.instrument))
        if trade.instrument.endswith(f"-{DOLLARS}"):
            last[trade.instrument] = trade.price
        yield stamper.record(_price(trade, index), trade.recv_us // 1000)


def _price(trade: Trade, index: str | None) -> Price:
    source = "coinbase" if trade.instrument.endswith(f"-{DOLLARS}") else SOURCE
    return Price(
        instrument=trade.instrument, mark_price=trade.price, index_price=index, sequence=trade.trade_id, source=source,
        ts_ms=trade.ts_ms,
    )  # fmt: skip


def _read_spots(data: Path, from_ms: int, to_ms: int) -> list[Trade]:
    trades = [
        Trade(int(row["recv_us"]), int(row["trade_id"]), int(row["ts_ms"]), row["symbol"], row["price"])
        for row in rows_of(data, SPOT)
        if from_ms <= int(row["recv_us"]) // 1000 < to_ms
    ]
    return sorted(trades)


def _instrument(name: str, trades: list[Trade], first: Trade) -> Instrument:
    """Tiers are in the coin: the dollars of the table at the first price, to a whole coin."""
    coin, price = name.removesuffix("-PERP"), parse(first.price)
    tiers = [
        MarginTier(
            notional_floor=to_text(parse(floor) * ONE // price // ONE * ONE), initial_margin_rate=rate,
            maintenance_margin_rate=to_text(parse(rate) // 2),
        )
        for floor, rate in TIERS
    ]  # fmt: skip
    return Instrument(
        instrument=name, kind="perpetual", contract="inverse", underlying=coin, settlement_asset=coin, contract_size=FACE,
        tick_size=tick_of(name, trades), lot_size="1", margin_tiers=tiers, taker_fee_rate="0.0004",
        liquidation_fee_rate="0.003", max_price_age_ms=MAX_PRICE_AGE_MS, max_price_move="0.2", insurance_pool=f"{coin}-main",
        ts_ms=0,
    )  # fmt: skip


def _collateral(spot: str) -> Collateral:
    return Collateral(
        asset=spot.removesuffix(f"-{DOLLARS}"), price_instrument=spot, weight_tiers=[WeightTier(floor="0", weight="0.95")],
        max_price_age_ms=MAX_PRICE_AGE_MS, max_price_move="0.2", ts_ms=0,
    )  # fmt: skip


def _offer(instrument: Instrument, trade: Trade, spot: Trade | None) -> Offer:
    dollars = parse((spot or trade).price) / ONE
    return Offer(instrument=instrument, price=parse(trade.price), settle_usd=dollars)


def _client(draw: Random, offers: list[Offer], spots: set[str]) -> tuple[Client, list[Offer]]:
    """Isolated and valued in the coin, as the venue does it; or cross, valued in dollars, over coins that have a price."""
    if draw.random() < 0.6:
        return Client(mode="isolated", positions=(1,)), offers
    return Client(mode="cross", valuation_asset=DOLLARS), [o for o in offers if spot_of(o.name) in spots]
