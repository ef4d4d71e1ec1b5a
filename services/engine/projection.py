"""The projected bucket: open orders assumed filled for the rest of their quantity at their limit."""

from services.contracts.decimals import ONE
from services.engine.ledger import cash_of, trade
from services.engine.market import Market
from services.engine.state import Bucket, Position
from services.engine.worth import Holdings


def project(bucket: Bucket, market: Market) -> Holdings:
    """What `bucket` will hold if every open order fills. The taker fee is paid; the real bucket is not touched."""
    open_orders = [order for order in bucket.orders.values() if order.reserved]
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
        notional = abs(cash_of(spec, quantity, order.limit_price))
        scratch.credit(spec.settlement_asset, -ceil_fee(notional, spec.taker_fee_rate))
    return Holdings(scratch.balances, scratch.positions)


def ceil_fee(notional: int, rate: int) -> int:
    """A fee on a notional, e18, rounded up."""
    return -(-notional * rate // ONE)
