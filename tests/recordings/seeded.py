"""Seeded accounts for recordings whose margin is not simply USDT: coin, USDC, linear and inverse contracts alike."""

import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from msgspec import Struct

from services.contracts.decimals import ONE, ceil_div, parse, to_text
from services.contracts.messages import Account, Fill, Instrument, Message, Price, Transfer
from services.demo.margin import Tiers

MAX_LEVERAGE: Final = 50.0
SMALLEST, LARGEST = 500.0, 60_000.0  # notional of a position in US dollars
SPARE: Final = 1.02  # margin over what the venue asks for, so that nobody opens at the limit


class Offer(Struct, frozen=True, kw_only=True):
    """An instrument that accounts open at `price`; e18. `settle_usd` is what one of its settlement asset is worth."""

    instrument: Instrument
    price: int
    settle_usd: float

    @property
    def name(self) -> str:
        return self.instrument.instrument

    def value(self, quantity: int) -> int:
        """Notional of `quantity` contracts (e18) in the settlement asset, e18."""
        size = quantity * parse(self.instrument.contract_size or "1")
        return size // self.price if self.instrument.contract == "inverse" else size * self.price // (ONE * ONE)


class Client(Struct, frozen=True, kw_only=True):
    """What a kind of account is: `collateral` None pays in each position's settlement asset; `credit` is dollars for one of it."""

    mode: str
    valuation_asset: str | None = None  # None: the settlement asset of its position
    collateral: str | None = None
    credit: float = 1.0
    positions: tuple[int, ...] = (1, 1, 2, 3)


def opened(name: str, draw: Random, client: Client, offers: Sequence[Offer], ts_ms: int) -> Iterator[Message]:
    """One account with its deposits and opening fills; leverage from 1 to 50 where the tiers allow it, both sides."""
    picks = draw.choices(offers, k=draw.choice(client.positions))
    chosen = list({offer.name: offer for offer in picks}.values())
    asset = client.valuation_asset or chosen[0].instrument.settlement_asset
    yield Account(
        account=name, client=f"c-{name}", margin_mode=client.mode,  # type: ignore[arg-type]  # one of the literal modes
        valuation_asset=asset, ts_ms=ts_ms,
    )  # fmt: skip
    for offer in chosen:
        bucket = offer.name if client.mode == "isolated" else "main"
        quantity, margin = _position(draw, offer)
        paid, amount = offer.instrument.settlement_asset, margin
        if client.collateral is not None:
            paid, amount = client.collateral, math.ceil(margin * offer.settle_usd / client.credit)
        yield Transfer(
            transfer_id=f"{name}/deposit/{offer.name}", account=name, bucket=bucket, asset=paid, amount=to_text(amount),
            reason="deposit", ts_ms=ts_ms,
        )  # fmt: skip
        yield Fill(
            fill_id=f"{name}/open/{offer.name}", account=name, instrument=offer.name, bucket=bucket,
            side="buy" if draw.random() < 0.5 else "sell", quantity=to_text(quantity), price=to_text(offer.price),
            fee=to_text(_fee(offer, quantity)), exec_type="trade", ts_ms=ts_ms,
        )  # fmt: skip


def _position(draw: Random, offer: Offer) -> tuple[int, int]:
    """Quantity in contracts and the margin put up for it in the settlement asset, both e18."""
    notional = math.exp(draw.uniform(math.log(SMALLEST), math.log(LARGEST)))
    leverage = math.exp(draw.random() ** 2 * math.log(MAX_LEVERAGE))  # half of them below three
    lot = parse(offer.instrument.lot_size or "1")
    one = offer.value(ONE) / ONE * offer.settle_usd
    quantity = max(1, round(notional / one * ONE / lot)) * lot
    value = offer.value(quantity)
    required = Tiers(offer.instrument).initial_margin(value)
    return quantity, math.ceil(max(value / leverage, required * SPARE)) + _fee(offer, quantity)


def _fee(offer: Offer, quantity: int) -> int:
    return ceil_div(offer.value(quantity) * parse(offer.instrument.taker_fee_rate or "0"), ONE)


def bar_ticks(row: dict[str, str], instrument: str, *, step_ms: int, source: str) -> Iterator[tuple[int, Price]]:
    """A one-minute bar as the ticks that it proves: open, both extremes and close, `step_ms` apart, the close at its end.

    When the extremes were, and for how long, a bar does not say: the one nearer to the open comes first. Answers each tick with
    its time. A bar without trades repeats its price once.
    """
    end_ms = int(row["ts_ms"]) + 59_999
    first, low, high, last = (row[name] for name in ("open", "low", "high", "close"))
    extremes = (low, high) if float(last) >= float(first) else (high, low)
    prices = [last]
    for price in (*reversed(extremes), first):
        if price != prices[0]:
            prices.insert(0, price)
    for place, price in enumerate(prices):
        ts_ms = end_ms - step_ms * (len(prices) - 1 - place)
        yield ts_ms, Price(instrument=instrument, mark_price=plain(price), source=source, ts_ms=ts_ms)


def plain(text: str) -> str:
    """The source's own text as a decimal string: without the exponent that some sources write."""
    return to_text(round(float(text) * 10**12) * 10**6) if "e" in text.lower() else text
