"""Ids and partitions that every reader must be able to recompute."""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

REMEMBERED: Final = 2**15  # accounts: who trades, trades again soon


def order_id(account: str, bucket: str, instrument: str, attempt: int) -> str:
    """Lower-case hex of BLAKE2b-128 over the length-prefixed UTF-8 of account, bucket, instrument and attempt.

    Each part is preceded by its byte length as four big-endian bytes; attempt is its decimal text. A retry has the same id.
    """
    digest = blake2b(digest_size=16)
    for part in (account, bucket, instrument, str(attempt)):
        raw = part.encode()
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return digest.hexdigest()


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 of a key (org.apache.kafka.common.utils.Utils.murmur2), as an unsigned integer."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    length = len(data)
    h = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little")
        k = (k * m) & mask
        k ^= k >> 24
        k = (k * m) & mask
        h = ((h * m) & mask) ^ k
    if length & 3:
        h ^= int.from_bytes(data[whole:], "little")
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    return h ^ (h >> 15)


@lru_cache(REMEMBERED)
def partition_of(account: str, partitions: int) -> int:
    """The partition of an account topic that holds `account`: the Java client's default partitioner."""
    return (murmur2(account.encode()) & 0x7FFFFFFF) % partitions
