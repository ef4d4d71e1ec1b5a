"""Clients of the simulated venue: seeded accounts with deposits, moves into isolated buckets, and opening fills."""

import math
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Final

from msgspec import Struct

from services.contracts.decimals import ONE, ceil_div, parse, to_text
from services.contracts.messages import Account, Fill, Transfer
from services.demo.instruments import ASSET, Listing
from services.demo.margin import Tiers

SMALLEST, LARGEST = 500.0, 60_000.0  # notional of a position, in the valuation asset
ISOLATED_SHARE: Final = 0.6
LONG_SHARE: Final = 0.6
SPARE: Final = 1.02  # margin over what the venue asks for, so that nobody opens at the limit


class Opening(Struct, frozen=True, kw_only=True):
    """All that a client does before the market moves, in the order in which the venue booked it."""

    account: Account
    steps: tuple[Transfer | Fill, ...]


class _Position(Struct, frozen=True, kw_only=True):
    listing: Listing
    is_long: bool
    quantity: int  # e18
    price: int  # e18
    margin: int  # e18, what the client puts up for it, without the fee
    fee: int  # e18


def openings(
    seed: int,
    count: int,
    market: Sequence[Listing],
    prices: Mapping[str, int],
    *,
    ts_ms: int,
    max_leverage: float = 50.0,
    run: str = "",
) -> Iterator[Opening]:
    """`count` accounts that opened at `prices` (e18), leverage from 1 to `max_leverage` where the tiers allow it. `run` is part of
    their names, so that the clients of one run are not those of another on the same topics."""
    for number in range(count):
        draw = Random(f"{seed}/account/{number}")
        positions = [
            _position(draw, listing, prices[listing.name], max_leverage)
            for listing in _chosen(draw, market, draw.choice((1, 1, 2, 2, 3)))
        ]
        yield _opening(number, positions, isolated=draw.random() < ISOLATED_SHARE, ts_ms=ts_ms, run=run)


def _chosen(draw: Random, market: Sequence[Listing], count: int) -> list[Listing]:
    """At most `count` different instruments, by popularity."""
    picks = draw.choices(market, weights=[listing.popularity for listing in market], k=count)
    return list({listing.name: listing for listing in picks}.values())


def _position(draw: Random, listing: Listing, price: int, max_leverage: float) -> _Position:
    notional = math.exp(draw.uniform(math.log(SMALLEST), math.log(LARGEST)))
    leverage = math.exp(draw.random() ** 2 * math.log(max_leverage))  # half of them below three
    quantity = listing.to_lot(notional * ONE / price)
    value = quantity * price // ONE
    required = Tiers(listing.instrument).initial_margin(value)
    return _Position(
        listing=listing,
        is_long=draw.random() < LONG_SHARE,
        quantity=quantity,
        price=price,
        margin=cents(max(value / leverage, required * SPARE)),
        fee=ceil_div(value * parse(listing.instrument.taker_fee_rate or "0"), ONE),
    )


def cents(amount: float) -> int:
    """An e18 amount, up to whole hundredths: what people pay in and move."""
    return math.ceil(amount / (ONE // 100)) * (ONE // 100)


def _opening(number: int, positions: Sequence[_Position], *, isolated: bool, ts_ms: int, run: str) -> Opening:
    name = f"a{run}-{number:05d}"
    account = Account(
        account=name, client=f"c{run}-{number:05d}", segregation="client", margin_mode="isolated" if isolated else "cross",
        valuation_asset=ASSET, ts_ms=ts_ms,
    )  # fmt: skip
    puts = [cents(position.margin + position.fee) for position in positions]
    steps: list[Transfer | Fill] = [
        Transfer(
            transfer_id=f"{name}/deposit", account=name, bucket="main", asset=ASSET, amount=to_text(sum(puts)),
            reason="deposit", ts_ms=ts_ms,
        )
    ]  # fmt: skip
    for position, amount in zip(positions, puts, strict=True):
        if isolated:
            steps.append(
                Transfer(
                    transfer_id=f"{name}/move/{position.listing.name}", account=name, bucket="main",
                    to_bucket=position.listing.name, asset=ASSET, amount=to_text(amount), reason="move", ts_ms=ts_ms,
                )
            )  # fmt: skip
        steps.append(_fill(name, position, ts_ms))
    return Opening(account=account, steps=tuple(steps))


def _fill(account: str, position: _Position, ts_ms: int) -> Fill:
    return Fill(
        fill_id=f"{account}/open/{position.listing.name}",
        account=account,
        instrument=position.listing.name,
        side="buy" if position.is_long else "sell",
        quantity=to_text(position.quantity),
        price=to_text(position.price),
        fee=to_text(position.fee),
        exec_type="trade",
        ts_ms=ts_ms,
    )
