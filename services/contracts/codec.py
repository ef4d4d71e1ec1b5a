"""Bytes to messages and back. Decoding never raises: it answers a message or a named refusal."""

from typing import Any, Final

import msgspec

from services.contracts.checks import check
from services.contracts.messages import Message
from services.contracts.refusals import Reason, Refusal
from services.contracts.strictness import MAX_DEPTH, duplicate_key, holds_nothing_else, is_utf8, nests_too_deeply
from services.contracts.topics import TOPICS

DETAIL_LIMIT: Final = 200
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decoders: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    topic.name: msgspec.json.Decoder(topic.message) for topic in TOPICS if topic.message is not None
}
_encoder: Final = msgspec.json.Encoder()
_limits: Final = {topic.name: topic.max_bytes for topic in TOPICS}


def decode(topic: str, value: bytes) -> Message | Refusal:
    """The validated message of a record of `topic`, or why it is refused."""
    decoder = _decoders.get(topic)
    if decoder is None:
        return Refusal(Reason.UNKNOWN_TOPIC, printable(topic))
    if len(value) > _limits[topic]:
        return Refusal(Reason.RECORD_TOO_LARGE, f"{len(value)} bytes, at most {_limits[topic]}")
    try:
        message: Message = decoder.decode(value)
    except UNREADABLE as error:
        return _not_strict(value) or _unreadable(error)
    if not holds_nothing_else(value, message):
        refusal = _not_strict(value)
        if refusal is not None:
            return refusal
        key = duplicate_key(value)
        if key is not None:
            return Refusal(Reason.DUPLICATE_KEY, printable(key))
    return check(message) or message


def _not_strict(value: bytes) -> Refusal | None:
    """Comes before whatever else is wrong, so that the answer depends on no parser and no stack."""
    if nests_too_deeply(value):
        return Refusal(Reason.INVALID_JSON, f"nested deeper than {MAX_DEPTH}")
    return None if is_utf8(value) else Refusal(Reason.INVALID_JSON, "not UTF-8")


def _unreadable(error: Exception) -> Refusal:
    if isinstance(error, msgspec.ValidationError):
        return Refusal(Reason.INVALID_SCHEMA, printable(str(error)))
    if not isinstance(error, msgspec.DecodeError):
        raise error
    return Refusal(Reason.INVALID_JSON, printable(str(error)))


def encode(message: Message) -> bytes:
    """Compact JSON with the fields in their declared order: the bytes that ids, signatures and replays rely on."""
    return _encoder.encode(message)


def printable(text: str) -> str:
    """At most `DETAIL_LIMIT` characters, control characters replaced: safe for headers, logs and a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:DETAIL_LIMIT])
