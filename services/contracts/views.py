"""What a bucket looks like to a reader: the row of `ringfence margin --json`, with numbers as decimal strings."""

from msgspec import Struct


class PositionView(Struct, frozen=True, kw_only=True):
    """One position; `quantity` is signed, prices to 12 decimals, amounts to 18. null: does not exist or cannot be known."""

    instrument: str
    quantity: str
    entry_price: str | None
    mark_price: str | None
    notional: str | None
    unrealised_pnl: str | None
    initial_margin: str | None
    maintenance_margin: str | None
    liquidation_price: str | None
    bankruptcy_price: str | None
    position_side: str = "net"


class BucketView(Struct, frozen=True, kw_only=True):
    """One bucket at the last marks, in its account's valuation asset."""

    account: str
    bucket: str
    client: str
    margin_mode: str
    valuation_asset: str
    status: str
    equity: str | None
    initial_margin: str | None
    maintenance_margin: str | None
    free_margin: str | None
    maintenance_excess: str | None
    liquidatable: bool
    balances: dict[str, str]
    locked: dict[str, str]
    positions: list[PositionView]
    greeks: dict[str, dict[str, str]] | None
    worst_scenario: str | None
