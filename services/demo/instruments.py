"""What the simulated venue trades: linear perpetuals margined in USDT, with tiers of a common shape."""

from typing import Final

from msgspec import Struct

from services.contracts.decimals import ONE, parse, to_text
from services.contracts.messages import Instrument, MarginTier

ASSET: Final = "USDT"
MAX_PRICE_AGE_MS: Final = 5_000


class Listing(Struct, frozen=True, kw_only=True):
    """One instrument and how it behaves: a `major` falls with the market, the others through it."""

    instrument: Instrument
    first_price: float
    major: bool = False
    popularity: int = 1  # how often clients choose it, against the others

    @property
    def name(self) -> str:
        return self.instrument.instrument

    @property
    def tick(self) -> int:
        """Price step, e18."""
        return parse(self.instrument.tick_size or "0.000000000001")

    @property
    def lot(self) -> int:
        """Quantity step, e18."""
        return parse(self.instrument.lot_size or "0.000000000000000001")

    def to_tick(self, price: float) -> int:
        """`price` as e18, at the nearest tick and at least one."""
        return max(1, round(price * ONE / self.tick)) * self.tick

    def to_lot(self, quantity: float) -> int:
        """`quantity` as e18, at the nearest lot and at least one."""
        return max(1, round(quantity * ONE / self.lot)) * self.lot


def perpetual(
    base: str, *, tick: str, lot: str, leverage: int, first_tier: str, max_price_age_ms: int | None
) -> Instrument:
    """A linear perpetual of `base`. The first tier allows `leverage`; each next one asks for half as much again.

    The maintenance rate is half the initial rate: the price has to move by half of the margin before a bucket is closed.
    """
    initial = ONE // leverage
    rates = [min(ONE, initial * factor // 2) for factor in (2, 3, 5, 10)]
    floors = [0] + [parse(first_tier) * factor for factor in (1, 5, 25)]
    tiers = [
        MarginTier(
            notional_floor=to_text(floor), initial_margin_rate=to_text(rate), maintenance_margin_rate=to_text(rate // 2)
        )
        for floor, rate in zip(floors, rates, strict=True)
    ]
    return Instrument(
        instrument=f"{base}-PERP", kind="perpetual", contract="linear", underlying=base, settlement_asset=ASSET,
        contract_size="1", tick_size=tick, lot_size=lot, margin_tiers=tiers, taker_fee_rate="0.0004",
        liquidation_fee_rate="0.003", max_price_age_ms=max_price_age_ms, max_price_move="0.2",
        insurance_pool=f"{ASSET}-main", ts_ms=0,
    )  # fmt: skip


def _listing(base: str, price: float, tick: str, lot: str, leverage: int, *, major: bool = False) -> Listing:
    instrument = perpetual(
        base, tick=tick, lot=lot, leverage=leverage, first_tier="100000", max_price_age_ms=MAX_PRICE_AGE_MS
    )
    return Listing(instrument=instrument, first_price=price, major=major, popularity=5 if major else 1)


# Leverage as venues under supervision allow it: what falls by three quarters within minutes is lent less on.
MARKET: Final = (
    _listing("BTC", 117_000.0, "0.1", "0.001", 25, major=True),
    _listing("ETH", 4_100.0, "0.01", "0.001", 20, major=True),
    _listing("SOL", 210.0, "0.001", "0.01", 20, major=True),
    _listing("AVAX", 27.0, "0.0001", "0.1", 5),
    _listing("DOT", 3.9, "0.0001", "1", 5),
    _listing("ATOM", 3.95, "0.0001", "1", 5),
    _listing("AAVE", 260.0, "0.001", "0.01", 5),
    _listing("XLM", 0.365, "0.00001", "1", 5),
)
