"""The table of orders: each with its numbers, its evidence, and what became of it."""

from typing import Any, Final

import msgspec

from services.contracts.messages import Order, OrderEvent
from services.engine.effects import Cause
from services.report.grid import short

KEPT: Final = 2_500  # orders in the table, in their order
KEPT_FIRST: Final = 3_500  # up to which the first order of a bucket is kept although the table is full
FIELDS: Final = (
    "ts_ms", "account", "bucket", "client", "instrument", "position_side", "side", "stage", "trigger", "attempt",
    "quantity", "position_quantity", "limit_price", "mark_price", "liquidation_price", "bankruptcy_price", "equity",
    "maintenance_margin", "projected_equity", "projected_maintenance_margin", "cancel_resting", "valid_until_ms", "order_id",
    "epoch",
)  # fmt: skip


class Orders:
    """Decided orders as rows. An order that is sent again is one row, counted."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        self._buckets: set[tuple[str, str]] = set()
        self._seen: set[str] = set()
        self._recorded: set[str] = set()

    def decided(self, order: Order, cause: Cause, notional: float) -> bool:
        """Whether the order is new."""
        if order.order_id in self._seen:
            if (row := self._rows.get(order.order_id)) is not None:
                row["sent"] += 1
            return False
        self._seen.add(order.order_id)
        key = (order.account, order.bucket)
        first = key not in self._buckets
        self._buckets.add(key)
        if len(self._rows) < (KEPT_FIRST if first else KEPT):
            row = {name: getattr(order, name) for name in FIELDS}
            row |= {
                "cause": [cause.topic, cause.partition, cause.offset],
                "evidence": msgspec.to_builtins(order.evidence),
                "notional": short(notional),
                "sent": 1,
                "outcome": None,
            }
            self._rows[order.order_id] = row
        return True

    def recorded(self, order: Order) -> None:
        """An order that the recording holds."""
        self._recorded.add(order.order_id)

    def answered(self, event: OrderEvent) -> None:
        """The latest event of an order is its outcome."""
        row = self._rows.get(event.order_id)
        if row is not None:
            row["outcome"] = [event.status, event.filled_quantity, event.average_price, event.reason]

    def payload(self) -> dict[str, Any]:
        """Rows by column name, once; `total` counts those that were left out, too."""
        rows = list(self._rows.values())
        columns = [*FIELDS, "cause", "evidence", "notional", "sent", "outcome"]
        return {
            "columns": columns,
            "rows": [[row[name] for name in columns] for row in rows],
            "total": len(self._seen),
            "recorded": self._comparison(),
        }

    def _comparison(self) -> dict[str, int] | None:
        """How the ids of the recording's own orders compare; None where it holds none."""
        if not self._recorded:
            return None
        same = len(self._seen & self._recorded)
        return {
            "total": len(self._recorded),
            "same": same,
            "missing": len(self._recorded) - same,
            "extra": len(self._seen) - same,
        }
