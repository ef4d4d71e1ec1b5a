"""Account records into account books: facts are added, duplicates skipped, contradictions become doubts."""

from fractions import Fraction
from typing import Final

from services.contracts.messages import TERMINAL, Account, AccountStatement, Fill, Order, OrderEvent, Transfer
from services.contracts.records import Record
from services.contracts.refusals import Reason, Refusal
from services.reference.ledger import Ledger, add, apply_fill, apply_transfer, cash_beside_futures
from services.reference.lifecycle import promised
from services.reference.rounding import ceil_e18, exact
from services.reference.state import MAIN, AccountBook, Bucket, Distress, Doubt, OrderState, World

LIQUIDATIONS: Final = frozenset({"liquidation", "takeover", "adl"})
LIQUIDATING: Final = frozenset({"takeover", "adl"})


def bucket_of_fill(book: AccountBook, fill: Fill) -> str | None:
    """The explicit one; else by the account's mode, None while that is not known."""
    if fill.bucket is not None:
        return fill.bucket
    if book.record is None:
        return None
    if book.record.margin_mode != "isolated":
        return MAIN
    side = fill.position_side or "net"
    return fill.instrument if side == "net" else f"{fill.instrument}:{side}"


def fold_account(world: World, book: AccountBook, message: Account) -> Refusal | None:
    """Mode, segregation and valuation asset stay while the account holds anything. A provisional account is superseded."""
    old = book.record
    if old is not None and not book.is_provisional:
        holds = any(not bucket.ledger.is_empty for bucket in book.buckets.values())
        for name in ("margin_mode", "segregation", "valuation_asset"):
            was, becomes = _account_field(old, name), _account_field(message, name)
            if holds and was != becomes:
                return Refusal(Reason.IMMUTABLE_CHANGED, f"{name} {was} to {becomes}")
    book.record, book.is_provisional = message, False
    touch(world, book)
    unpark(world, book)
    return None


def _account_field(message: Account, name: str) -> str:
    return str(getattr(message, name) or "client")


def touch(world: World, book: AccountBook) -> None:
    book.touched_ms = world.now_ms(book)


def refusal_of_duplicate(world: World, book: AccountBook, message: Fill | Transfer, record: Record) -> Refusal | bool:
    """True: seen before. A refusal: the id is known with another content, and nobody knows which of the two is right."""
    name = message.fill_id if isinstance(message, Fill) else message.transfer_id
    remembered = book.remembered.setdefault(record.topic, {})
    before = remembered.get(name)
    if before is None:
        remembered[name] = message
        if len(remembered) > world.settings.duplicate_window:
            del remembered[next(iter(remembered))]
        return False
    if before == message:
        return True
    for bucket in buckets_of(book, message):
        book.bucket(bucket).doubts.append(Doubt("id_conflict", record.topic, record.offset, None))
    return Refusal(Reason.ID_CONFLICT, f"{name} has two contents")


def buckets_of(book: AccountBook, message: Fill | Transfer) -> list[str]:
    """The buckets that the message speaks of."""
    if isinstance(message, Fill):
        return [bucket_of_fill(book, message) or MAIN]
    source = message.bucket or MAIN
    target = message.to_bucket if message.reason == "move" else None
    return [source] if target in (None, source) else [source, str(target)]


def waits_for_instrument(book: AccountBook, bucket: str) -> bool:
    """Whether a parked fill belongs to the bucket: until it is entered the bucket cannot be valued."""
    return any(bucket_of_fill(book, fill) == bucket for _, fill in book.parked)


def difference(a: Ledger, b: Ledger) -> Ledger:
    """What to add to a ledger that holds b for it to hold a."""
    result = a.copy()
    for asset, amount in b.balances.items():
        add(result.balances, asset, -amount)
    for leg, quantity in b.quantities.items():
        result.quantities[leg] = result.quantities.get(leg, Fraction(0)) - quantity
    result.quantities = {leg: quantity for leg, quantity in result.quantities.items() if quantity}
    return result


def fold_fill(world: World, book: AccountBook, fill: Fill, record: Record) -> Refusal | None:
    """Into its bucket, or parked until its account (without bound) and its instrument (bounded) are known."""
    if fill.order_id is None or fill.exec_type not in LIQUIDATIONS:
        touch(world, book)
    bucket = bucket_of_fill(book, fill)
    if bucket is not None and fill.instrument in world.specs:
        return enter(world, book, fill, bucket, record)
    waiting = sum(bucket_of_fill(book, parked) is not None for _, parked in book.parked)
    if bucket is not None and waiting >= world.settings.parked_fills:
        book.bucket(bucket).doubts.append(Doubt("parked_overflow", record.topic, record.offset, None))
        return Refusal(Reason.PARKED_OVERFLOW, f"more than {world.settings.parked_fills} fills wait")
    book.parked.append((record, fill))
    return None


def enter(world: World, book: AccountBook, fill: Fill, bucket: str, record: Record) -> Refusal | None:
    """Into the ledger, unless it has no cost: an inverse contract settled at a price of 0."""
    if world.specs[fill.instrument].price_is_coin_per_quote and exact(fill.price) == 0:
        book.bucket(bucket).doubts.append(Doubt("price_not_positive", record.topic, record.offset, None))
        return Refusal(Reason.PRICE_NOT_POSITIVE, f"{fill.instrument} at {fill.price}")
    apply_fill(book.bucket(bucket).ledger, fill, world.specs[fill.instrument])
    if fill.order_id is not None:
        book.filled[fill.order_id] = book.filled.get(fill.order_id, Fraction(0)) + exact(fill.quantity)
    return None


def unpark(world: World, book: AccountBook) -> None:
    """Enter the parked fills that can be entered, in the order in which they came."""
    waiting = []
    for record, fill in book.parked:
        bucket = bucket_of_fill(book, fill)
        if bucket is not None and fill.instrument in world.specs:
            enter(world, book, fill, bucket, record)
        else:
            waiting.append((record, fill))
    book.parked = waiting


def fold_transfer(world: World, book: AccountBook, transfer: Transfer) -> bool:
    """Answers whether it took away what was locked."""
    source = transfer.bucket or MAIN
    touched = [source] if transfer.to_bucket is None or transfer.reason != "move" else [source, transfer.to_bucket]
    apply_transfer({name: book.bucket(name).ledger for name in touched}, transfer, source)
    if transfer.reason == "deposit" and book.first_deposit is None:
        book.first_deposit = transfer.asset
    touch(world, book)
    ledger = book.bucket(source).ledger
    locked = ledger.locked.get(transfer.asset, Fraction(0))
    takes = transfer.reason in ("withdrawal", "move") and locked > 0
    return takes and ceil_e18(cash_beside_futures(ledger, transfer.asset, world.specs)) < ceil_e18(locked)


def fold_order_event(world: World, book: AccountBook, event: OrderEvent) -> None:
    """Monotone: the largest filled quantity, terminal once terminal. It may come before its order is read."""
    bucket = book.bucket(event.bucket)
    bucket.attempts[event.instrument] = max(bucket.attempts.get(event.instrument, 0), event.attempt)
    if event.order_id in bucket.forgotten:
        return
    state, filled = bucket.orders.setdefault(event.order_id, OrderState()), book.filled.get(event.order_id, Fraction(0))
    was_complete = not promised(state, filled)
    if event.filled_quantity is not None:
        state.reported = max(state.reported, exact(event.filled_quantity))
    state.is_terminal = state.is_terminal or event.status in TERMINAL
    if was_complete and promised(state, filled):
        state.promised_ms = world.now_ms(book)


def fold_order(world: World, book: AccountBook, order: Order) -> bool:
    """An order of the current epoch is issued; any other is not an order. Answers whether it counts."""
    if order.epoch != world.epoch(book.account):
        return False
    bucket = book.bucket(order.bucket)
    bucket.attempts[order.instrument] = max(bucket.attempts.get(order.instrument, 0), order.attempt)
    if order.order_id in bucket.forgotten:
        return False
    issue(world, bucket, order)
    bucket.orders[order.order_id].confirmed = True
    return True


def issue(world: World, bucket: Bucket, order: Order) -> None:
    """Emitted by us, or read: its latest content counts, and it is part of the bucket's distress."""
    state = bucket.orders.setdefault(order.order_id, OrderState())
    state.order = order
    if state.resent == 0:
        state.resend_at_ms = order.valid_until_ms + world.settings.clock_skew_ms
    if bucket.distress is None:
        bucket.distress = Distress(order.ts_ms)
    bucket.distress.orders.setdefault(order.instrument, {}).setdefault(order.order_id, order.ts_ms)


def fixes_deficit(book: AccountBook, order: Order) -> bool:
    """The first takeover of a distress that was read and finds less than nothing."""
    bucket, is_default = book.bucket(order.bucket), order.stage in LIQUIDATING and exact(order.equity) < 0
    is_first, bucket.defaulted = is_default and not bucket.defaulted, bucket.defaulted or is_default
    return is_first


def statement_differences(book: AccountBook, statement: AccountStatement) -> dict[str, Ledger]:
    """Per bucket what the statement has more than the ledger; positions are compared by instrument, sides added up."""
    result = {}
    for name in sorted({*book.buckets, *statement.balances, *statement.positions}):
        ledger = book.buckets[name].ledger if name in book.buckets else Ledger()
        ours, theirs = Ledger(balances=dict(ledger.balances)), Ledger()
        for asset, text in statement.balances.get(name, {}).items():
            add(theirs.balances, asset, exact(text))
        for (instrument, _), quantity in ledger.quantities.items():
            leg = (instrument, "net")
            ours.quantities[leg] = ours.quantities.get(leg, Fraction(0)) + quantity
        for instrument, text in statement.positions.get(name, {}).items():
            theirs.quantities[instrument, "net"] = exact(text)
        reading = difference(theirs, ours)
        if reading.balances or reading.quantities:
            result[name] = reading
    return result
