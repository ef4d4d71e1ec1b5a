"""What transfers may not do: take what is locked, or bring funds of one segregation class into the other."""

from fractions import Fraction
from typing import Final

from services.contracts.messages import Transfer
from services.reference.rounding import exact
from services.reference.state import AccountBook, World

BETWEEN_ACCOUNTS: Final = ("deposit", "withdrawal", "adjustment")


def other_leg(world: World, transfer: Transfer) -> AccountBook | None:
    """The account at the other end: of what was read before, a transfer of the same asset and the other sign that names the same.

    By order of trust: it refers to this transfer's id; it has the same reference; this transfer refers to its id. Of several
    the last.
    """
    if not _counts(transfer):
        return None
    earlier = [leg for leg in reversed(world.legs) if leg.asset == transfer.asset and _sign(leg) != _sign(transfer)]
    for trust in range(3):
        for leg in earlier:
            if _ties(leg, transfer)[trust]:
                return world.accounts.get(leg.account)
    return None


def _ties(leg: Transfer, transfer: Transfer) -> tuple[bool, bool, bool]:
    return (
        leg.reference == transfer.transfer_id,
        leg.reference is not None and leg.reference == transfer.reference,
        leg.transfer_id == transfer.reference,
    )


def remember(world: World, transfer: Transfer) -> None:
    if _counts(transfer):
        world.legs.append(transfer)


def mixes_classes(book: AccountBook, other: AccountBook | None) -> bool:
    """Whether both are described, one as a client's, one as the house's."""
    if other is None or book.record is None or other.record is None:
        return False
    return (book.record.segregation or "client") != (other.record.segregation or "client")


def _counts(transfer: Transfer) -> bool:
    return transfer.reason in BETWEEN_ACCOUNTS and exact(transfer.amount) != Fraction(0)


def _sign(transfer: Transfer) -> int:
    return 1 if exact(transfer.amount) > 0 else -1
