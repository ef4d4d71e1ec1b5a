"""Facts that cannot be read: what they seem to speak of becomes doubtful."""

import json
import re
from typing import Final

from services.contracts.identifiers import partition_of
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.reference.state import MAIN, AccountBook, Doubt, World

FACTS: Final = frozenset({"fills", "transfers", "order-events"})
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,69}")


def doubt_undecodable(world: World, record: Record, refusal: Refusal) -> None:
    """The bucket that the record names; else all buckets of the account that it, or its key, names."""
    if record.topic not in FACTS:
        return
    content = _content(record.value)
    account = _name(content.get("account"))
    if account is None and record.key is not None:
        account = _name(record.key.decode(errors="replace"))
    count = world.settings.account_partitions
    if account is None or (count is not None and partition_of(account, count) != record.partition):
        return
    book = world.accounts.get(account)
    if book is None:
        book = world.accounts[account] = AccountBook(account, max(world.broadcast_ms, record.timestamp_ms))
        book.own_ms, book.evidence[record.topic] = record.timestamp_ms, (record.partition, record.offset)
    bucket = _name(content.get("bucket"))
    is_isolated = book.record is not None and book.record.margin_mode == "isolated"
    if bucket is None and record.topic == "fills" and is_isolated:
        bucket = _name(content.get("instrument"))
    for name in [bucket] if bucket is not None else list(book.buckets) or [MAIN]:
        book.bucket(name).doubts.append(Doubt(refusal.reason, record.topic, record.offset, None))


def _content(value: bytes) -> dict[str, object]:
    try:
        content = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and NAME.fullmatch(value) else None
