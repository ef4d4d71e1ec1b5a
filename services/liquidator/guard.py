"""Evidence of malfunction: what no correct monitor would order, however bad the market is. It halts; only a person clears it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.contracts.decimals import parse
from services.contracts.messages import Control, Order

MOST_POSITIONS: Final = 10_000  # whose attempts are counted; the oldest are forgotten first
Position = tuple[str, str, str, str]  # account, bucket, instrument, side


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found, and on whom. `name` is public: the alarm carries it."""

    name: str
    detail: str
    account: str
    bucket: str
    instrument: str

    def is_cleared_by(self, control: Control) -> bool:
        """Whether an operator's resume or clear speaks of it."""
        scopes = {"all": "*", "account": self.account, "instrument": self.instrument}
        return control.action in {"resume", "clear"} and scopes[control.scope] == control.target


@dataclass(slots=True)
class _Attempts:
    held: str  # the position as the orders stated it
    newest: int
    count: int


class Guard:
    """Looks at each order before it leaves. `max_futile_attempts` on a position that does not change are too many."""

    def __init__(self, max_futile_attempts: int) -> None:
        self._most = max_futile_attempts
        self._attempts: dict[Position, _Attempts] = {}

    def evidence(self, order: Order) -> Evidence | None:
        """Why the order must not leave; None for one that is all right."""
        found = _against_the_position(order) or _against_its_numbers(order) or self._futile(order)
        if found is None:
            return None
        return Evidence(*found, order.account, order.bucket, order.instrument)

    def forgive(self, evidence: Evidence) -> None:
        """A person looked at it: count anew."""
        for position in [each for each in self._attempts if each[:2] == (evidence.account, evidence.bucket)]:
            del self._attempts[position]

    def _futile(self, order: Order) -> tuple[str, str] | None:
        if order.stage == "convert":
            return None  # closes no position
        position = (order.account, order.bucket, order.instrument, order.position_side)
        known = self._attempts.pop(position, None)
        if known is None or known.held != order.position_quantity:
            known = _Attempts(order.position_quantity, order.attempt, 1)
        elif order.attempt > known.newest:
            known.newest, known.count = order.attempt, known.count + 1
        self._attempts[position] = known
        if len(self._attempts) > MOST_POSITIONS:
            del self._attempts[next(iter(self._attempts))]
        if known.count <= self._most:
            return None
        return "attempts_without_effect", f"{known.count} attempts, and the position is still {known.held}"


def _against_the_position(order: Order) -> tuple[str, str] | None:
    if order.stage == "convert":
        return None
    held, quantity = parse(order.position_quantity), parse(order.quantity)
    reduces = held > 0 if order.side == "sell" else held < 0
    if reduces and 0 < quantity <= abs(held):
        return None
    return "order_exceeds_position", f"{order.side} {order.quantity} of a position of {order.position_quantity}"


def _against_its_numbers(order: Order) -> tuple[str, str] | None:
    """Equity is rounded down and the requirement up, so a breach shows in the rounded numbers too."""
    equity, requirement = parse(order.equity), parse(order.maintenance_margin)
    is_sound = {"maintenance_breach": equity <= requirement, "negative_equity": equity < 0}.get(order.trigger, True)
    if is_sound:
        return None
    return (
        "order_not_justified",
        f"{order.trigger} at equity {order.equity} and maintenance margin {order.maintenance_margin}",
    )
