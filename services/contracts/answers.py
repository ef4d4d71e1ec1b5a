"""What a venue answers to a liquidation order: the event that echoes what the order carried."""

from services.contracts.messages import Order, OrderEvent, OrderStatus


def answer_to(
    order: Order, status: OrderStatus, filled: str, now_ms: int, *, price: str | None = None, reason: str | None = None
) -> OrderEvent:
    """`filled` is the cumulative quantity, `price` its average; both decimal strings."""
    return OrderEvent(
        order_id=order.order_id,
        account=order.account,
        bucket=order.bucket,
        instrument=order.instrument,
        attempt=order.attempt,
        epoch=order.epoch,
        status=status,
        quantity=order.quantity,
        filled_quantity=filled,
        average_price=price,
        reason=reason,
        ts_ms=now_ms,
    )
