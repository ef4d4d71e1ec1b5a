"""The messages of every topic, as types that decode and validate raw JSON.

Shapes and ranges are checked while decoding (msgspec); what a type cannot say is in `checks.py`. Decimals stay text here and
become integers in the engine, so that a message re-encodes to what it was. An optional field that is null is absent.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from services.contracts.decimals import DECIMAL_PATTERN, MAX_TEXT, UNSIGNED_PATTERN

ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,63}(?!\n)$"
BUCKET_PATTERN: Final = (
    r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,69}(?!\n)$"  # an instrument's id, perhaps with ":long" or ":short"
)
LAST_TS_MS: Final = 253_402_300_799_999  # the end of the year 9999

Decimal = Annotated[
    str, Meta(pattern=DECIMAL_PATTERN, max_length=MAX_TEXT, description="signed decimal string, no exponent")
]
Unsigned = Annotated[
    str, Meta(pattern=UNSIGNED_PATTERN, max_length=MAX_TEXT, description="decimal string >= 0, no exponent")
]
Id = Annotated[str, Meta(pattern=ID_PATTERN, max_length=64)]
BucketId = Annotated[str, Meta(pattern=BUCKET_PATTERN, max_length=70)]
Millis = Annotated[int, Meta(ge=0, le=LAST_TS_MS, description="epoch milliseconds, or a duration in them")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(max_length=1024)]

Kind = Literal["perpetual", "future", "option"]
Contract = Literal["linear", "inverse"]
OptionType = Literal["call", "put"]
InstrumentStatus = Literal["trading", "cancel_only", "halted", "settling", "settled"]
Basis = Literal["mark", "entry"]
FeeBasis = Literal["none", "mark", "bankruptcy"]
Boundary = Literal["upper", "lower"]
MarginMode = Literal["isolated", "cross", "portfolio"]
Segregation = Literal["client", "house"]
PositionSide = Literal["net", "long", "short"]
Side = Literal["buy", "sell"]
ExecType = Literal["trade", "liquidation", "takeover", "adl", "settlement", "opening"]
TransferReason = Literal[
    "deposit", "withdrawal", "move", "funding", "fee", "interest", "settlement", "conversion", "insurance", "adl",
    "opening", "adjustment", "lock", "unlock",
]  # fmt: skip
OrderStatus = Literal["accepted", "partially_filled", "filled", "cancelled", "rejected", "expired"]
TERMINAL: Final[frozenset[OrderStatus]] = frozenset(
    {"filled", "cancelled", "rejected", "expired"}
)  # nothing comes after
Status = Literal[
    "healthy", "warning", "margin_call", "reduce_only", "liquidating", "bankrupt", "closed", "incomplete", "dirty",
]  # fmt: skip
Stage = Literal["partial", "full", "convert", "takeover", "adl"]
Trigger = Literal["maintenance_breach", "negative_equity", "gap_guard", "expiry", "deleveraging", "manual"]


class Message(Struct, frozen=True, kw_only=True):
    """What every message of a topic is."""


class MarginTier(Struct, frozen=True, kw_only=True):
    """One step of an instrument's requirement; `notional_floor` is in the settlement asset."""

    notional_floor: Unsigned
    maintenance_margin_rate: Unsigned
    initial_margin_rate: Unsigned | None = None
    maintenance_deduction: Decimal | None = None
    initial_deduction: Decimal | None = None


class OptionMargin(Struct, frozen=True, kw_only=True):
    """The short option requirement outside portfolio mode, as shares of the underlying's price."""

    short_initial_rate: Unsigned
    short_minimum_rate: Unsigned
    short_maintenance_rate: Unsigned
    put_mark_rate: Unsigned | None = None


class Instrument(Message, frozen=True, kw_only=True):
    """What is traded, with its requirement and the venue's conventions."""

    instrument: Id
    kind: Kind
    contract: Contract
    underlying: Id
    settlement_asset: Id
    margin_tiers: Annotated[list[MarginTier], Meta(min_length=1, max_length=64)]
    contract_size: Unsigned | None = None
    tick_size: Unsigned | None = None
    lot_size: Unsigned | None = None
    min_order_quantity: Unsigned | None = None
    max_order_quantity: Unsigned | None = None
    spot_instrument: Id | None = None
    expiry_ms: Millis | None = None
    strike: Unsigned | None = None
    option_type: OptionType | None = None
    status: InstrumentStatus | None = None
    option_margin: OptionMargin | None = None
    taker_fee_rate: Unsigned | None = None
    liquidation_fee_rate: Unsigned | None = None
    maintenance_basis: Basis | None = None
    close_fee_basis: FeeBasis | None = None
    tier_boundary: Boundary | None = None
    max_price_age_ms: Millis | None = None
    max_price_move: Unsigned | None = None
    insurance_pool: Id | None = None
    ts_ms: Millis | None = None


class WeightTier(Struct, frozen=True, kw_only=True):
    """The slice of a positive amount from `floor` (units of the asset) upward counts with `weight`."""

    floor: Unsigned
    weight: Unsigned


class Collateral(Message, frozen=True, kw_only=True):
    """How an asset counts as collateral. `price_instrument` null: it is the valuation asset itself."""

    asset: Id
    price_instrument: Id | None = None
    weight_tiers: Annotated[list[WeightTier], Meta(min_length=1, max_length=64)] | None = None
    initial_weight_tiers: Annotated[list[WeightTier], Meta(min_length=1, max_length=64)] | None = None
    hedges: Id | None = None
    liability_maintenance_rate: Unsigned | None = None
    conversion_instrument: Id | None = None
    price_floor: Unsigned | None = None
    max_price_age_ms: Millis | None = None
    max_price_move: Unsigned | None = None
    decimals: Annotated[int, Meta(ge=0, le=18)] | None = None
    chains: Annotated[list[Id], Meta(max_length=64)] | None = None
    ts_ms: Millis | None = None


class Account(Message, frozen=True, kw_only=True):
    """A client's margin account. Mode, segregation and valuation asset are immutable while it holds anything."""

    account: Id
    margin_mode: MarginMode
    valuation_asset: Id
    client: Id | None = None
    segregation: Segregation | None = None
    margin_preset: Id | None = None
    ts_ms: Millis | None = None


class Price(Message, frozen=True, kw_only=True):
    """A tick. Of an option `mark_price` is the premium or null and `index_price` the forward of its expiry."""

    instrument: Id
    ts_ms: Millis
    mark_price: Unsigned | None = None
    index_price: Unsigned | None = None
    implied_volatility: Unsigned | None = None
    interest_rate: Decimal | None = None
    settlement_price: Unsigned | None = None
    sequence: Count | None = None
    source_epoch: Count | None = None
    source: Id | None = None


class Fill(Message, frozen=True, kw_only=True):
    """An execution that happened at the venue: a fact. `quantity` is unsigned, in contracts; `fee` positive is paid."""

    fill_id: Id
    account: Id
    instrument: Id
    side: Side
    quantity: Decimal
    price: Decimal
    ts_ms: Millis
    bucket: BucketId | None = None
    position_side: PositionSide | None = None
    fee: Decimal | None = None
    fee_asset: Id | None = None
    order_id: Id | None = None
    exec_type: ExecType | None = None
    account_sequence: Count | None = None


class Transfer(Message, frozen=True, kw_only=True):
    """A change of a bucket's balances that is no fill: a fact."""

    transfer_id: Id
    account: Id
    asset: Id
    amount: Decimal
    reason: TransferReason
    ts_ms: Millis
    bucket: BucketId | None = None
    to_bucket: BucketId | None = None
    instrument: Id | None = None
    reference: Text | None = None
    account_sequence: Count | None = None


class OrderEvent(Message, frozen=True, kw_only=True):
    """What became of a liquidation order; `filled_quantity` is cumulative, what the order carried is echoed."""

    order_id: Id
    account: Id
    bucket: BucketId
    instrument: Id
    attempt: Count
    status: OrderStatus
    ts_ms: Millis
    epoch: Count | None = None
    quantity: Unsigned | None = None
    filled_quantity: Unsigned | None = None
    average_price: Unsigned | None = None
    reason: Text | None = None
    account_sequence: Count | None = None


class Control(Message, frozen=True, kw_only=True):
    """An operator's halt, resume or clear. A clear names in `through` the offsets up to which doubts are settled."""

    control_id: Id
    scope: Literal["instrument", "account", "all"]
    target: Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._:/@-]{0,63})(?!\n)$")]
    action: Literal["halt", "resume", "clear"]
    ts_ms: Millis
    through: dict[Id, Count] | None = None
    expires_ms: Millis | None = None
    operator: Id | None = None
    reason: Text | None = None


class RiskParameters(Message, frozen=True, kw_only=True):
    """A live margin multiplier, from `effective_ms` on. `variance` is of log returns per second."""

    instrument: Id
    multiplier: Unsigned
    effective_ms: Millis
    ts_ms: Millis
    variance: Unsigned | None = None
    as_of: Annotated[list[Count], Meta(min_length=2, max_length=2)] | None = None


class AccountStatement(Message, frozen=True, kw_only=True):
    """What the venue says an account holds after the offsets in `through`."""

    account: Id
    balances: dict[BucketId, dict[Id, Decimal]]
    positions: dict[BucketId, dict[Id, Decimal]]
    through: dict[Id, Count]
    ts_ms: Millis


class Claim(Message, frozen=True, kw_only=True, tag_field="type", tag="claim"):
    """Ownership of a partition; the offset of this record is the epoch of the orders that follow it."""

    instance: Id
    nonce: Id
    ts_ms: Millis


Offset = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
Offsets = Annotated[list[Offset], Meta(min_length=2, max_length=2, description="[partition, offset]")]


class Evidence(Struct, frozen=True, kw_only=True, omit_defaults=True, rename={
    "order_events": "order-events", "liquidation_orders": "liquidation-orders", "risk_parameters": "risk-parameters",
}):  # fmt: skip
    """[partition, offset] of the last record of each kind that the decision rests on."""

    fills: Offsets | None = None
    transfers: Offsets | None = None
    accounts: Offsets | None = None
    order_events: Offsets | None = None
    liquidation_orders: Offsets | None = None
    prices: dict[Id, Offsets] | None = None
    instruments: Offsets | None = None
    collateral: Offsets | None = None
    controls: Offsets | None = None
    risk_parameters: Offsets | None = None


class Order(Message, frozen=True, kw_only=True, tag_field="type", tag="order"):
    """A liquidation order with the numbers that justify it and the offsets that they rest on."""

    order_id: Id
    epoch: Count
    account: Id
    client: Id
    bucket: BucketId
    instrument: Id
    position_side: PositionSide
    side: Side
    quantity: Unsigned
    order_type: Literal["limit"]
    time_in_force: Literal["ioc"]
    limit_price: Unsigned
    reduce_only: bool
    cancel_resting: Literal["instrument", "bucket"]
    block_opening: bool
    valid_until_ms: Millis
    stage: Stage
    trigger: Trigger
    attempt: Count
    position_quantity: Decimal
    mark_price: Unsigned
    liquidation_price: Unsigned | None
    bankruptcy_price: Unsigned | None
    equity: Decimal
    maintenance_margin: Decimal
    projected_equity: Decimal
    projected_maintenance_margin: Decimal
    evidence: Evidence
    ts_ms: Millis


class AccountState(Message, frozen=True, kw_only=True):
    """A bucket's change of status with the margin numbers at that moment; distances are to liquidation."""

    account: Id
    bucket: BucketId
    client: Id
    status: Status
    previous_status: Status | None
    valuation_asset: Id
    equity: Decimal | None
    initial_margin: Decimal | None
    maintenance_margin: Decimal | None
    free_margin: Decimal | None
    maintenance_excess: Decimal | None
    ts_ms: Millis
    detail: Text | None = None
    distance_instrument: Id | None = None
    distance_price: Decimal | None = None
    distance_percent: Decimal | None = None
    distance_sigmas: Decimal | None = None


class Default(Message, frozen=True, kw_only=True):
    """A bucket whose close is worse than its bankruptcy price: what is missing, fixed at that moment."""

    default_id: Id
    account: Id
    bucket: BucketId
    client: Id
    asset: Id
    deficit: Unsigned
    insurance_pool: Id | None
    order_id: Id
    ts_ms: Millis


LiquidationRecord = Claim | Order
