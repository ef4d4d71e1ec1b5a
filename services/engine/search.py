"""Which buckets a price can have changed: the interface that the full scan and the certificate index share."""

from collections.abc import Collection, Iterable
from typing import Protocol

from services.engine.context import BucketKey
from services.engine.state import Account, Bucket
from services.engine.valuation import Valuation
from services.engine.worth import Incomplete


class Search(Protocol):
    """Told of every reviewed bucket; asked at every accepted price."""

    def place(self, account: Account, bucket: Bucket, valuation: Valuation | Incomplete, prices: Iterable[str]) -> None:
        """The bucket was just valued and depends on `prices`."""

    def remove(self, key: BucketKey) -> None:
        """The bucket is gone."""

    def moved(self, price_id: str) -> Iterable[BucketKey]:
        """Buckets whose status or decision the new state of `price_id` may change; others it provably cannot."""

    def holders(self, price_id: str) -> Collection[BucketKey]:
        """All buckets that depend on `price_id`."""


class FullScan:
    """Every bucket that depends on a price, at every move of it: slow, obvious, and the oracle of the index."""

    def __init__(self) -> None:
        self._holders: dict[str, dict[BucketKey, None]] = {}
        self._prices: dict[BucketKey, frozenset[str]] = {}

    def place(
        self,
        account: Account,
        bucket: Bucket,
        valuation: Valuation | Incomplete,  # noqa: ARG002 - the index needs it, and the interface is one
        prices: Iterable[str],
    ) -> None:
        key, now = (account.account, bucket.name), frozenset(prices)
        before = self._prices.get(key, frozenset())
        if now == before:
            return
        for price_id in before - now:
            self._holders[price_id].pop(key, None)
        for price_id in now - before:
            self._holders.setdefault(price_id, {})[key] = None
        self._prices[key] = now

    def remove(self, key: BucketKey) -> None:
        for price_id in self._prices.pop(key, frozenset()):
            self._holders[price_id].pop(key, None)

    def moved(self, price_id: str) -> Iterable[BucketKey]:
        return self.holders(price_id)

    def holders(self, price_id: str) -> Collection[BucketKey]:
        return self._holders.get(price_id, ())
