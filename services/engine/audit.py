"""The index checked against exact arithmetic, a few buckets at a time: what is liquidatable must have been found."""

from collections.abc import Callable, Container, Iterator

from services.engine.context import Context
from services.engine.state import Account, Bucket, BucketKey
from services.engine.valuation import Valuation
from services.engine.valuer import Valuer


class Audit:
    """Goes through all buckets, round after round. `under` are those that were found to be liquidatable.

    An account that wakes during a round may be passed over in it: it was reviewed when it woke.

    Portfolio buckets are left out: time moves their value between two looks at them.
    """

    def __init__(
        self,
        context: Context,
        valuer: Valuer,
        under: Container[BucketKey],
        breaches: Callable[[Account, Valuation], bool],
    ) -> None:
        self._context = context
        self._valuer = valuer
        self._under = under
        self._breaches = breaches
        self._round: Iterator[str] = iter(())

    def overlooked(self, accounts: int) -> list[tuple[int, str, str]]:
        """Of the next so many accounts, the buckets that are liquidatable at the marks in use and that nothing found.

        Each with its partition, account and name.
        """
        found: list[tuple[int, str, str]] = []
        for _ in range(accounts):
            name = next(self._round, None)
            if name is None:
                self._round = self._context.accounts.names()
                break
            account = self._context.accounts.look(name)
            if account is not None and account.known and account.margin_mode != "portfolio":
                buckets = [each.name for each in account.buckets.values() if self._is_overlooked(account, each)]
                found += [(account.partition, name, bucket) for bucket in buckets]
        return found

    def _is_overlooked(self, account: Account, bucket: Bucket) -> bool:
        key = account.account, bucket.name
        if key in self._under or key in self._context.touched:
            return False
        valuation = self._valuer.value_bucket(account, bucket, self._context.now_of(account))
        return isinstance(valuation, Valuation) and self._breaches(account, valuation)
