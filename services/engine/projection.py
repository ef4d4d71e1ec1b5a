"""The projected bucket: open orders assumed filled for the rest of their quantity at their limit."""

from services.contracts.decimals import ONE
from services.engine.instruments import Spec
from services.engine.ledger import trade
from services.engine.market import Market
from services.engine.state import Bucket, Position
from services.engine.worth import E36, Holdings, divides


def project(bucket: Bucket, market: Market) -> Holdings:
    """What `bucket` will hold if every open order fills. The taker fee is paid; the real bucket is not touched."""
    open_orders = sorted(
        (order for order in bucket.orders.values() if order.is_open and order.reserved and order.stage != "convert"),
        key=lambda order: (order.instrument, order.attempt),
    )
    if not open_orders:
        return Holdings(bucket.balances, bucket.positions)
    scratch = Bucket(
        bucket.name,
        balances=dict(bucket.balances),
        positions={key: Position(held.quantity, held.open_cost) for key, held in bucket.positions.items()},
    )
    for order in open_orders:
        key = (order.instrument, order.position_side)
        held, spec = scratch.positions.get(key), market.specs.get(order.instrument)
        if held is None or spec is None:
            continue
        quantity = min(order.reserved, abs(held.quantity))  # reduce-only
        signed = quantity if order.side == "buy" else -quantity
        if signed * held.quantity > 0:
            continue
        trade(scratch, key, spec, signed, order.limit_price)
        scratch.credit(spec.settlement_asset, -taker_fee(spec, quantity, order.limit_price))
    return Holdings(scratch.balances, scratch.positions)


def taker_fee(spec: Spec, quantity: int, price: int) -> int:
    """What taking `quantity` contracts at `price` costs in the settlement asset, e18, rounded up."""
    size = quantity * spec.contract_size * spec.taker_fee_rate
    return -(-size // (price * ONE)) if divides(spec) else -(-size * price // (E36 * ONE))
