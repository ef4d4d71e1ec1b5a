"""Price records by the hundred: the plain ones among them, read without the checks that are proved needless for all at once.

Most ticks of a feed look alike. `plain_ticks` reads the front of a stretch of them; the first record that it is not sure of ends
the front and is for `codec.decode`. What it gives, `decode` would accept, with the same fields; the other way round nothing is
promised. Two things are left to the caller: whether `instrument` and `source` are well-formed ids, and whether the mark is above 0.
"""

import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final

import msgspec
from msgspec import Struct

from services.contracts.codec import UNREADABLE
from services.contracts.decimals import is_zero
from services.contracts.messages import Count, Millis
from services.contracts.topics import BY_NAME

PRICES: Final = "prices"


class Tick(Struct):
    """A `Price` of which every text but its ids is checked. Fields and their order are those of `Price`: its bytes are compared.

    Volatility, rate and settlement price are for `decode`: a tick has none.
    """

    instrument: str
    ts_ms: Millis
    mark_price: str
    index_price: str | None = None
    implied_volatility: None = None
    interest_rate: None = None
    settlement_price: None = None
    sequence: Count | None = None
    source_epoch: Count | None = None
    source: str | None = None


NEEDED: Final = 3  # fields that are always set
_limit: Final = BY_NAME[PRICES].max_bytes
_decode: Final = msgspec.json.Decoder(Tick).decode
_encode_lines: Final = msgspec.json.Encoder().encode_lines
_optional: Final = [attrgetter(name) for name in ("index_price", "sequence", "source_epoch", "source")]
_are_numbers: Final = re.compile(r"(?:[0-9]{1,20}(?:\.[0-9]{1,18})? )*").fullmatch


def plain_ticks(values: Sequence[bytes]) -> list[Tick]:
    """The ticks of the longest front of `values` that it is sure of."""
    try:
        ticks = list(map(_decode, values))
    except UNREADABLE:
        ticks = list(_decodable(values))
        values = values[: len(ticks)]
    if _are_plain(values, ticks):
        return ticks
    for number, (value, tick) in enumerate(zip(values, ticks, strict=True)):
        if not _are_plain([value], [tick]):
            return ticks[:number]
    return ticks


def _decodable(values: Sequence[bytes]) -> Iterator[Tick]:
    for value in values:
        try:
            yield _decode(value)
        except UNREADABLE:
            return


def _are_plain(values: Sequence[bytes], ticks: Sequence[Tick]) -> bool:
    """Whether each of the ticks is what its bytes say and nothing else, and its numbers are numbers."""
    if not ticks:
        return True
    if max(map(len, values)) > _limit or not _has_nothing_else(values, ticks):
        return False
    indexes = [index for tick in ticks if (index := tick.index_price) is not None]
    if any(map(is_zero, indexes)):
        return False
    numbers = [tick.mark_price for tick in ticks] + indexes
    text = " ".join([*numbers, ""])
    return text.count(" ") == len(numbers) and _are_numbers(text) is not None


def _has_nothing_else(values: Sequence[bytes], ticks: Sequence[Tick]) -> bool:
    """Whether no record names a field twice, nests, or holds a byte that no field of its tick was read from.

    Either proof is for all at once. What equals the encoding of its tick has nothing else. And each field that is set came from a
    key of its own, each key is followed by a colon: no record has fewer colons than fields, so as many in all means as many in each.
    """
    text = b"\n".join([*values, b""])
    if text == _encode_lines(ticks):
        return True
    unset = sum(list(map(field, ticks)).count(None) for field in _optional)
    return text.count(b":") == len(ticks) * (NEEDED + len(_optional)) - unset
