"""One set of coherent examples: they are in the schemas, in the AsyncAPI document, and golden bytes for other clients.

The story: account a-17 holds 0.5 BTC-PERP, bought at 64,123.5, in an isolated bucket with 987.2 USDT. At a mark of 62,390 its
equity is 120.45 and its maintenance margin 0.004 · 31,195 = 124.78, so 0.063 are closed.
"""

from typing import Final

from msgspec import Struct

from services.contracts import messages as m
from services.contracts.identifiers import order_id, partition_of

T0: Final = 1_700_000_000_000
PARTITIONS: Final = 8
PARTITION: Final = partition_of("a-17", PARTITIONS)
ORDER_ID: Final = order_id("a-17", "BTC-PERP", "BTC-PERP", 1)
EPOCH: Final = 88


class Example(Struct, frozen=True):
    """`name` is that of the file below `schemas/examples`; `schema` that of the message type."""

    name: str
    schema: str
    message: m.Message


PERPETUAL: Final = m.Instrument(
    instrument="BTC-PERP",
    kind="perpetual",
    contract="linear",
    underlying="BTC",
    settlement_asset="USDT",
    margin_tiers=[
        m.MarginTier(notional_floor="0", maintenance_margin_rate="0.004", initial_margin_rate="0.008"),
        m.MarginTier(notional_floor="50000", maintenance_margin_rate="0.005", initial_margin_rate="0.01"),
    ],
    contract_size="1",
    tick_size="0.1",
    lot_size="0.001",
    spot_instrument="BTC-USDT",
    status="trading",
    taker_fee_rate="0",
    liquidation_fee_rate="0.0005",
    maintenance_basis="mark",
    close_fee_basis="none",
    tier_boundary="upper",
    max_price_age_ms=5_000,
    max_price_move="0.2",
    insurance_pool="USDT-main",
    ts_ms=0,
)

OPTION: Final = m.Instrument(
    instrument="ETH-29DEC23-2000-C",
    kind="option",
    contract="linear",
    underlying="ETH",
    settlement_asset="USDC",
    margin_tiers=[
        m.MarginTier(
            notional_floor="0",
            maintenance_margin_rate="0",
            initial_margin_rate="0",
            maintenance_deduction="0",
            initial_deduction="0",
        )
    ],
    contract_size="1",
    tick_size="0.1",
    lot_size="0.01",
    min_order_quantity="0.1",
    max_order_quantity="500",
    expiry_ms=1_703_836_800_000,
    strike="2000",
    option_type="call",
    status="trading",
    option_margin=m.OptionMargin(
        short_initial_rate="0.15", short_minimum_rate="0.13", short_maintenance_rate="0.09", put_mark_rate="0.5"
    ),
    ts_ms=T0,
)

BITCOIN: Final = m.Collateral(
    asset="BTC",
    price_instrument="BTC-USDT",
    weight_tiers=[m.WeightTier(floor="0", weight="0.95"), m.WeightTier(floor="100", weight="0.9")],
    initial_weight_tiers=[m.WeightTier(floor="0", weight="0.9")],
    hedges="BTC",
    liability_maintenance_rate="0.02",
    conversion_instrument="BTC-USDT",
    price_floor="1",
    max_price_age_ms=60_000,
    max_price_move="0.2",
    decimals=8,
    chains=["bitcoin"],
    ts_ms=0,
)

ORDER: Final = m.Order(
    order_id=ORDER_ID,
    epoch=EPOCH,
    account="a-17",
    client="c-9",
    bucket="BTC-PERP",
    instrument="BTC-PERP",
    position_side="net",
    side="sell",
    quantity="0.063",
    order_type="limit",
    time_in_force="ioc",
    limit_price="62263.1",
    reduce_only=True,
    cancel_resting="instrument",
    block_opening=True,
    valid_until_ms=T0 + 62_000,
    stage="partial",
    trigger="maintenance_breach",
    attempt=1,
    position_quantity="0.5",
    mark_price="62390",
    liquidation_price="62398.7",
    bankruptcy_price="62149.1",
    equity="120.45",
    maintenance_margin="124.78",
    projected_equity="112.4553",
    projected_maintenance_margin="109.05772",
    evidence=m.Evidence(
        fills=[PARTITION, 1881],
        transfers=[PARTITION, 90],
        accounts=[PARTITION, 4],
        order_events=[PARTITION, 17],
        liquidation_orders=[PARTITION, EPOCH],
        prices={"BTC-PERP": [0, 55_121]},
        instruments=[0, 41],
        collateral=[0, 7],
        controls=[0, 3],
        risk_parameters=[0, 99],
    ),
    ts_ms=T0 + 60_000,
)

EXAMPLES: Final[tuple[Example, ...]] = (
    Example("instrument", "instrument", PERPETUAL),
    Example("instrument.option", "instrument", OPTION),
    Example("collateral", "collateral", BITCOIN),
    Example(
        "risk-parameters",
        "risk-parameters",
        m.RiskParameters(
            instrument="BTC-PERP", multiplier="1.25", effective_ms=T0, ts_ms=T0, variance="0.00000004", as_of=[0, 55_000]
        ),
    ),
    Example(
        "control",
        "control",
        m.Control(
            control_id="c-1", scope="instrument", target="BTC-PERP", action="halt", ts_ms=T0, expires_ms=T0 + 3_600_000,
            operator="ops-3", reason="oracle fault",
        ),
    ),
    Example(
        "control.clear",
        "control",
        m.Control(
            control_id="c-2", scope="account", target="a-17", action="clear", ts_ms=T0, through={"fills": 1881, "transfers": 90},
            operator="ops-3", reason="statement explained",
        ),
    ),
    Example(
        "price",
        "price",
        m.Price(
            instrument="BTC-PERP", ts_ms=T0 + 60_000, mark_price="62390", index_price="62391.2", sequence=991, source_epoch=1,
            source="venue",
        ),
    ),
    Example(
        "price.option",
        "price",
        m.Price(
            instrument="ETH-29DEC23-2000-C", ts_ms=T0, mark_price="91.5", index_price="2003.4", implied_volatility="0.52",
            interest_rate="-0.001", settlement_price="3.4", sequence=7, source_epoch=1, source="venue",
        ),
    ),
    Example(
        "account",
        "account",
        m.Account(
            account="a-17", margin_mode="isolated", valuation_asset="USDT", client="c-9", segregation="client",
            margin_preset="derive-pm1", ts_ms=0,
        ),
    ),
    Example(
        "fill",
        "fill",
        m.Fill(
            fill_id="f-1", account="a-17", instrument="BTC-PERP", side="buy", quantity="0.5", price="64123.5", ts_ms=T0,
            bucket="BTC-PERP", position_side="net", fee="12.8", fee_asset="USDT", order_id="o-1", exec_type="trade",
            account_sequence=3,
        ),
    ),
    Example(
        "transfer",
        "transfer",
        m.Transfer(
            transfer_id="t-1", account="a-17", asset="USDT", amount="1000", reason="move", ts_ms=T0, bucket="main",
            to_bucket="BTC-PERP", instrument="BTC-PERP", reference="margin for f-1", account_sequence=2,
        ),
    ),
    Example(
        "order-event",
        "order-event",
        m.OrderEvent(
            order_id=ORDER_ID, account="a-17", bucket="BTC-PERP", instrument="BTC-PERP", attempt=1, status="filled",
            ts_ms=T0 + 60_250, epoch=EPOCH, quantity="0.063", filled_quantity="0.063", average_price="62275",
            reason="no more than the limit", account_sequence=5,
        ),
    ),
    Example(
        "account-statement",
        "account-statement",
        m.AccountStatement(
            account="a-17", balances={"BTC-PERP": {"USDT": "987.2"}}, positions={"BTC-PERP": {"BTC-PERP": "0.5"}},
            through={"fills": 1881, "transfers": 90}, ts_ms=T0,
        ),
    ),
    Example("liquidation-order", "liquidation-order", ORDER),
    Example("liquidation-order.claim", "liquidation-order", m.Claim(instance="w-1", nonce="5f0c2d9e41b7", ts_ms=T0)),
    Example(
        "account-state",
        "account-state",
        m.AccountState(
            account="a-17", bucket="BTC-PERP", client="c-9", status="liquidating", previous_status="margin_call",
            valuation_asset="USDT", equity="120.45", initial_margin="249.56", maintenance_margin="124.78",
            free_margin="-129.11", maintenance_excess="-4.33", ts_ms=T0 + 60_000, detail="0.063 BTC-PERP at 62263.1",
            distance_instrument="BTC-PERP", distance_price="-8.7", distance_percent="-0.0139", distance_sigmas="-0.1",
        ),
    ),
    Example(
        "default",
        "default",
        m.Default(
            default_id="d-1", account="a-17", bucket="BTC-PERP", client="c-9", asset="USDT", deficit="24.55",
            insurance_pool="USDT-main", order_id=ORDER_ID, ts_ms=T0 + 61_000,
        ),
    ),
)  # fmt: skip
