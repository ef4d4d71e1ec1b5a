"""Open orders: issued by us, read back from the topic, answered by order events and fills, in any order of arrival."""

from typing import Final

from services.contracts.decimals import parse, to_text
from services.contracts.identifiers import order_id as id_of_order
from services.contracts.messages import TERMINAL, Default, Fill, Order, OrderEvent
from services.engine.context import Context
from services.engine.effects import AlarmName, Emit
from services.engine.state import Account, Bucket, Doubt, OpenOrder

DEFAULTS_TOPIC: Final = "defaults"
OWN_EXECUTIONS: Final = frozenset({"liquidation", "takeover", "adl"})
TAKEN_OVER: Final = frozenset({"takeover", "adl"})


def open_order_of(message: Order) -> OpenOrder:
    """The open order that a decided message becomes."""
    return OpenOrder(
        message.order_id, message.instrument, message.position_side, message.side, parse(message.quantity),
        parse(message.limit_price), message.stage, message.attempt, message.ts_ms, message.valid_until_ms, content=message,
    )  # fmt: skip


def read_back(context: Context, account: Account, bucket: Bucket, message: Order) -> None:
    """A valid order was read from the topic: only now is it issued."""
    known = bucket.orders.get(message.order_id)
    order = open_order_of(message)
    if known is None and message.attempt <= bucket.attempts.get(message.instrument, 0):
        return  # read again after everything about it was settled
    if known is not None:
        order.filled, order.reported, order.terminal = known.filled, known.reported, known.terminal
        order.resends = known.resends
    if known is None or not known.confirmed:
        bucket.tries.setdefault(message.instrument, []).append((message.attempt, message.ts_ms))
    order.confirmed = True
    if fixes_deficit(message) and not bucket.defaulted:
        bucket.defaulted = True
        tell_deficit(context, account, message)
    bucket.orders[order.order_id] = order
    note_attempt(bucket, message.instrument, message.attempt)
    context.timers.at(answer_due_ms(context, order), "order", account.account, bucket.name, order.order_id)
    settle(bucket, order)


def answer_due_ms(context: Context, order: OpenOrder) -> int:
    """When an order without an answer is sent again: after its validity and the clocks' skew, ever more slowly."""
    wait = context.settings.order_ttl_ms + context.settings.clock_skew_ms
    return order.valid_until_ms + context.settings.clock_skew_ms + wait * ((1 << order.resends) - 1)


def is_ours(fill: Fill) -> bool:
    """Whether the fill executes a liquidation order."""
    return fill.order_id is not None and fill.exec_type in OWN_EXECUTIONS


def count_fill(bucket: Bucket, fill: Fill) -> None:
    """A fill that carries the id of one of our orders uses up its reserve; it may come before the order itself."""
    order = None if fill.order_id is None else bucket.orders.get(fill.order_id)
    if fill.order_id is None or (order is None and (not is_ours(fill) or _was_forgotten(bucket, fill))):
        return
    if order is None:
        order = bucket.orders[fill.order_id] = OpenOrder(
            fill.order_id,
            fill.instrument,
            fill.position_side or "net",
            fill.side,
            0,
            0,
            "partial",
            0,
            fill.ts_ms,
            fill.ts_ms,
        )
    order.filled += parse(fill.quantity)
    settle(bucket, order)


def _was_forgotten(bucket: Bucket, fill: Fill) -> bool:
    """Whether the fill is of an order that was over when its distress ended: kept, it would answer events of it by halves."""
    attempts = range(1, 1 + bucket.attempts.get(fill.instrument, 0))
    return any(id_of_order(fill.account, bucket.name, fill.instrument, each) == fill.order_id for each in attempts)


def fold_event(context: Context, account: Account, bucket: Bucket, event: OrderEvent) -> None:
    """What the venue says became of an order; cumulative, so that repeats and disorder do no harm."""
    order = bucket.orders.get(event.order_id)
    if order is not None:
        note_attempt(bucket, event.instrument, event.attempt)
    else:
        if event.attempt <= bucket.attempts.get(event.instrument, 0):
            return  # everything about it was settled before
        order = bucket.orders[event.order_id] = OpenOrder(
            event.order_id, event.instrument, "net", "sell", 0, 0, "partial", event.attempt, event.ts_ms, event.ts_ms
        )
        note_attempt(bucket, event.instrument, event.attempt)
    was_promised = order.terminal and order.reserved
    order.reported = max(order.reported, 0 if event.filled_quantity is None else parse(event.filled_quantity))
    order.terminal = order.terminal or event.status in TERMINAL
    if order.terminal and order.reserved and not was_promised:
        due_ms = context.now_of(account) + context.settings.account_gap_ms
        context.timers.at(due_ms, "reserve", account.account, bucket.name, order.order_id)
    settle(bucket, order)


def fixes_deficit(order: Order) -> bool:
    """A takeover of a bucket that has less than nothing: the first of a distress says what is missing."""
    return order.stage in TAKEN_OVER and parse(order.equity) < 0


def tell_deficit(context: Context, account: Account, order: Order) -> None:
    """What is missing is fixed by the order: reported, never hidden, never netted elsewhere.

    It follows from the order that was read, not from the decision: so none is lost with the process between the two, and none
    is told of an order that was never written. Whoever reads the order again tells the same under the same id.
    """
    if account.valuation_asset is None:
        return  # all is read anew, the account's record is yet to come: this was told when the order was new
    spec = context.market.specs.get(order.instrument)
    pool = None if spec is None or order.stage == "adl" else spec.insurance_pool
    message = Default(
        default_id=order.order_id, account=order.account, bucket=order.bucket, client=order.client,
        asset=account.valuation_asset, deficit=to_text(-parse(order.equity)), insurance_pool=pool, order_id=order.order_id,
        ts_ms=order.ts_ms,
    )  # fmt: skip
    context.effects.append(
        Emit(cause=context.cause, topic=DEFAULTS_TOPIC, key=account.account, partition=None, message=message)
    )


def note_attempt(bucket: Bucket, instrument: str, attempt: int) -> None:
    bucket.attempts[instrument] = max(attempt, bucket.attempts.get(instrument, 0))


def next_attempt(bucket: Bucket, instrument: str) -> int:
    """1 + the highest in valid orders or order events; orders that wait to be read back count too."""
    waiting = [order.attempt for order in bucket.orders.values() if order.instrument == instrument]
    return 1 + max([bucket.attempts.get(instrument, 0), *waiting])


def earlier_orders(bucket: Bucket, instrument: str) -> int:
    """How many orders of this distress went out on the instrument since one was wholly filled, those not read back included."""
    waiting = sum(o.instrument == instrument and o.is_open and not o.confirmed for o in bucket.orders.values())
    return len(bucket.tries.get(instrument, ())) + waiting


def settle(bucket: Bucket, order: OpenOrder) -> None:
    """An order that is over is kept until its distress ends: a fill that comes late must find what it belongs to."""
    if order.is_over:
        order.content = None  # it is not sent again
        if order.filled >= order.quantity:
            tries = bucket.tries.get(order.instrument, [])
            bucket.tries[order.instrument] = [each for each in tries if each[0] > order.attempt]
    if not order.reserved:
        bucket.doubts.pop(f"order:{order.order_id}", None)


def end_distress(context: Context, account: Account, bucket: Bucket) -> None:
    """Forget the orders that are over, how many there were, and, once all is read, that a deficit was fixed.

    Before that a bucket may look well only because not all of its records were read: a second deficit would be told.
    """
    over = [name for name, order in bucket.orders.items() if order.is_over]
    was_told = bucket.defaulted and context.gate_is_open(account.partition)
    if not (bucket.tries or over or was_told):
        return
    bucket.tries = {}
    for name in over:
        del bucket.orders[name]
    bucket.defaulted = bucket.defaulted and not was_told
    context.mark_dirty(
        account, bucket.name
    )  # the row too: its status may have changed earlier, with the gate still shut


def doubt_unfilled_reserve(context: Context, account: Account, bucket: Bucket, order_id: str) -> None:
    """The venue reported fills of an order that never came: the ledger cannot be right."""
    order = bucket.orders.get(order_id)
    if order is None or not order.terminal or not order.reserved:
        return
    place = account.seen.get("order-events", (0, 0))
    bucket.doubts[f"order:{order_id}"] = Doubt(AlarmName.RESERVE_UNFILLED, "order-events", place[1], ())
    context.alarm(
        AlarmName.RESERVE_UNFILLED,
        f"fills of order {order_id} are missing",
        account=account.account,
        bucket=bucket.name,
    )
    context.touch(account, bucket)
