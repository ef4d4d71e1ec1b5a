"""Fills, read at less than half the price of `codec.decode`: most look alike, and what they name is known already.

What `plain_fill` gives, `decode` would accept, with the same fields; the other way round nothing is promised. Left to the caller is
whether `account`, `instrument`, `bucket` and `fee_asset` are well-formed ids: what is found under them is known to be.
"""

import re
from typing import Final

import msgspec

from services.contracts.codec import UNREADABLE
from services.contracts.decimals import is_zero
from services.contracts.messages import Count, ExecType, Fill, Millis, PositionSide, Side
from services.contracts.strictness import holds_nothing_else
from services.contracts.topics import BY_NAME

FILLS: Final = "fills"


class PlainFill(Fill, frozen=True, kw_only=True):
    """A `Fill` whose texts are not checked while decoding: patterns cost more than all the rest. It names no order."""

    fill_id: str
    account: str
    instrument: str
    side: Side
    quantity: str
    price: str
    ts_ms: Millis
    bucket: str | None = None
    position_side: PositionSide | None = None
    fee: str | None = None
    fee_asset: str | None = None
    order_id: None = None
    exec_type: ExecType | None = None
    account_sequence: Count | None = None


_limit: Final = BY_NAME[FILLS].max_bytes
_decode: Final = msgspec.json.Decoder(PlainFill).decode
_NUMBER: Final = r"[0-9]{1,20}(?:\.[0-9]{1,18})?"
_is_well_formed: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:/@-]{{0,63}} {_NUMBER} {_NUMBER} -?{_NUMBER}").fullmatch


def plain_fill(value: bytes) -> PlainFill | None:
    """The fill, if it is sure of it."""
    if len(value) > _limit:
        return None
    try:
        fill = _decode(value)
    except UNREADABLE:
        return None
    fee = "0" if fill.fee is None else fill.fee
    if _is_well_formed(f"{fill.fill_id} {fill.quantity} {fill.price} {fee}") is None:
        return None
    if is_zero(fill.quantity) or is_zero(fill.price) or not holds_nothing_else(value, fill):
        return None
    return fill
