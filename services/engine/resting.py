"""Accounts at rest, as their rows: what most of a million accounts are at any moment."""

from collections.abc import Iterable
from typing import Final

import msgspec

from services.engine.glance import AccountGlance, BucketGlance
from services.engine.rows import AccountRow, BucketRow, account_row, bucket_row, restore_account, restore_bucket
from services.engine.state import Account, Bucket


class Resting(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An account's partition, its row, and those of its buckets."""

    partition: int
    account: AccountRow
    buckets: dict[str, BucketRow]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Resting)


def may_rest(account: Account | AccountGlance, buckets: Iterable[Bucket | BucketGlance]) -> bool:
    """Whether its rows hold all that there is to know of it, and nothing about it is under way."""
    if not account.known or account.parked or len(account.sequences) > 1 or account.sequence_gap_since_ms is not None:
        return False
    return not any(map(_is_busy, buckets))


def _is_busy(bucket: Bucket | BucketGlance) -> bool:
    return bool(bucket.orders or bucket.doubts or bucket.tries or bucket.defaulted)


def resting_of(account: Account) -> Resting:
    buckets = {name: bucket_row(bucket) for name, bucket in account.buckets.items()}
    return Resting(account.partition, account_row(account), buckets)


def encode_resting(resting: Resting) -> bytes:
    return _encoder.encode(resting)


def decode_resting(body: bytes) -> Resting:
    return _decoder.decode(body)


def woken(name: str, body: bytes) -> Account:
    """The account as it was when it went to rest."""
    resting = decode_resting(body)
    account = Account(name, resting.partition)
    restore_account(account, resting.account)
    for bucket, row in resting.buckets.items():
        account.buckets[bucket] = restore_bucket(bucket, row)
    return account
