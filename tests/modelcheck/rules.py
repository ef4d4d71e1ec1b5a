"""The modelled rules, where the code keeps them, and what happens without them.

A rule that protects alone is taken out alone. Some come in pairs, two nets of which either holds: then taking out one of them must
change nothing within the bound, and taking out both must be caught.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.modelcheck import flush, orders
from tests.modelcheck.explore import Model

# Rule of the model -> the functions that keep it ("module:qualified name").
KEPT_BY: Final[dict[str, tuple[str, ...]]] = {
    # Only an order of the latest claim before it counts, for the venue and for every reader.
    "claim": ("services.order_gate.gate:OrderGate._why_void", "services.engine.engine:Engine._fold_liquidation_record"),
    # The id follows from account, bucket, instrument and attempt: who decides the same again names it the same.
    "ids": ("services.contracts.identifiers:order_id", "services.engine.orders:next_attempt"),
    # The venue answers an id that executed, or that ended unfilled, instead of executing it.
    "seen": ("services.order_gate.gate:OrderGate._answered",),
    "final": ("services.order_gate.gate:OrderGate._answered", "services.order_gate.gate:OrderGate.told"),
    # The venue never executes more than the position.
    "bound": ("services.order_gate.gate:OrderGate.room",),
    # Who takes over reads the orders log through his own claim, and the account topics to their ends, before he decides.
    "log": ("services.liquidator.ownership:Ownership.progressed", "services.liquidator.shard:Shard.caught_up"),
    # An order that was sent and not read back yet keeps its position busy.
    "confirm": ("services.engine.decisions:_busy",),
    # So does an issued one until the venue has said what became of it.
    "wait": ("services.engine.decisions:_busy", "services.engine.orders:fold_event"),
    # A send whose fate is unknown is followed by a new claim.
    "reclaim": ("services.liquidator.ownership:Ownership.lost", "services.liquidator.outbox:Outbox._replace_producer"),
    # Once one's own claim was read, what was not read back before it never counts: it is forgotten and decided anew.
    "forget": ("services.liquidator.ownership:Ownership._own_claim_read", "services.engine.engine:Engine.forget_unconfirmed"),
    # Only what was read back is stored as issued.
    "readback": ("services.engine.rows:encode_bucket", "services.engine.orders:read_back"),
    # An issued order without an answer is sent again.
    "resend": ("services.engine.finishing:Finishing._resend",),
    # The flush: an older epoch is fenced; the stored offsets must be those that it builds on; rows and offsets in one step.
    "epoch": ("services.adapters.redis_function:SOURCE", "services.adapters.redis_table:RedisTable.flush"),
    "previous": ("services.adapters.redis_function:SOURCE", "services.adapters.redis_table:RedisTable.flush"),
    "atomic": ("services.adapters.redis_function:SOURCE",),
    # A snapshot once taken is stored before the next is taken: taking it emptied the set of changed rows.
    "keep": ("services.liquidator.storage:Storage._take",),
    # Offsets that one did not store: forget the shard and load it again.
    "reload": ("services.liquidator.storage:Storage._store_pending", "services.liquidator.worker:Worker._reload"),
}  # fmt: skip

_NOTHING: Final = orders.Bounds(workers=1, claims=1, crashes=0, rollbacks=0, errors=0, resends=0, unfilled=0, stores=0)
_CRASH: Final = _NOTHING._replace(claims=2, crashes=1, stores=1)
_ERROR: Final = _NOTHING._replace(claims=2, errors=1)
_TWO: Final = _NOTHING._replace(workers=2)


class Removal(NamedTuple):
    """Rules taken out, in a bound that shows it soon, and the beginning of what must be found; None: nothing."""

    rules: tuple[str, ...]
    bounds: orders.Bounds | flush.Bounds
    found: str | None

    def model(self) -> Model:
        """The protocol without the rules."""
        if isinstance(self.bounds, flush.Bounds):
            return flush.FlushProtocol(flush.RULES - set(self.rules), self.bounds)
        return orders.OrderProtocol(orders.RULES - set(self.rules), self.bounds)


CAUGHT: Final = (
    Removal(("seen",), _NOTHING._replace(resends=1), "an order id executed twice"),
    Removal(("final",), _NOTHING._replace(resends=1, unfilled=1), "liquidated twice"),
    Removal(("bound",), _NOTHING._replace(closes=1), "more than the position"),
    Removal(("confirm",), _NOTHING, "liquidated twice"),
    Removal(("wait",), _NOTHING, "liquidated twice"),
    Removal(("reclaim",), _ERROR, "stuck"),
    Removal(("forget",), _ERROR, "stuck"),
    Removal(("claim", "ids"), _TWO, "liquidated twice"),
    Removal(("log", "ids"), _TWO, "liquidated twice"),
    Removal(("readback", "resend"), _CRASH, "stuck"),
    Removal(("previous",), flush.Bounds(), "torn"),
    Removal(("atomic",), flush.Bounds(), "torn"),
    Removal(("keep",), flush.Bounds(), "torn"),
    Removal(("reload",), flush.Bounds(), "torn"),
)
HELD: Final = (
    Removal(("claim",), _TWO, None),
    Removal(("ids",), _TWO, None),
    Removal(("log",), _TWO, None),
    Removal(("readback",), _CRASH, None),
    Removal(("resend",), _CRASH, None),
    Removal(("epoch",), flush.Bounds(records=2), None),
)

REDUCED: Final[tuple[orders.Bounds | flush.Bounds, ...]] = (
    orders.Bounds(rollbacks=0, errors=0, resends=0, stores=0),
    orders.Bounds(claims=1, crashes=0, rollbacks=0, errors=0, stores=0),
    flush.Bounds(records=2),
)


def protocol(bounds: orders.Bounds | flush.Bounds) -> Model:
    """The whole protocol."""
    if isinstance(bounds, flush.Bounds):
        return flush.FlushProtocol(bounds=bounds)
    return orders.OrderProtocol(bounds=bounds, symmetric=True)
