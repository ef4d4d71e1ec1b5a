"""Effects as the lines of `ringfence replay --json`: plain dictionaries in the order in which their keys are printed."""

from typing import Any, Final

import msgspec
import orjson

from services.contracts.topics import BY_NAME
from services.contracts.views import BucketView
from services.engine.effects import Alarm, Cause, DeadLetter, Effect, Emit

ORDERS: Final = "liquidation-orders"
NET: Final = "net"


def effect_line(effect: Effect) -> dict[str, Any]:
    """`effect` and `cause`, then the message's own fields; a dead letter carries its refusal and the refused record."""
    match effect:
        case Emit():
            return {"effect": _name(effect.topic), "cause": _cause(effect.cause), **msgspec.to_builtins(effect.message)}
        case DeadLetter():
            return {"effect": "dead-letter", "cause": _cause(effect.cause), **refusal_fields(effect)}
        case Alarm():
            fields = msgspec.structs.asdict(effect) | {"cause": _cause(effect.cause), "name": effect.name.value}
            return {"effect": "alarm", **fields}


def refusal_fields(letter: DeadLetter) -> dict[str, Any]:
    """What the headers of a dead letter say, and the record itself; bytes outside UTF-8 become escapes."""
    record = letter.record
    return {
        "reason": letter.refusal.reason.value,
        "detail": letter.refusal.detail,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": None if record.key is None else _text(record.key),
        "value": _text(record.value),
    }


def bucket_line(view: BucketView) -> dict[str, Any]:
    """The row of `ringfence margin --json`. A position of a hedge-mode leg says last which side it is."""
    line: dict[str, Any] = msgspec.to_builtins(view)
    for position in line["positions"]:
        if position["position_side"] == NET:
            del position["position_side"]
    line["positions"].sort(key=lambda position: (position["instrument"], position.get("position_side", NET)))
    return line


def encode_line(line: dict[str, Any]) -> bytes:
    """One line of JSON Lines output."""
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _name(topic: str) -> str:
    """What an emitted message is called: its schema's name, "liquidation-order" for `liquidation-orders`."""
    return BY_NAME[topic].schema or topic


def _cause(cause: Cause) -> list[str | int]:
    return [cause.topic, cause.partition, cause.offset]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
