"""A partition's accounts as rows: taken over from the tables, given to them, and forgotten."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from services.engine import orders
from services.engine.census import Census
from services.engine.context import Context
from services.engine.resting import Resting, may_rest
from services.engine.rows import (
    AccountRow,
    BucketRow,
    bucket_field,
    decode_row,
    encode_account,
    encode_bucket,
    restore_account,
    restore_bucket,
)
from services.engine.search import Search
from services.engine.state import Account, BucketKey
from services.engine.statements import forget_read, note_read

COMPARED: Final = 64  # accounts in one part of a comparison


class Shards:
    """Part of the engine: see there for when each may be called."""

    def __init__(self, context: Context, search: Search, census: Census, under: dict[BucketKey, None]) -> None:
        self._context = context
        self._search = search
        self._census = census
        self._under = under

    def restore(self, partition: int, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take over a partition's stored rows, before any record of it is applied."""
        stored: dict[str, list[tuple[str, bytes]]] = {}
        for field, raw in rows:
            name, _, bucket = field.partition("|")
            stored.setdefault(name, []).append((bucket, raw))
        self._search.enter(self._restored(partition, stored))

    def _restored(self, partition: int, stored: dict[str, list[tuple[str, bytes]]]) -> Iterator[tuple[int, Resting]]:
        """Every account enters; those that rest are answered. What is done with is let go on the way."""
        while stored:
            name, rows = stored.popitem()
            found = self._restore(partition, name, rows)
            if found is not None:
                yield found

    def _restore(self, partition: int, name: str, rows: list[tuple[str, bytes]]) -> tuple[int, Resting] | None:
        """One account; its number and what it rests as, if it does."""
        own: AccountRow | None = None
        held: dict[str, BucketRow] = {}
        for bucket, raw in rows:
            row = decode_row(raw)
            if isinstance(row, AccountRow):
                own = row
            else:
                held[bucket] = row
                self._census.entered(row.status)
        known = self._context.accounts.get(name)  # by rows of another partition too
        if known is None and own is not None and may_rest(own, held.values()):
            resting = Resting(partition, own, held)  # most come back as they rested: no object is made of them
            number = self._context.accounts.enter(name, resting)
            if number is not None:
                self._context.totals.enter_resting(resting)
                note_read(self._context, partition, own.last_read)
                return number, resting
        if known is None:
            known = Account(name, partition)
            self._context.accounts.add(known)
        self._wake(partition, known, own, held)
        return None

    def _wake(self, partition: int, account: Account, row: AccountRow | None, held: dict[str, BucketRow]) -> None:
        context = self._context
        context.totals.leave(account)
        if row is not None:
            restore_account(account, row)
        account.buckets |= {bucket: restore_bucket(bucket, each) for bucket, each in held.items()}
        context.totals.enter(account)
        note_read(context, partition, account.seen)
        self._rearm(account)

    def _rearm(self, account: Account) -> None:
        """Timers are not stored: what the restored rows wait for is put on the heap again, and everything is reviewed."""
        context, settings = self._context, self._context.settings
        if not account.known:
            context.timers.at(account.first_seen_ms + settings.provisional_account_ms, "account", account.account)
        if account.sequence_gap_since_ms is not None:
            context.timers.at(account.sequence_gap_since_ms + settings.account_gap_ms, "gap", account.account)
        for bucket in account.buckets.values():
            context.touched[account.account, bucket.name] = None
            for order in bucket.orders.values():
                subject = (account.account, bucket.name, order.order_id)
                context.timers.at(orders.answer_due_ms(context, order), "order", *subject)
                if order.terminal:
                    context.timers.at(account.time_ms + settings.account_gap_ms, "reserve", *subject)

    def drop(self, partition: int) -> None:
        """The partition was revoked: forget its accounts."""
        context = self._context
        for account in context.accounts.of(partition):
            for bucket in account.buckets.values():
                key = (account.account, bucket.name)
                self._search.remove(key)
                self._census.left(key, bucket)
                self._under.pop(key, None)
                context.touched.pop(key, None)
            context.totals.leave(account)
            context.accounts.forget(account.account)
        forget_read(context, partition)
        context.dirty.pop(partition, None)
        context.epochs.pop(partition, None)
        context.gates.pop(partition, None)

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
