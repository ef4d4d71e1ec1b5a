"""Folding the account topics: what happened at the venue is applied, whatever we think of it (contracts.md)."""

from hashlib import blake2b
from typing import Final, Literal

from services.contracts.codec import encode
from services.contracts.decimals import parse
from services.contracts.messages import Account as AccountMessage
from services.contracts.messages import Fill, Message, Transfer
from services.contracts.records import Record
from services.contracts.refusals import Reason, Refusal
from services.engine.context import Context
from services.engine.effects import AlarmName
from services.engine.ledger import apply_fill, apply_transfer
from services.engine.orders import OWN_EXECUTIONS, count_fill
from services.engine.state import Account, Bucket, Doubt

MAIN: Final = "main"
Seen = Literal["new", "same", "conflict"]


def account_of(context: Context, name: str, record: Record) -> Account:
    """The account, made provisional if nobody described it yet."""
    account = context.accounts.get(name)
    if account is None:
        account = context.accounts[name] = Account(name, record.partition, first_seen_ms=record.timestamp_ms)
        context.timers.at(record.timestamp_ms + context.settings.provisional_account_ms, "account", name)
    account.time_ms = max(account.time_ms, record.timestamp_ms)
    account.seen[record.topic] = (record.partition, record.offset)
    context.mark_dirty(account, "")
    return account


def fold_account(context: Context, message: AccountMessage, record: Record) -> Refusal | None:
    account = account_of(context, message.account, record)
    segregation = message.segregation or "client"
    holds = any(not bucket.is_flat for bucket in account.buckets.values())
    if account.known and holds:
        now = (account.margin_mode, account.segregation, account.valuation_asset)
        if now != (message.margin_mode, segregation, message.valuation_asset):
            return Refusal(
                Reason.IMMUTABLE_CHANGED, "margin_mode, segregation or valuation_asset while it holds something"
            )
    account.known, account.client = True, message.client or message.account
    account.segregation, account.margin_mode = segregation, message.margin_mode
    account.margin_preset, account.valuation_asset = message.margin_preset, message.valuation_asset
    _settled(context, account, None)
    unpark(context, account)
    for bucket in account.buckets.values():
        context.touch(account, bucket)
    return None


def become_provisional(context: Context, account: Account) -> None:
    """Nobody described the account in time: cross, client, itself as client, valued in the asset first deposited."""
    if account.known or account.valuation_asset is None:
        return
    account.known, account.client = True, account.account
    context.mark_dirty(account, "")
    unpark(context, account)
    for bucket in account.buckets.values():
        context.touch(account, bucket)


def fold_fill(context: Context, fill: Fill, record: Record) -> Refusal | None:
    account = account_of(context, fill.account, record)
    seen = _recognise(context, account, f"fill:{fill.fill_id}", fill)
    if seen == "same":
        context.duplicates += 1
        return None
    if seen == "conflict":
        _doubt_fill(context, account, fill, record, Reason.ID_CONFLICT)
        return Refusal(Reason.ID_CONFLICT, f"fill {fill.fill_id} was seen with another content")
    _settled(context, account, fill.account_sequence, own=fill.exec_type in OWN_EXECUTIONS)
    name = bucket_of_fill(account, fill)
    if name is None or fill.instrument not in context.market.specs:
        return _park(context, account, fill, record)
    _apply_fill(context, account, name, fill)
    return None


def _apply_fill(context: Context, account: Account, name: str, fill: Fill) -> None:
    bucket = account.bucket(name)
    apply_fill(bucket, fill, context.market.specs[fill.instrument])
    if fill.exec_type in OWN_EXECUTIONS and fill.order_id is not None:
        count_fill(bucket, fill)
    if account.valuation_asset is None:
        account.valuation_asset = context.market.specs[fill.instrument].settlement_asset
    context.touch(account, bucket)


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


def _park(context: Context, account: Account, fill: Fill, record: Record) -> Refusal | None:
    if len(account.parked) >= context.settings.parked_fills:
        _doubt_fill(context, account, fill, record, Reason.PARKED_OVERFLOW)
        return Refusal(Reason.PARKED_OVERFLOW, f"{len(account.parked)} fills already wait for an account or instrument")
    account.parked.append((fill, record.offset))
    name = bucket_of_fill(account, fill)
    if name is not None:
        context.touch(account, account.bucket(name))
    return None


def unpark(context: Context, account: Account) -> None:
    """Apply the fills whose account and instrument are known by now, in the order in which they came."""
    waiting = []
    for fill, offset in account.parked:
        name = bucket_of_fill(account, fill)
        if name is None or fill.instrument not in context.market.specs:
            waiting.append((fill, offset))
        else:
            _apply_fill(context, account, name, fill)
    if len(waiting) != len(account.parked):
        account.parked = waiting
        context.mark_dirty(account, "")


def fold_transfer(context: Context, transfer: Transfer, record: Record) -> Refusal | None:
    account = account_of(context, transfer.account, record)
    seen = _recognise(context, account, f"transfer:{transfer.transfer_id}", transfer)
    bucket = account.bucket(transfer.bucket or MAIN)
    if seen == "same":
        context.duplicates += 1
        return None
    if seen == "conflict":
        alternative = (("balance", transfer.asset, parse(transfer.amount)),)
        _doubt(context, account, bucket, Doubt(Reason.ID_CONFLICT, record.topic, record.offset, alternative))
        return Refusal(Reason.ID_CONFLICT, f"transfer {transfer.transfer_id} was seen with another content")
    _settled(context, account, transfer.account_sequence)
    target = None if transfer.to_bucket is None else account.bucket(transfer.to_bucket)
    apply_transfer(bucket, target, transfer)
    if account.valuation_asset is None:
        account.valuation_asset = transfer.asset
    context.touch(account, bucket)
    if target is not None:
        context.touch(account, target)
    if bucket.locked.get(transfer.asset, 0) > max(0, bucket.balances.get(transfer.asset, 0)) and transfer.reason in (
        "withdrawal", "move", "lock",
    ):  # fmt: skip
        context.alarm(
            AlarmName.SEGREGATION_BREACH, f"{transfer.reason} {transfer.transfer_id} leaves less {transfer.asset} than is locked",
            account=account.account, bucket=bucket.name,
        )  # fmt: skip
    return None


def doubt_refused(context: Context, account: Account, bucket: str | None, refusal: Refusal, record: Record) -> None:
    """A fact of the account could not be applied: its bucket, or all of them, may be wrong."""
    doubt = Doubt(refusal.reason, record.topic, record.offset)
    if bucket is not None:
        _doubt(context, account, account.bucket(bucket), doubt)
        return
    account.doubts[f"{record.topic}:{record.offset}"] = doubt
    context.mark_dirty(account, "")
    for each in account.buckets.values():
        context.touch(account, each)
    context.alarm(AlarmName.BUCKET_DIRTY, f"{refusal.reason}: {refusal.detail}", account=account.account)


def _doubt_fill(context: Context, account: Account, fill: Fill, record: Record, reason: Reason) -> None:
    name = bucket_of_fill(account, fill)
    doubt = Doubt(reason, record.topic, record.offset)
    if name is None:
        doubt_refused(context, account, None, Refusal(reason, f"fill {fill.fill_id}"), record)
        return
    _doubt(context, account, account.bucket(name), doubt)


def _doubt(context: Context, account: Account, bucket: Bucket, doubt: Doubt) -> None:
    bucket.doubts[f"{doubt.topic}:{doubt.offset}"] = doubt
    context.touch(account, bucket)
    context.alarm(
        AlarmName.BUCKET_DIRTY,
        f"{doubt.name} at {doubt.topic} {doubt.offset}",
        account=account.account,
        bucket=bucket.name,
    )


def _recognise(context: Context, account: Account, key: str, message: Message) -> Seen:
    """Whether this id was seen in the account's bounded window, with the same content or another."""
    digest = int.from_bytes(blake2b(encode(message), digest_size=7).digest(), "big")
    known = account.recent.get(key)
    if known is not None:
        return "same" if known == digest else "conflict"
    account.recent[key] = digest
    if len(account.recent) > context.settings.duplicate_window:
        del account.recent[next(iter(account.recent))]
    return "new"


def _settled(context: Context, account: Account, sequence: int | None, *, own: bool = False) -> None:
    """Note the record for causality: contiguous sequences, or else a moment of waiting."""
    if sequence is None:
        if account.sequence is None and not own:
            account.touched_ms = context.now_of(account)
        return
    account.touched_ms = None
    if account.sequence is None:
        account.sequence = sequence
    elif sequence > account.sequence:
        account.sequence_ahead.add(sequence)
    while account.sequence + 1 in account.sequence_ahead:
        account.sequence += 1
        account.sequence_ahead.discard(account.sequence)
    note_gap(context, account)


def note_gap(context: Context, account: Account) -> None:
    """Start, keep or end the watch on a gap in the account's sequence."""
    if not account.sequence_ahead:
        account.sequence_gap_since_ms = None
        if account.doubts.pop(AlarmName.SEQUENCE_GAP, None) is not None:
            for bucket in account.buckets.values():
                context.touch(account, bucket)
    elif account.sequence_gap_since_ms is None:
        account.sequence_gap_since_ms = context.now_of(account)
        context.timers.at(account.sequence_gap_since_ms + context.settings.account_gap_ms, "gap", account.account)


def alarm_gap(context: Context, account: Account) -> None:
    """The gap lasted too long: nothing of the account is certain any more."""
    since = account.sequence_gap_since_ms
    if since is None or context.now_of(account) - since < context.settings.account_gap_ms:
        return
    account.doubts[AlarmName.SEQUENCE_GAP] = Doubt(AlarmName.SEQUENCE_GAP, "fills", -1)
    context.alarm(
        AlarmName.SEQUENCE_GAP,
        f"records after account_sequence {account.sequence} are missing",
        account=account.account,
    )
    context.mark_dirty(account, "")
    for bucket in account.buckets.values():
        context.touch(account, bucket)
