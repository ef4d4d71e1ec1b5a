"""The test vectors of the order gate, written by hand: records in, verdicts out. `python -m tests.unit.order_gate.cases` writes them.

A step reads one record, or tells the gate what became of an order. The expected verdicts are what the contract asks for; nothing
here runs the gate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from services.contracts.codec import encode
from services.contracts.identifiers import order_id
from services.contracts.messages import Claim, Evidence, Order

FILE: Final = Path(__file__).resolve().parents[3] / "services" / "order_gate" / "vectors.json"
ABOUT: Final = (
    "Vectors of the order gate: what a consumer of liquidation-orders does with each record of one partition. A case has a "
    "partition, the count of partitions (null: accounts are not checked) and steps in order. A step with `read` gives the record's "
    "offset and value (an object, or a text that is no record), the reader's clock, and what it holds of the order's position "
    "(signed, in contracts): the gate must give `verdict`. A step with `told` is the order event that the engine published about an "
    "order it was let execute. `execute` and `supersede`: cancel what rests first (`cancel_resting`), then execute at most "
    "`quantity`. `answer`: publish `event`, execute nothing. `ignore` and `claim`: do nothing."
)
Json = dict[str, Any]


def an_order(**changed: Any) -> Json:
    """Sell the 0.5 of account `a` under the claim at offset 5, valid until 2,000."""
    bucket, instrument, attempt = (
        changed.get("bucket", "main"),
        changed.get("instrument", "BTC-PERP"),
        changed.get("attempt", 1),
    )
    message = Order(
        order_id=order_id(changed.get("account", "a"), bucket, instrument, attempt), epoch=5, account="a", client="c",
        bucket=bucket, instrument=instrument, position_side="net", side="sell", quantity="0.5", order_type="limit",
        time_in_force="ioc", limit_price="91000", reduce_only=True, cancel_resting="bucket", block_opening=True,
        valid_until_ms=2_000, stage="full", trigger="maintenance_breach", attempt=attempt, position_quantity="0.5",
        mark_price="91500", liquidation_price="91600", bankruptcy_price="90000", equity="150", maintenance_margin="152",
        projected_equity="150", projected_maintenance_margin="0", evidence=Evidence(), ts_ms=0,
    )  # fmt: skip
    return _json(msgspec.structs.replace(message, **changed))


def claim(offset: int) -> Json:
    value = _json(Claim(instance="w-1", nonce=f"n-{offset}", ts_ms=0))
    return {"read": {"offset": offset, "value": value}, "now_ms": 0, "position": "0", "verdict": {"action": "claim"}}


def read(value: Json | str, verdict: Json, *, offset: int = 6, now_ms: int = 1_000, position: str = "0.5") -> Json:
    return {"read": {"offset": offset, "value": value}, "now_ms": now_ms, "position": position, "verdict": verdict}


def told(order: Json, status: str, filled: str = "0", *, price: str | None = None, ts_ms: int = 1_100) -> Json:
    """The engine's order event."""
    echoed = {
        name: order[name] for name in ("order_id", "account", "bucket", "instrument", "attempt", "epoch", "quantity")
    }
    event = {**echoed, "status": status, "filled_quantity": filled, "ts_ms": ts_ms}
    return {"told": event if price is None else {**event, "average_price": price}}


def execute(quantity: str, *, again: bool = False, cancel: str = "bucket") -> Json:
    return {"action": "supersede" if again else "execute", "quantity": quantity, "cancel_resting": cancel}


def ignore(reason: str) -> Json:
    return {"action": "ignore", "reason": reason}


def answer(reason: str, status: str, filled: str = "0", *, epoch: int = 5, price: str | None = None) -> Json:
    """The event's fields that matter; the rest echoes the order, and its time is the reader's clock."""
    event = {"status": status, "filled_quantity": filled, "epoch": epoch}
    return {
        "action": "answer",
        "reason": reason,
        "event": event if price is None else {**event, "average_price": price},
    }


def case(name: str, *steps: Json, partition: int = 0, partitions: int | None = None) -> Json:
    return {"name": name, "partition": partition, "partitions": partitions, "steps": list(steps)}


def _json(message: Claim | Order) -> Json:
    decoded: Json = json.loads(encode(message))
    return decoded


SELL: Final = an_order()
VOID: Final = (
    case("an order of the latest claim executes", claim(5), read(SELL, execute("0.5"))),
    case("without a claim no order counts", read(SELL, ignore("stale_epoch"))),
    case("an order of an earlier claim does not count", claim(4), claim(5), read(an_order(epoch=4), ignore("stale_epoch"))),
    case("an order that names a claim which was not made does not count", claim(5), read(an_order(epoch=6), ignore("stale_epoch"))),
    case(
        "a late record of an old owner lands after the new claim", claim(5), read(SELL, execute("0.5")), claim(8),
        read(an_order(attempt=2), ignore("stale_epoch"), offset=9),
    ),
    case("what does not decode is ignored", claim(5), read("{", ignore("unreadable")), read("[]", ignore("unreadable"))),
    case("an order that lacks a field is ignored", claim(5), read({k: v for k, v in SELL.items() if k != "side"}, ignore("unreadable"))),
    case("an id that does not follow from its content does not count", claim(5), read({**SELL, "attempt": 2}, ignore("wrong_id"))),
    case("an account of another partition does not count", claim(5), read(SELL, ignore("wrong_partition")), partition=1, partitions=4),
    case("an account of this partition counts", claim(5), read(SELL, execute("0.5")), partition=0, partitions=4),
)  # fmt: skip
IDS: Final = (
    case(
        "an executed id is answered with what it did", claim(5), read(SELL, execute("0.5")), told(SELL, "filled", "0.5", price="91200"),
        read(SELL, answer("answered", "filled", "0.5", price="91200"), offset=7, position="0.5"),
    ),
    case(
        "an executed id is answered under a later epoch too", claim(5), read(SELL, execute("0.5")),
        told(SELL, "expired", "0.2", price="91200"), claim(8),
        read(an_order(epoch=8, quantity="0.3"), answer("answered", "expired", "0.2", price="91200"), offset=9, position="0.3"),
    ),
    case(
        "an id that ended unfilled is answered, not executed: its successor may be on its way", claim(5), read(SELL, execute("0.5")),
        told(SELL, "expired"), read(an_order(valid_until_ms=9_000), answer("answered", "expired"), offset=7),
        read(an_order(attempt=2), execute("0.5"), offset=8),
    ),
    case(
        "an id of which nothing executed is superseded under a later epoch", claim(5), read(SELL, execute("0.5")), claim(8),
        read(an_order(epoch=8, quantity="0.3", limit_price="90500"), execute("0.3", again=True), offset=9),
    ),
    case(
        "the same record twice is one order", claim(5), read(SELL, execute("0.5")), read(SELL, execute("0.5", again=True), offset=7),
        told(SELL, "filled", "0.5", price="91200"), read(SELL, answer("answered", "filled", "0.5", price="91200"), offset=8, position="0"),
    ),
    case(
        "an id that executed in part and still works is not superseded", claim(5), read(SELL, execute("0.5")),
        told(SELL, "partially_filled", "0.1", price="91200"), claim(8),
        read(an_order(epoch=8), answer("answered", "partially_filled", "0.1", price="91200"), offset=9, position="0.4"),
    ),
)  # fmt: skip
BOUNDS: Final = (
    case("an order is void from its validity on", claim(5), read(SELL, answer("expired", "expired"), now_ms=2_000)),
    case("an order is valid until just before", claim(5), read(SELL, execute("0.5"), now_ms=1_999)),
    case(
        "what expired here stays expired, whatever validity comes with it again", claim(5),
        read(SELL, answer("expired", "expired"), now_ms=2_000),
        read(an_order(valid_until_ms=9_000), answer("answered", "expired"), offset=7, now_ms=2_000),
    ),
    case(
        "a repeat that comes too late changes nothing about the order that is being executed", claim(5), read(SELL, execute("0.5")),
        read(SELL, ignore("expired"), offset=7, now_ms=2_000), told(SELL, "filled", "0.5", price="91200"),
        read(SELL, answer("answered", "filled", "0.5", price="91200"), offset=8, now_ms=2_000),
    ),
    case("never more than the position", claim(5), read(an_order(quantity="7"), execute("0.5"))),
    case("never more than the order", claim(5), read(an_order(quantity="0.000000000000000001"), execute("0.000000000000000001"))),
    case("without a position there is nothing to do", claim(5), read(SELL, answer("no_position", "rejected"), position="0")),
    case("a sell never opens or adds to a short", claim(5), read(SELL, answer("no_position", "rejected"), position="-0.5")),
    case("a buy never adds to a long", claim(5), read(an_order(side="buy"), answer("no_position", "rejected"))),
    case("a buy closes a short", claim(5), read(an_order(side="buy", quantity="1"), execute("0.5"), position="-0.5")),
    case(
        "two orders never close more than there is", claim(5), read(an_order(quantity="0.3"), execute("0.3")),
        read(an_order(attempt=2, quantity="0.3"), execute("0.2"), offset=7),
        read(an_order(attempt=3, quantity="0.3"), answer("no_position", "rejected"), offset=8),
    ),
    case(
        "what executed of the other is out of the position already", claim(5), read(an_order(quantity="0.3"), execute("0.3")),
        told(an_order(quantity="0.3"), "partially_filled", "0.1", price="91200"),
        read(an_order(attempt=2, quantity="0.3"), execute("0.2"), offset=7, position="0.4"),
    ),
    case(
        "the legs of a hedged account are bounded apart", claim(5), read(an_order(position_side="long"), execute("0.5")),
        read(an_order(attempt=2, position_side="short", side="buy"), execute("0.5"), offset=7, position="-0.5"),
    ),
    case("an isolated bucket cancels what rests of its instrument", claim(5),
         read(an_order(bucket="BTC-PERP", cancel_resting="instrument"), execute("0.5", cancel="instrument"))),
    case("a takeover is held to the same rules", claim(5), read(an_order(stage="takeover", quantity="7"), execute("0.5"))),
)  # fmt: skip
CASES: Final[Sequence[Json]] = (*VOID, *IDS, *BOUNDS)


def rendered() -> str:
    """The file: one step a line, so that a change shows as what it is."""
    lines = ["{", f'"about": {json.dumps(ABOUT)},', '"cases": [']
    for number, each in enumerate(CASES):
        head = {name: value for name, value in each.items() if name != "steps"}
        lines.append(json.dumps(head)[:-1] + ', "steps": [')
        lines.append(",\n".join(f"  {json.dumps(step)}" for step in each["steps"]))
        lines.append("]}" if number == len(CASES) - 1 else "]},")
    return "\n".join([*lines, "]}", ""])


if __name__ == "__main__":
    FILE.write_text(rendered(), encoding="utf-8")
