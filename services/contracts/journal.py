"""The journal: everything that a worker's engine was given, in order, so that a replay computes what it computed.

A *session* is one life of a worker's engine. Its records say which stretches of which topics were folded, when time moved on, which
gates stood open, and what was restored and stored; the records themselves stay in their topics. One session reads the broadcast
topics once for all of its shards, so its journal is one too: keyed by the session, in the partition that the session hashes to.

A stored shard is named by a *digest*: the sum of its rows' hashes, so that a reader can keep it up to date row by row.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Struct

from services.contracts.codec import encode
from services.contracts.messages import Claim
from services.contracts.records import Record

JOURNAL: Final = "journal"
ORDERS: Final = "liquidation-orders"
DIGEST_BYTES: Final = 16
MODULUS: Final = 1 << (8 * DIGEST_BYTES)


class Read(Struct, frozen=True, array_like=True, tag="read"):
    """Every record of the topic's partition from `first` to `last`, applied one by one."""

    topic: str
    partition: int
    first: int
    last: int


class Latest(Struct, frozen=True, array_like=True, tag="latest"):
    """Prices read late: folded to the newest marks, and decided once. The stretches of all partitions, in order."""

    stretches: list[tuple[int, int, int]]  # partition, first, last


class Timer(Struct, frozen=True, array_like=True, tag="timer"):
    """Event time moved on."""

    time_ms: int


class Gate(Struct, frozen=True, array_like=True, tag="gate"):
    """The shard may be decided from here on, or may not."""

    shard: int
    open: bool


class Restored(Struct, frozen=True, array_like=True, tag="restored"):
    """The shard's rows were loaded from the table; `digest` says which ones."""

    shard: int
    digest: str


class Stored(Struct, frozen=True, array_like=True, tag="stored"):
    """The shard's changed rows were handed to the table. Whether they arrived, the next `Restored` tells."""

    shard: int


class Dropped(Struct, frozen=True, array_like=True, tag="dropped"):
    """The shard was forgotten."""

    shard: int


class Unconfirmed(Struct, frozen=True, array_like=True, tag="unconfirmed"):
    """The shard's orders that were never read back were given up."""

    shard: int


class Again(Struct, frozen=True, array_like=True, tag="again"):
    """Orders that a cap had held back were decided again: account, bucket and order id of each."""

    places: list[tuple[str, str, str]]


Input = Read | Latest | Timer | Gate | Restored | Stored | Dropped | Unconfirmed | Again


class JournalRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record of the journal. Numbers of a session are gap-free from 0; the first carries the engine's settings."""

    session: str
    number: int
    ts_ms: int
    inputs: list[Input]
    settings: Any = None


_decoder: Final = msgspec.json.Decoder(JournalRecord)
_encoder: Final = msgspec.json.Encoder()


def encode_journal(record: JournalRecord) -> bytes:
    return _encoder.encode(record)


def decode_journal(value: bytes) -> JournalRecord:
    """Raises `msgspec.DecodeError` or `msgspec.ValidationError` on anything else than a record of this version."""
    return _decoder.decode(value)


def row_hash(field: str, row: bytes) -> int:
    """What one row adds to the digest of its shard."""
    digest = blake2b(row, digest_size=DIGEST_BYTES, key=blake2b(field.encode(), digest_size=32).digest())
    return int.from_bytes(digest.digest(), "big")


def rows_digest(rows: Iterable[tuple[str, bytes]]) -> str:
    """The name of a whole set of rows; the same for any order."""
    return digest_text(sum(row_hash(field, row) for field, row in rows))


def digest_text(total: int) -> str:
    return f"{total % MODULUS:0{2 * DIGEST_BYTES}x}"


def known_claim(partition: int, offset: int) -> Record:
    """A claim of which only the place is still known: all that an engine takes from one."""
    claim = Claim(instance="restored", nonce="restored", ts_ms=0)
    key = f"claim:{partition}".encode()
    return Record(topic=ORDERS, partition=partition, offset=offset, timestamp_ms=0, key=key, value=encode(claim))
