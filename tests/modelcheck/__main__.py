"""The full bound: `python -m tests.modelcheck`. One line of figures at the end; exit 1 if a fault is found or a removal is not."""

from __future__ import annotations

import sys
import time
from typing import Final

from tests.modelcheck import flush, orders
from tests.modelcheck.explore import explore
from tests.modelcheck.rules import CAUGHT, HELD, KEPT_BY, REDUCED, protocol

INVARIANTS: Final = (
    "no order id executes twice", "no bucket is liquidated twice", "no more than the position is closed", "no bucket is stuck",
    "stored rows are the fold of the stored offsets", "all rows get stored in the end",
)  # fmt: skip
_PLAIN: Final = orders.Bounds(rollbacks=0, errors=0, resends=0, unfilled=0, stores=0)
# One after the other: faults of every kind in twos, threes and fours; all of them at once would not end.
FULL: Final[tuple[orders.Bounds | flush.Bounds, ...]] = (
    *REDUCED,
    orders.Bounds(rollbacks=0, resends=0),
    orders.Bounds(crashes=0, rollbacks=0, stores=0),
    _PLAIN._replace(claims=3, crashes=2),
    _PLAIN._replace(errors=2),
    _PLAIN._replace(unfilled=2),
    _PLAIN._replace(rollbacks=1, stores=2),
    _PLAIN._replace(rollbacks=1, stores=1, unfilled=1),
    _PLAIN._replace(errors=1, closes=1),
    flush.Bounds(records=3),
    flush.Bounds(records=2, owners=3),
)


def named(bounds: orders.Bounds | flush.Bounds) -> str:
    """What is in a bound, in words."""
    kind = "flush" if isinstance(bounds, flush.Bounds) else "orders"
    return f"{kind}: " + ", ".join(f"{count} {name}" for name, count in bounds._asdict().items() if count)


def main() -> int:
    started, states, faults = time.monotonic(), 0, 0
    for bounds in FULL:
        print(f"searching {named(bounds)}", file=sys.stderr)
        outcome = explore(protocol(bounds), progress="orders" if isinstance(bounds, orders.Bounds) else "flush")
        states += outcome.states
        faults += outcome.violation is not None
        print(f"{named(bounds)}: {outcome.told()}", flush=True)
    caught = 0
    for removal in CAUGHT:
        outcome = explore(removal.model())
        is_caught = outcome.violation is not None and outcome.violation.startswith(removal.found or "")
        caught += is_caught
        print(f"without {' and '.join(removal.rules)}: {outcome.told()}", flush=True)
    held = sum(explore(removal.model()).violation is None for removal in HELD)
    seconds = round(time.monotonic() - started)
    print(
        f"{states} states exhausted, {len(INVARIANTS)} invariants, {faults} faults, {len(KEPT_BY)} rules, "
        f"{caught} of {len(CAUGHT)} removals caught, {held} of {len(HELD)} second nets held, {seconds} s"
    )
    return 0 if not faults and caught == len(CAUGHT) and held == len(HELD) else 1


if __name__ == "__main__":
    sys.exit(main())
