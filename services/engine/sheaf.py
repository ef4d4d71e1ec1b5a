"""Rows of the tables put together by account, as bytes: nothing of them is decoded to be encoded again."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from services.engine.rows import ACCOUNT_SUFFIX, BucketRow, check_versions

_ARRAY_OF_3: Final = b"\x93"
_MAP_OF_0: Final = b"\x80"
_decoder: Final = msgspec.msgpack.Decoder(dict[str, BucketRow])


class Sheaf:
    """Stored rows of one partition, put together by account. As they are: what msgpack wrote lies in a `Resting` as it was."""

    def __init__(self, partition: int) -> None:
        self._head = _ARRAY_OF_3 + msgspec.msgpack.encode(partition)
        self._own: dict[str, bytes] = {}
        self._buckets: dict[str, bytes] = {}  # names and rows, one after the other
        self._several: dict[str, int] = {}  # how many, where it is more than one
        self._names = _Encoded()

    def add(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Fields and rows, in any order."""
        own, buckets = self._own, self._buckets
        for field, raw in rows:
            name, _, bucket = field.partition(ACCOUNT_SUFFIX)
            if not bucket:
                own[name] = raw
            elif name not in buckets:
                buckets[name] = self._names[bucket] + raw
            else:
                buckets[name] += self._names[bucket] + raw
                self._several[name] = self._several.get(name, 1) + 1

    def take(self, most: int) -> list[tuple[str, bytes]]:
        """Some of the accounts that have a row of their own, as `encode_resting` would give them; they leave."""
        found, head, buckets, several = [], self._head, self._buckets, self._several
        for _ in range(min(most, len(self._own))):
            name, own = self._own.popitem()
            rows = buckets.pop(name, b"")
            map_head = _map_head(several.get(name, 1)) if rows else _MAP_OF_0
            found.append((name, head + own + map_head + rows))
        return found

    def orphans(self) -> Iterator[tuple[str, dict[str, BucketRow]]]:
        """Buckets of accounts that have no row of their own."""
        while self._buckets:
            name, rows = self._buckets.popitem()
            found = _decoder.decode(_map_head(self._several.get(name, 1)) + rows)
            check_versions({row.version for row in found.values()})
            yield name, found


class _Encoded(dict[str, bytes]):
    """Names as msgpack writes them."""

    def __missing__(self, name: str) -> bytes:
        self[name] = encoded = msgspec.msgpack.encode(name)
        return encoded


def _map_head(count: int) -> bytes:
    """How msgpack begins a map of so many entries."""
    return bytes((0x80 | count,)) if count < 16 else b"\xdf" + count.to_bytes(4, "big")
