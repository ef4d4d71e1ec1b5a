"""What JSON leaves to the reader, decided: nesting has a fixed bound, text is UTF-8, and no object names a field twice.

Parsers disagree about each of these (which of two equal keys counts, how deep is too deep), so a record that relies on one
could mean one thing here and another at the matching engine. The bounds do not depend on the caller's stack or on the
interpreter, so a replay refuses what the worker refused.
"""

import json
import re
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from services.contracts.messages import Message

MAX_DEPTH: Final = 32

_encode: Final = msgspec.json.Encoder().encode

_tokens: Final = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


class _Duplicate(Exception):
    """Carries the key that an object names twice."""


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise _Duplicate(key)
        seen.add(key)


# Numbers stay text: their value is of no interest here, and Python refuses to convert very long integers.
_walker: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_int=str, parse_float=str)


def nests_too_deeply(value: bytes) -> bool:
    """Whether arrays and objects nest deeper than `MAX_DEPTH`. Linear in the length, whatever the bytes are."""
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False
    depth, quoted = 0, False
    for token in _tokens.findall(value):
        if token == b'"':
            quoted = not quoted
        elif quoted or token[0] == 0x5C:
            continue
        elif token in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        else:
            depth -= 1
    return False


def is_utf8(value: bytes) -> bool:
    """Whether all of `value` is UTF-8, the fields that are ignored included."""
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def holds_nothing_else(value: bytes, message: Message) -> bool:
    """Whether one of two cheap proofs shows that `value` is its message and nothing besides, so that strictness has nothing to say.

    Each field that is set came from a key of its own and each key is followed by a colon, so as many colons as set fields leave
    no room for another key, nor for what would stand under it. And what equals the encoding of the message names each field once.
    """
    fields = astuple(message)
    return value.count(b":") == len(fields) - fields.count(None) or value == _encode(message)


def duplicate_key(value: bytes) -> str | None:
    """A key that one object of `value`, which is well-formed, names twice; None where there is none."""
    try:
        _walker.decode(value.decode())
    except _Duplicate as found:
        return str(found)
    return None
