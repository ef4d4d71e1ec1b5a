"""Transfers between segregation classes, found by what both legs carry: one `reference`, or the other leg's id as reference.

The contract's transfer names no counter account. So what leaves one account and what enters another belong together if they are of
one asset, of opposite sign, and one's `reference` is the other's `reference` or `transfer_id`. A bounded window is remembered.
"""

from typing import Final, Literal

from services.contracts.decimals import parse
from services.contracts.messages import Transfer

BETWEEN_ACCOUNTS: Final = frozenset({"deposit", "withdrawal", "adjustment"})
Kind = Literal["id", "reference"]
Leg = tuple[Kind, str, str, bool]  # what the text is, the text, the asset, whether it came in


class Crossings:
    """Remembers the last legs by id and by reference."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._legs: dict[Leg, str] = {}

    def counterpart(self, transfer: Transfer) -> str | None:
        """The account that the transfer came from or went to, where its other leg was read before; it is remembered itself."""
        amount = parse(transfer.amount)
        if transfer.reason not in BETWEEN_ACCOUNTS or not amount:
            return None
        account, came_in, asset = transfer.account, amount > 0, transfer.asset
        found = self._legs.get(("reference", transfer.transfer_id, asset, not came_in))
        self._remember(("id", transfer.transfer_id, asset, came_in), account)
        if transfer.reference is not None:
            found = found or self._legs.get(("reference", transfer.reference, asset, not came_in))
            found = found or self._legs.get(("id", transfer.reference, asset, not came_in))
            self._remember(("reference", transfer.reference, asset, came_in), account)
        return found

    def _remember(self, leg: Leg, account: str) -> None:
        self._legs.pop(leg, None)
        self._legs[leg] = account
        if len(self._legs) > self._window:
            del self._legs[next(iter(self._legs))]
