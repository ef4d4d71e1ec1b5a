"""Which buckets a price can have changed: the interface that the full scan and the certificate index share."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from services.engine.columns import Columns
from services.engine.context import Context
from services.engine.ledger import Traded
from services.engine.state import Account, Bucket, BucketKey
from services.engine.valuation import Valuation
from services.engine.worth import Incomplete


class Search(Protocol):
    """Told of every reviewed bucket; asked at every accepted price. What it has to do about accounts at rest it leaves for later
    (`Context.later`)."""

    def place(self, account: Account, bucket: Bucket, valuation: Valuation | Incomplete, prices: Iterable[str]) -> None:
        """The bucket was just valued and depends on `prices`."""

    def keeps(self, account: Account, bucket: Bucket) -> bool:
        """Whether a review of the bucket would find nothing to do, as is proven at once; it has its place then, if it had to be moved."""

    def absorbs(self, key: BucketKey, execution: Traded, before: int) -> bool:
        """Whether it would find nothing either after a fill of an instrument of which the bucket holds `before`; then it is taken as done.

        The bucket awaits no review, and the fee is paid in the asset that the fill settles in.
        """

    def remove(self, key: BucketKey) -> None:
        """The bucket is gone."""

    def moved(self, price_id: str) -> Iterable[BucketKey]:
        """Buckets whose status or decision the new state of `price_id` may change; others it provably cannot."""

    def quiet_between(self, price_id: str) -> tuple[float, float] | None:
        """Strictly between which prices `moved` names and wakes nobody, give or take a rounding; None where it may at any."""

    def disturbed(self, price_id: str) -> Iterable[BucketKey]:
        """Buckets that a change of what is known of `price_id`, other than its price, may concern."""

    def awake(self, price_id: str) -> Iterable[BucketKey]:
        """Of these buckets those of accounts that are awake: what concerns only decisions concerns nobody else."""

    def holders(self, price_id: str) -> Iterator[str]:
        """The accounts with a bucket that depends on `price_id`, some perhaps twice. To be walked through while nothing else is done."""

    def holder_count(self, price_id: str) -> int:
        """About how many buckets depend on `price_id`."""

    def rest(self, account: Account) -> bool:
        """Put the account to rest, if what is known of its buckets allows that."""

    def enter(self, numbers: Sequence[int], columns: Columns) -> None:
        """Accounts at rest, by their numbers, of which nothing is known yet: those that want to be reviewed wake."""

    def redraw(self, numbers: Iterable[int]) -> None:
        """Accounts at rest, by their numbers, of which anything may have changed: those that it concerns wake, later."""


class FullScan:
    """Every bucket that depends on a price, at every move of it: slow, obvious, and the oracle of the index."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._holders: dict[str, dict[BucketKey, None]] = {}
        self._prices: dict[BucketKey, frozenset[str]] = {}

    def place(
        self,
        account: Account,
        bucket: Bucket,
        valuation: Valuation | Incomplete,  # noqa: ARG002 - the index needs it, and the interface is one
        prices: Iterable[str],
    ) -> None:
        self._depend((account.account, bucket.name), frozenset(prices))

    def _depend(self, key: BucketKey, now: frozenset[str]) -> None:
        before = self._prices.get(key, frozenset())
        if now == before:
            return
        for price_id in before - now:
            self._holders[price_id].pop(key, None)
        for price_id in now - before:
            self._holders.setdefault(price_id, {})[key] = None
        self._prices[key] = now

    def keeps(self, account: Account, bucket: Bucket) -> bool:  # noqa: ARG002 - nothing is proven here: everything is looked at
        return False

    def absorbs(self, key: BucketKey, execution: Traded, before: int) -> bool:  # noqa: ARG002 - nor is anything taken as done
        return False

    def remove(self, key: BucketKey) -> None:
        for price_id in self._prices.pop(key, frozenset()):
            self._holders[price_id].pop(key, None)

    def moved(self, price_id: str) -> Iterable[BucketKey]:
        return self._holders.get(price_id, ())

    def quiet_between(self, price_id: str) -> tuple[float, float] | None:
        return None if self._holders.get(price_id) else (0.0, float("inf"))

    def disturbed(self, price_id: str) -> Iterable[BucketKey]:
        return self.awake(price_id)

    def awake(self, price_id: str) -> Iterable[BucketKey]:
        return self._holders.get(price_id, ())

    def holders(self, price_id: str) -> Iterator[str]:
        return (account for account, _ in self._holders.get(price_id, ()))

    def holder_count(self, price_id: str) -> int:
        return len(self._holders.get(price_id, ()))

    def rest(self, account: Account) -> bool:  # noqa: ARG002 - who looks at every bucket at every tick has them all awake
        return False

    def enter(self, numbers: Sequence[int], columns: Columns) -> None:  # noqa: ARG002 - the index draws from them
        self._context.accounts.wake(numbers)

    def redraw(self, numbers: Iterable[int]) -> None:
        self._context.accounts.wake(numbers)
