"""A partition's accounts taken over from the rows of the tables. Most of them rest as they were stored, and no object is made of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress, islice
from operator import not_
from typing import Final

from services.engine import orders
from services.engine.accounts import fits, is_calm
from services.engine.bulk_boxes import AT_ONCE
from services.engine.census import Census
from services.engine.columns import Columns, joined
from services.engine.context import Context
from services.engine.glance import Glance, glances, newest_seen
from services.engine.pieces import Pace, Steps
from services.engine.resting import decode_resting, may_rest
from services.engine.rows import AccountRow, BucketRow, restore_account, restore_bucket
from services.engine.search import Search
from services.engine.sheaf import Sheaf
from services.engine.state import Account
from services.engine.statements import note_read

ROWS_AT_ONCE: Final = 16_384
ROW, ACCOUNT = 1, 7  # what one of them costs, in microseconds, about
Packed = tuple[str, bytes]  # a name, and its rows as they rest


class Restoring:
    """Part of the engine: see there for when it may be called."""

    def __init__(self, context: Context, search: Search, census: Census) -> None:
        self._context = context
        self._search = search
        self._census = census

    def steps(self, partition: int, rows: Iterable[tuple[str, bytes]], pace: Pace) -> Steps:
        """Take over a partition's stored rows, before any record of it is applied. Between two steps the accounts are those of
        whole steps."""
        sheaf, waiting = Sheaf(partition), iter(rows)
        while some := list(islice(waiting, pace.share(ROW, ROWS_AT_ONCE))):
            sheaf.add(some)
            if pace.spent(len(some) * ROW):
                yield
        while accounts := sheaf.take(pace.share(ACCOUNT, AT_ONCE)):
            self._enter(partition, accounts)
            if pace.spent(len(accounts) * ACCOUNT):
                yield
        for name, held in sheaf.orphans():
            self._census.entered(row.status for row in held.values())
            self._wake(partition, name, None, held)

    def _enter(self, partition: int, accounts: Sequence[Packed]) -> None:
        """Those that may rest do, the others are awake."""
        others = self._context.accounts.known([name for name, _ in accounts])  # by rows of another partition too
        others |= {name for name, body in accounts if not fits(name, body)}
        resting: list[Packed] = []
        troubled: list[bool] = []
        columns: list[Columns] = []
        for some, seen in self._seen(accounts):
            self._census.entered([row.status for each in seen for row in each.buckets.values()])
            stay = [
                name not in others and may_rest(each.account, each.buckets.values())
                for (name, _), each in zip(some, seen, strict=True)
            ]
            for name, body in compress(some, map(not_, stay)):
                row = decode_resting(body)
                self._wake(partition, name, row.account, row.buckets)
            staying = list(compress(seen, stay))
            resting += compress(some, stay)
            troubled += [not is_calm(each.buckets.values()) for each in staying]
            columns.append(self._context.columnist.columns(staying))
            self._context.totals.enter_resting(staying)
            note_read(self._context, partition, newest_seen(staying))
        if resting:
            self._search.enter(self._context.accounts.enter_many(partition, resting, troubled), joined(columns))

    @staticmethod
    def _seen(accounts: Sequence[Packed]) -> Iterator[tuple[list[Packed], list[Glance]]]:
        """A few at a time: what is done with them is done while they are in the processor's cache."""
        waiting = iter(accounts)
        for seen in glances([body for _, body in accounts]):
            yield list(islice(waiting, len(seen))), seen

    def _wake(self, partition: int, name: str, row: AccountRow | None, held: Mapping[str, BucketRow]) -> None:
        context = self._context
        account = context.accounts.get(name)
        if account is None:
            account = Account(name, partition)
            context.accounts.add(account)
        context.totals.leave(account)
        if row is not None:
            restore_account(account, row)
        account.buckets |= {bucket: restore_bucket(bucket, each) for bucket, each in held.items()}
        context.totals.enter(account)
        note_read(context, partition, {topic: offset for topic, (_, offset) in account.seen.items()})
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
