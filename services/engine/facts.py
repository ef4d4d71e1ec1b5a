"""Folding the account topics: what happened at the venue is applied, whatever we think of it (contracts.md)."""

from hashlib import blake2b
from typing import Final, Literal

from services.contracts.codec import encode
from services.contracts.decimals import parse
from services.contracts.messages import Account as AccountMessage
from services.contracts.messages import AccountStatement, Fill, Message, Transfer
from services.contracts.records import Record
from services.contracts.refusals import Reason, Refusal
from services.engine.context import Context
from services.engine.effects import AlarmName
from services.engine.ledger import apply_transfer, enter, traded, wallet_balance
from services.engine.orders import count_fill, is_ours
from services.engine.sequences import note_sequence
from services.engine.state import Account, Bucket, Doubt
from services.engine.worth import divides

MAIN: Final = "main"
Seen = Literal["new", "same", "conflict"]


def account_of(context: Context, name: str, record: Record, sequence: int | None = None) -> Account:
    """The account of a record that was just read, made provisional if nobody described it yet; notes place, time, sequence."""
    account = context.accounts.used(name)
    if account is None:
        seen_ms = max(context.time_ms, record.timestamp_ms)
        account = Account(name, record.partition, first_seen_ms=seen_ms)
        context.accounts.add(account)
        context.timers.at(seen_ms + context.settings.provisional_account_ms, "account", name)
    account.time_ms = max(account.time_ms, record.timestamp_ms)
    account.seen[record.topic] = (record.partition, record.offset)
    context.mark_dirty(account, "")
    if sequence is not None:
        note_sequence(context, account, sequence)
    return account


def fold_account(context: Context, message: AccountMessage, record: Record) -> Refusal | None:
    account = account_of(context, message.account, record)
    segregation = message.segregation or "client"
    holds = any(not bucket.is_flat for bucket in account.buckets.values())
    if account.known and not account.provisional and holds:
        now = (account.margin_mode, account.segregation, account.valuation_asset)
        if now != (message.margin_mode, segregation, message.valuation_asset):
            return Refusal(
                Reason.IMMUTABLE_CHANGED, "margin_mode, segregation or valuation_asset while it holds something"
            )
    context.totals.leave(account)  # it may change its class
    account.known, account.provisional, account.client = True, False, message.client or message.account
    account.segregation, account.margin_mode = segregation, message.margin_mode
    account.margin_preset, account.valuation_asset = message.margin_preset, message.valuation_asset
    context.totals.enter(account)
    _touch(context, account)
    unpark(context, account)
    for bucket in account.buckets.values():
        context.touch(account, bucket)
    return None


def become_provisional(context: Context, account: Account) -> None:
    """Nobody described the account in time: cross, client, itself as client, valued in the asset first deposited."""
    due_ms = account.first_seen_ms + context.settings.provisional_account_ms
    if account.known or account.valuation_asset is None or context.now_of(account) < due_ms:
        return
    if not context.gate_is_open(account.partition):
        return  # its record may still be on its way; opening the gate asks again
    account.known, account.provisional, account.client = True, True, account.account
    context.mark_dirty(account, "")
    unpark(context, account)
    for bucket in account.buckets.values():
        context.touch(account, bucket)


def fold_fill(context: Context, fill: Fill, record: Record) -> Refusal | None:
    account = account_of(context, fill.account, record, fill.account_sequence)
    seen = _recognise(context, account, record.topic, fill.fill_id, fill)
    if seen == "same":
        return None
    name = bucket_of_fill(account, fill)
    if seen == "conflict":
        _doubt(context, account, name or MAIN, Doubt(Reason.ID_CONFLICT, record.topic, record.offset))
        return Refusal(Reason.ID_CONFLICT, f"fill {fill.fill_id} was seen with another content")
    if not is_ours(fill):
        _touch(context, account)
    if name is None or fill.instrument not in context.market.specs:
        return _park(context, account, name, fill, record)
    return _apply_fill(context, account, name, fill, record.offset)


def follows(account: Account, sequence: int | None) -> bool:
    """Whether a record's number, if it has one, comes next, and its account has no bucket besides that would have to be looked at."""
    if sequence is None:
        return True
    runs = account.sequences
    return len(runs) == 1 and sequence == runs[0][1] + 1 and len(account.buckets) == 1


def note_fill(context: Context, account: Account, fill: Fill, record: Record) -> None:
    """What a fill of a new id, that is not of an order of ours and that `follows`, leaves in its account beside the ledger."""
    account_of(context, fill.account, record)
    if fill.account_sequence is not None:
        account.sequences[0][1] = fill.account_sequence
    _recognise(context, account, record.topic, fill.fill_id, fill)
    _touch(context, account)


def _apply_fill(context: Context, account: Account, name: str, fill: Fill, offset: int) -> Refusal | None:
    """Enter the fill. What an inverse contract costs at a price of 0 no ledger can say: a doubt, held until it is cleared."""
    bucket, spec = account.bucket(name), context.market.specs[fill.instrument]
    if divides(spec) and not parse(fill.price):
        _doubt(context, account, name, Doubt(Reason.PRICE_NOT_POSITIVE, "fills", offset))
        return Refusal(Reason.PRICE_NOT_POSITIVE, f"{fill.instrument} is inverse: it has no value at {fill.price}")
    context.totals.add(account, enter(bucket, traded(fill, spec), spec))
    count_fill(bucket, fill)
    context.touch(account, bucket)
    return None


def bucket_of_fill(account: Account, fill: Fill) -> str | None:
    """The fill's bucket; None while the account's margin mode is unknown and decides."""
    if fill.bucket is not None:
        return fill.bucket
    if not account.known:
        return None
    if account.margin_mode != "isolated":
        return MAIN
    side = fill.position_side or "net"
    return fill.instrument if side == "net" else f"{fill.instrument}:{side}"


def _park(context: Context, account: Account, name: str | None, fill: Fill, record: Record) -> Refusal | None:
    """Keep the fill until its account (without bound: it will be provisional soon) and its instrument (bounded) are known."""
    if name is not None:
        waiting = sum(bucket_of_fill(account, parked) is not None for parked, _ in account.parked)
        if waiting >= context.settings.parked_fills:
            _doubt(context, account, name, Doubt(Reason.PARKED_OVERFLOW, record.topic, record.offset))
            return Refusal(Reason.PARKED_OVERFLOW, f"{waiting} fills already wait for an instrument")
    account.parked.append((fill, record.offset))
    if name is not None:
        context.touch(account, account.bucket(name))
    return None


def parked_instrument(account: Account, bucket: Bucket) -> str | None:
    """The instrument that a parked fill of this bucket waits for: until it is known the bucket cannot be valued."""
    for fill, _ in account.parked:
        if bucket_of_fill(account, fill) == bucket.name:
            return str(fill.instrument)
    return None


def unpark(context: Context, account: Account) -> None:
    """Apply the fills whose account and instrument are known by now, in the order in which they came."""
    waiting = []
    for fill, offset in account.parked:
        name = bucket_of_fill(account, fill)
        if name is None or fill.instrument not in context.market.specs:
            waiting.append((fill, offset))
        else:
            _apply_fill(context, account, name, fill, offset)  # a doubt says so if it cannot be: its record is gone
    if len(waiting) != len(account.parked):
        account.parked = waiting
        context.mark_dirty(account, "")


def fold_transfer(context: Context, transfer: Transfer, record: Record) -> Refusal | None:
    account = account_of(context, transfer.account, record, transfer.account_sequence)
    seen = _recognise(context, account, record.topic, transfer.transfer_id, transfer)
    if seen == "same":
        return None
    names = [transfer.bucket or MAIN]
    if transfer.reason == "move" and transfer.to_bucket is not None:
        names.append(transfer.to_bucket)
    if seen == "conflict":
        for name in names:
            _doubt(context, account, name, Doubt(Reason.ID_CONFLICT, record.topic, record.offset))
        return Refusal(Reason.ID_CONFLICT, f"transfer {transfer.transfer_id} was seen with another content")
    _touch(context, account)
    buckets = [account.bucket(name) for name in names]
    context.totals.add(account, [(transfer.asset, apply_transfer(buckets[0], buckets[-1], transfer))])
    for bucket in buckets:
        context.touch(account, bucket)
    _check_locks(context, account, buckets[0], transfer)
    _check_classes(context, account, buckets[0], transfer)
    if transfer.reason == "deposit" and account.valuation_asset is None:
        account.valuation_asset = transfer.asset
    become_provisional(context, account)
    return None


def _check_locks(context: Context, account: Account, bucket: Bucket, transfer: Transfer) -> None:
    """What is locked may not be withdrawn or moved; the ledger still follows what the venue did."""
    if transfer.reason not in ("withdrawal", "move"):
        return
    locked = bucket.locked.get(transfer.asset, 0)
    if locked > 0 and wallet_balance(bucket, transfer.asset, context.market.specs) < locked:
        context.alarm(
            AlarmName.LOCKED_WITHDRAWN, f"{transfer.reason} {transfer.transfer_id} leaves less {transfer.asset} than is locked",
            account=account.account, bucket=bucket.name,
        )  # fmt: skip


def _check_classes(context: Context, account: Account, bucket: Bucket, transfer: Transfer) -> None:
    """Client and house funds never mix, whoever's account it was; the ledger still follows what the venue did."""
    other = context.accounts.look(context.crossings.counterpart(transfer) or "")
    if other is None or not (other.known and account.known) or other.segregation == account.segregation:
        return
    context.alarm(
        AlarmName.CLASSES_MIXED,
        f"{transfer.reason} {transfer.transfer_id} of {account.segregation} {account.account}: its other leg is of {other.segregation} {other.account}",
        account=account.account, bucket=bucket.name,
    )  # fmt: skip


def fold_statement(context: Context, statement: AccountStatement, record: Record) -> None:
    """What the venue says: compared once everything that it covers was read (statements.py)."""
    account_of(context, statement.account, record)
    context.statements.append((record, statement))


def doubt_refused(context: Context, account: Account, bucket: str | None, refusal: Refusal, record: Record) -> None:
    """A fact of the account could not be applied: its bucket, or all of them, may be wrong."""
    names = [bucket] if bucket is not None else list(account.buckets) or [MAIN]
    for name in names:
        _doubt(context, account, name, Doubt(refusal.reason, record.topic, record.offset))


def _doubt(context: Context, account: Account, name: str, doubt: Doubt) -> None:
    bucket = account.bucket(name)
    bucket.doubts[f"{doubt.topic}:{doubt.offset}"] = doubt
    context.touch(account, bucket)


def _recognise(context: Context, account: Account, topic: str, name: str, message: Message) -> Seen:
    """Whether this id was seen in the account's bounded window, with the same content or another."""
    digest = int.from_bytes(blake2b(encode(message), digest_size=7).digest(), "big")
    window = account.recent.setdefault(topic, {})
    known = window.get(name)
    if known is not None:
        context.duplicates += known == digest
        return "same" if known == digest else "conflict"
    window[name] = digest
    if len(window) > context.settings.duplicate_window:
        del window[next(iter(window))]
    return "new"


def _touch(context: Context, account: Account) -> None:
    """A record of the account that others may belong to: it is decided only after a moment."""
    account.touched_ms = context.now_of(account)
