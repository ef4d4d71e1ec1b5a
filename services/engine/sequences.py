"""Causality across the account topics: an account with sequences is decided only while they are contiguous."""

from services.engine.context import Context
from services.engine.effects import AlarmName
from services.engine.state import Account, Doubt

GAP = "gap"


def note_sequence(context: Context, account: Account, sequence: int) -> None:
    """Add one number to the runs seen so far, and start or end the watch on a gap."""
    account.sequences = _with(account.sequences, sequence)
    if not account.has_gap:
        account.sequence_gap_since_ms = None
        for bucket in account.buckets.values():
            if bucket.doubts.pop(GAP, None) is not None:
                context.touch(account, bucket)
            context.touched[account.account, bucket.name] = None
    elif account.sequence_gap_since_ms is None:
        account.sequence_gap_since_ms = context.now_of(account)
        context.timers.at(account.sequence_gap_since_ms + context.settings.account_gap_ms, "gap", account.account)


def _with(runs: list[list[int]], number: int) -> list[list[int]]:
    merged: list[list[int]] = []
    for first, last in sorted([*runs, [number, number]]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], last)
        else:
            merged.append([first, last])
    return merged


def alarm_gap(context: Context, account: Account) -> None:
    """The gap lasted too long: no bucket of the account is certain any more."""
    since = account.sequence_gap_since_ms
    if since is None or context.now_of(account) < since + context.settings.account_gap_ms:
        return
    fresh = [bucket for bucket in account.buckets.values() if GAP not in bucket.doubts]
    for bucket in fresh:
        bucket.doubts[GAP] = Doubt(GAP, "fills", max(offset for _, offset in account.seen.values()))
        context.touch(account, bucket)
    if fresh:
        missing = account.sequences[0][1] + 1
        context.alarm(AlarmName.SEQUENCE_GAP, f"account_sequence {missing} is missing", account=account.account)


def forget_gap(account: Account) -> None:
    """An operator cleared it: what was seen last is where the count goes on from."""
    account.sequences = [[account.sequences[-1][1]] * 2] if account.sequences else []
    account.sequence_gap_since_ms = None
