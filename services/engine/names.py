"""What an undecodable record seems to speak of: so that a doubt falls on the right account, and on no other."""

import re
from typing import Final

import msgspec

from services.contracts.records import Record

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,69}")


class Named(msgspec.Struct, frozen=True):
    """What an undecodable record seems to speak of."""

    account: str
    bucket: str | None
    instrument: str | None


def names_in(record: Record) -> Named | None:
    """The account, and perhaps the bucket and instrument, in a record that is refused; None if not even an account."""
    try:
        content = msgspec.json.decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    named = content.get("account") if isinstance(content, dict) else None
    if not isinstance(named, str) and record.key is not None:
        named = record.key.decode(errors="replace")
    if not isinstance(named, str) or not _ID.fullmatch(named):
        return None
    parts = content if isinstance(content, dict) else {}
    bucket, instrument = (
        part if isinstance(part, str) and _ID.fullmatch(part) else None
        for part in (parts.get("bucket"), parts.get("instrument"))
    )
    return Named(named, bucket, instrument)
