"""A partition's accounts as rows: given to the tables, and forgotten."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from services.engine.census import Census
from services.engine.context import Context
from services.engine.pieces import DROP, Pace, Steps, one_by_one
from services.engine.rows import bucket_field, encode_account, encode_bucket
from services.engine.search import Search
from services.engine.state import Account, BucketKey
from services.engine.statements import forget_read

COMPARED: Final = 64  # accounts in one part of a comparison


class Shards:
    """Part of the engine: see there for when each may be called."""

    def __init__(self, context: Context, search: Search, census: Census, under: dict[BucketKey, None]) -> None:
        self._context = context
        self._search = search
        self._census = census
        self._under = under

    def drop(self, partition: int, pace: Pace) -> Steps:
        """The partition was revoked: forget its accounts."""
        context = self._context
        yield from one_by_one(context.accounts.of(partition), self._forget, DROP, pace)
        forget_read(context, partition)
        context.dirty.pop(partition, None)
        context.epochs.pop(partition, None)
        context.gates.pop(partition, None)

    def _forget(self, account: Account) -> None:
        context = self._context
        for bucket in account.buckets.values():
            key = (account.account, bucket.name)
            self._search.remove(key)
            self._census.left(key, bucket)
            self._under.pop(key, None)
            context.touched.pop(key, None)
        context.totals.leave(account)
        context.accounts.forget(account.account)

    def take_dirty(self, partition: int) -> dict[str, bytes | None]:
        """Rows that changed since the last call: field -> row, None where the row is to be deleted."""
        rows: dict[str, bytes | None] = {}
        for field in sorted(self._context.dirty.pop(partition, ())):
            name, _, bucket = field.partition("|")
            account = self._context.accounts.look(name)
            assert account is not None, "a dropped partition has no dirty rows"
            if not bucket:
                rows[field] = encode_account(account)
            elif bucket in account.buckets:
                rows[bucket_field(name, bucket)] = encode_bucket(account.buckets[bucket])
        return rows

    def forget_dirty(self, partition: int) -> None:
        """Whoever calls this is going to compare all rows, or never to write one."""
        self._context.dirty.pop(partition, None)

    def differing(self, partition: int, stored: Mapping[str, bytes]) -> Iterator[dict[str, bytes | None]]:
        """What to write so that a table that holds `stored` holds what is in memory: field -> row, None where it is to be deleted.

        In parts, between which records may be applied: rows that these change are dirty, and newer than what was answered here.
        """
        left: dict[str, bytes | None] = dict.fromkeys(stored)
        names = self._context.accounts.names_of(partition)
        for first in range(0, len(names), COMPARED):
            memory = self._rows_of(names[first : first + COMPARED])
            for field in memory:
                left.pop(field, None)
            yield {field: row for field, row in memory.items() if stored.get(field) != row}
        yield left

    def _rows_of(self, names: Iterable[str]) -> dict[str, bytes]:
        rows: dict[str, bytes] = {}
        for name in names:
            account = self._context.accounts.look(name)
            if account is not None:
                rows[bucket_field(name, "")] = encode_account(account)
                rows |= {bucket_field(name, each.name): encode_bucket(each) for each in account.buckets.values()}
        return rows

    def dirty_count(self, partition: int) -> int:
        return len(self._context.dirty.get(partition, ()))
