"""Fills that change the ledger and nothing else, folded many at a time.

Before such a fill is entered it is proven that its bucket stays in its box afterwards (bounds.md): so nothing follows from it, and it
needs neither a review nor a cause. Whatever else a fill may be - of an account at rest, a new instrument, an order of ours, a repeated
id, the one that leaves the box - is left as it is, for `Engine.apply`.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Final

from services.contracts.plain_fills import FILLS, plain_fill
from services.contracts.records import Record
from services.engine.context import Context
from services.engine.facts import bucket_of_fill, follows, note_fill
from services.engine.ledger import enter, traded
from services.engine.search import Search
from services.engine.worth import divides

MOST: Final = 100  # in a row: a millisecond or three


class Trades:
    """Folds them into the context."""

    def __init__(self, context: Context, search: Search) -> None:
        self._context = context
        self._search = search

    def fold(self, records: Sequence[Record], at: int) -> int:
        """Where those from `at` on end; they may go on there."""
        context, end = self._context, at
        if context.touched or context.later or context.unanswered or context.statements:
            return at
        for record in islice(records, at, at + MOST):
            if record.topic != FILLS or not self._enter(record):
                break
            context.read[FILLS, record.partition] = record.offset
            end += 1
        if end > at:
            context.records[FILLS] += end - at
        return end

    def _enter(self, record: Record) -> bool:
        context, fill = self._context, plain_fill(record.value)
        if fill is None or context.is_misplaced(fill.account, record):
            return False
        account, spec = context.accounts.awake.get(fill.account), context.market.specs.get(fill.instrument)
        if account is None or spec is None or divides(spec) or fill.fill_id in account.recent.get(FILLS, ()):
            return False
        bucket = account.buckets.get(bucket_of_fill(account, fill) or "")
        if bucket is None or not follows(account, fill.account_sequence):
            return False
        execution = traded(fill, spec)
        held = bucket.positions.get(execution.key)
        if held is None or not held.quantity + execution.quantity or execution.fee_asset != spec.settlement_asset:
            return False
        if not self._search.absorbs((account.account, bucket.name), execution, held.quantity):
            return False
        note_fill(context, account, fill, record)
        context.totals.add(account, enter(bucket, execution, spec))
        context.mark_dirty(account, bucket.name)
        return True
