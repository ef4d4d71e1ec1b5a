"""What stands badly, and how many buckets stand on each rung: kept with every review, so that nobody has to walk all buckets to know."""

from collections import Counter
from collections.abc import Iterable, Mapping

from services.engine.context import Context
from services.engine.state import Account, Bucket, BucketKey
from services.engine.valuation import Valuation
from services.engine.worth import Incomplete


class Census:
    """Only buckets that stand badly have an entry; times are of events, in milliseconds.

    A bucket is not counted as negative while its account settles (`account_settle_ms` after its last record): a fill may be read
    before the deposit that backs it. It is reviewed again when it has settled.
    """

    def __init__(self) -> None:
        self.negative: dict[BucketKey, tuple[str, int]] = {}  # valuation asset, equity e18 (below zero)
        self.unordered: dict[BucketKey, int] = {}  # liquidatable and no order out -> since when, oldest first
        self.unanswered: dict[BucketKey, int] = {}  # orders out, none of them over -> when the oldest was issued
        self.unchecked: dict[BucketKey, str] = {}  # not decided on -> dirty, incomplete or unknown
        self._statuses: Counter[str] = Counter()

    @property
    def statuses(self) -> Mapping[str, int]:
        """How many buckets stand on each rung; closed ones hold nothing and are not counted."""
        return {status: count for status, count in self._statuses.items() if count and status != "closed"}

    def changed(self, before: str, after: str) -> None:
        self._statuses[before] -= 1
        self._statuses[after] += 1

    def entered(self, statuses: Iterable[str]) -> None:
        """Buckets were restored with the statuses they have."""
        self._statuses.update(statuses)

    def left(self, key: BucketKey, bucket: Bucket) -> None:
        """A bucket is forgotten."""
        self._statuses[bucket.status] -= 1
        self.calm(key)

    def calm(self, key: BucketKey) -> None:
        """Nothing is the matter with the bucket, and no order of it is out."""
        for entries in (self.negative, self.unordered, self.unanswered, self.unchecked):
            entries.pop(key, None)

    def reviewed(
        self, context: Context, account: Account, bucket: Bucket, valuation: Valuation | Incomplete, *, is_under: bool
    ) -> None:
        """Enter what the review found, and take out what no longer holds. `is_under`: liquidatable at the marks."""
        key, now_ms = (account.account, bucket.name), context.now_of(account)
        pending = [order for order in bucket.orders.values() if order.is_open and not order.terminal]
        if isinstance(valuation, Valuation) and valuation.equity < 0:
            settled_ms = (account.touched_ms or 0) + context.settings.account_settle_ms
            if now_ms < settled_ms and key not in self.negative:
                context.timers.at(settled_ms, "bucket", *key)
            else:
                self.negative[key] = (account.valuation_asset or "none", valuation.equity_e18())
        else:
            self.negative.pop(key, None)
        if is_under and not any(order.is_open for order in bucket.orders.values()):
            self.unordered.setdefault(key, now_ms)
        else:
            self.unordered.pop(key, None)
        if pending:
            since = min(order.issued_ms for order in pending)
            if any(order.resends for order in pending):  # sent again under a new time: it waits since the first
                since = min(since, self.unanswered.get(key, since))
            self.unanswered[key] = since
        else:
            self.unanswered.pop(key, None)
        doubt = _why_unchecked(account, bucket, valuation)
        if doubt is not None:
            self.unchecked[key] = doubt
        else:
            self.unchecked.pop(key, None)


def _why_unchecked(account: Account, bucket: Bucket, valuation: Valuation | Incomplete) -> str | None:
    if bucket.is_flat:
        return None
    if not account.known:
        return "unknown"
    if bucket.doubts:
        return "dirty"
    return "incomplete" if isinstance(valuation, Incomplete) else None
