"""What time alone brings: provisional accounts, open gaps, reserves that nobody fills, and when the next of it is due."""

from collections.abc import Iterator
from fractions import Fraction

from services.contracts.messages import Account
from services.engine.effects import AlarmName
from services.reference import prices
from services.reference.fold import unpark
from services.reference.ledger import Ledger
from services.reference.lifecycle import is_open, promised
from services.reference.state import AccountBook, Bucket, Doubt, OrderState, World

AccountAlarm = tuple[AlarmName, AccountBook, str, str]
"""Name, account, bucket ("" where it is the whole account), detail."""


def pass_time(world: World) -> list[AccountAlarm]:
    """Bring every account to its present time."""
    alarms: list[AccountAlarm] = []
    for _, book in sorted(world.accounts.items()):
        become_provisional(world, book)
        alarms += watch_gap(world, book)
        for _, bucket in sorted(book.buckets.items()):
            alarms += watch_reserves(world, book, bucket)
    return alarms


def become_provisional(world: World, book: AccountBook) -> None:
    """Without a record for long enough, after catch-up: cross, client, valued in the asset first deposited."""
    due = book.first_seen_ms + world.settings.provisional_account_ms
    if book.is_known or book.first_deposit is None or world.now_ms(book) < due or not world.gate_is_open(book.account):
        return
    book.record = Account(account=book.account, margin_mode="cross", valuation_asset=book.first_deposit)
    book.is_provisional = True
    unpark(world, book)


def watch_gap(world: World, book: AccountBook) -> list[AccountAlarm]:
    """A gap that stays open makes every bucket of the account doubtful until it closes or is cleared."""
    now_ms = world.now_ms(book)
    if not book.has_gap:
        book.gap_since_ms = None
        for bucket in book.buckets.values():
            bucket.doubts = [doubt for doubt in bucket.doubts if doubt.kind != "gap"]
        return []
    if book.gap_since_ms is None:
        book.gap_since_ms = now_ms
    if now_ms < book.gap_since_ms + world.settings.account_gap_ms:
        return []
    fresh = [bucket for bucket in book.buckets.values() if all(doubt.kind != "gap" for doubt in bucket.doubts)]
    was_known = len(fresh) < len(book.buckets)
    for bucket in fresh:
        bucket.doubts.append(Doubt("gap", "fills", max(offset for _, offset in book.evidence.values()), None))
    return [] if was_known or not fresh else [(AlarmName.SEQUENCE_GAP, book, "", "account_sequence is not contiguous")]


def watch_reserves(world: World, book: AccountBook, bucket: Bucket) -> list[AccountAlarm]:
    """Fills that a terminal event promised must come in time. Both readings (they do, they do not) are decided upon anyway."""
    alarms: list[AccountAlarm] = []
    for order_id, state in sorted(bucket.orders.items()):
        kind = f"reserve:{order_id}"
        known = any(doubt.kind == kind for doubt in bucket.doubts)
        overdue = _reserve_due_ms(world, book, order_id, state)
        if overdue is None:
            bucket.doubts = [doubt for doubt in bucket.doubts if doubt.kind != kind]
        elif world.now_ms(book) >= overdue and not known:
            offset = book.evidence.get("order-events", (0, 0))[1]
            bucket.doubts.append(Doubt(kind, "order-events", offset, Ledger()))
            alarms.append((AlarmName.RESERVE_UNFILLED, book, bucket.bucket, order_id))
    return alarms


def _reserve_due_ms(world: World, book: AccountBook, order_id: str, state: OrderState) -> int | None:
    if state.promised_ms is None or not promised(state, book.filled.get(order_id, Fraction(0))):
        return None
    return state.promised_ms + world.settings.account_gap_ms


def due_times(world: World) -> Iterator[int]:
    """Every future moment at which something may become due by itself."""
    settings = world.settings
    for state in world.prices.values():
        yield from (due for due in prices.due_ms(state, settings) if due > world.broadcast_ms)
    for records in world.risk.values():
        yield from (record.effective_ms for record in records if record.effective_ms > world.broadcast_ms)
    for control in world.controls.values():
        if control.expires_ms is not None and control.expires_ms > world.broadcast_ms:
            yield control.expires_ms
    for book in world.accounts.values():
        now_ms = world.now_ms(book)
        yield from (due for due in _account_due(world, book) if due > now_ms)


def _account_due(world: World, book: AccountBook) -> Iterator[int]:
    settings = world.settings
    if not book.is_known and book.first_deposit is not None:
        yield book.first_seen_ms + settings.provisional_account_ms
    if book.account in world.hot_accounts and book.touched_ms is not None and not book.sequences:
        yield book.touched_ms + settings.account_settle_ms
    if book.gap_since_ms is not None:
        yield book.gap_since_ms + settings.account_gap_ms
    for bucket in book.buckets.values():
        for order_id, state in bucket.orders.items():
            if state.order is not None and not state.is_terminal:
                if is_open(state, book.filled.get(order_id, Fraction(0))):
                    yield state.resend_at_ms
                continue
            overdue = _reserve_due_ms(world, book, order_id, state)
            if overdue is not None:
                yield overdue
