"""What each segregation class holds of each asset: kept with every change of a balance, so that nobody has to add up to know it."""

from collections import defaultdict
from collections.abc import Iterable

from services.contracts.decimals import parse
from services.engine.glance import Glance
from services.engine.state import Account


class Totals:
    """Σ balances by (segregation class, asset), e18. An account that nobody described yet is a client's."""

    def __init__(self) -> None:
        self._amounts: dict[tuple[str, str], int] = {}

    def add(self, account: Account, changes: Iterable[tuple[str, int]]) -> None:
        """Balances of the account changed by these amounts."""
        for asset, amount in changes:
            self._add(account.segregation, asset, amount)

    def _add(self, segregation: str, asset: str, amount: int) -> None:
        key = (segregation, asset)
        total = self._amounts.get(key, 0) + amount
        if total:
            self._amounts[key] = total
        else:
            self._amounts.pop(key, None)

    def enter(self, account: Account) -> None:
        """Everything that the account holds counts from now on, in its present class."""
        self.add(account, ((a, amount) for bucket in account.buckets.values() for a, amount in bucket.balances.items()))

    def enter_resting(self, accounts: Iterable[Glance]) -> None:
        """As `enter`, of accounts at rest."""
        found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for each in accounts:
            segregation = each.account.segregation
            for row in each.buckets.values():
                for asset, text in row.balances.items():
                    found[segregation, asset].append(text)
        for (segregation, asset), texts in found.items():
            self._add(segregation, asset, sum(map(parse, texts)))

    def leave(self, account: Account) -> None:
        """Nothing of the account counts any more: it is forgotten, or about to change its class."""
        self.add(
            account, ((a, -amount) for bucket in account.buckets.values() for a, amount in bucket.balances.items())
        )

    def amounts(self) -> dict[tuple[str, str], int]:
        """By class, then asset; what is zero is left out."""
        return dict(sorted(self._amounts.items()))
