"""The ledger of the Python peers: cash, quantities by instrument and the newest fill ids of an account, as JSON can hold them."""

from decimal import Decimal
from typing import Any

WINDOW = 256  # as the worker's engine.duplicate_window


def empty() -> dict[str, Any]:
    return {"cash": "0", "quantities": {}, "recent": []}


def apply(ledger: dict[str, Any], fill: dict[str, Any]) -> bool:
    """Enter the fill; False if its id was seen."""
    recent = ledger["recent"]
    if fill["fill_id"] in recent:
        return False
    recent.append(fill["fill_id"])
    if len(recent) > WINDOW:
        del recent[0]
    quantity = Decimal(fill["quantity"]) if fill["side"] == "buy" else -Decimal(fill["quantity"])
    ledger["cash"] = str(Decimal(ledger["cash"]) - quantity * Decimal(fill["price"]) - Decimal(fill["fee"]))
    quantities = ledger["quantities"]
    total = Decimal(quantities.get(fill["instrument"], "0")) + quantity
    if total:
        quantities[fill["instrument"]] = str(total)
    else:
        del quantities[fill["instrument"]]
    return True
