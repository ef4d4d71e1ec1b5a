"""What is looked at of many accounts at rest at once: the few fields of their rows that all of them are asked for.

The rest of the rows is stepped over, not decoded, and no object that the garbage collector would walk is made. Quantities come as
floats: whoever uses them here only screens, and the rows stay what they are.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from services.engine.rows import TOPICS, check_versions

AT_ONCE: Final = 256  # accounts that are decoded together: so many stay in the processor's cache
_ARRAY_32: Final = b"\xdd"


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a record lies."""

    partition: int
    offset: int


class Holding(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A position without its cost."""

    quantity: float


class BucketGlance(msgspec.Struct, frozen=True, array_like=True, tag="b", gc=False):
    """As `rows.BucketRow`; of what makes an account stay awake only whether there is any."""

    version: int
    balances: dict[str, str]
    locked: dict[str, str]
    positions: dict[str, Holding]
    status: str
    attempts: msgspec.Raw
    orders: dict[str, msgspec.Raw]
    doubts: dict[str, msgspec.Raw]
    tries: dict[str, msgspec.Raw]
    defaulted: bool


class AccountGlance(msgspec.Struct, frozen=True, array_like=True, tag="a", gc=False):
    """As `rows.AccountRow`."""

    version: int
    known: bool
    provisional: bool
    client: msgspec.Raw
    segregation: str
    margin_mode: str
    margin_preset: msgspec.Raw
    valuation_asset: str | None
    first_seen_ms: int
    recent: msgspec.Raw
    parked: tuple[msgspec.Raw, ...]
    sequences: tuple[msgspec.Raw, ...]
    sequence_gap_since_ms: int | None
    time_ms: int
    touched_ms: int | None
    seen: dict[str, Place]


class Glance(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As `resting.Resting`."""

    partition: int
    account: AccountGlance
    buckets: dict[str, BucketGlance]


_decoder: Final = msgspec.msgpack.Decoder(list[Glance], strict=False)  # amounts are text, and may become floats


def glances(bodies: Sequence[bytes]) -> Iterator[list[Glance]]:
    """Accounts as `resting` packs them, in order, a few at a time: what is done with one list is best done before the next.

    Raises as `rows.decode_row` does, for all of a list.
    """
    for at in range(0, len(bodies), AT_ONCE):
        part = bodies[at : at + AT_ONCE]
        found = _decoder.decode(_ARRAY_32 + len(part).to_bytes(4, "big") + b"".join(part))
        versions = {each.account.version for each in found}
        versions.update(row.version for each in found for row in each.buckets.values())
        check_versions(versions)
        yield found


def newest_seen(accounts: Iterable[Glance]) -> dict[str, int]:
    """Topic -> offset of the last record that any of them saw."""
    newest: dict[str, int] = {}
    for each in accounts:
        for code, place in each.account.seen.items():
            if place.offset > newest.get(code, -1):
                newest[code] = place.offset
    return {TOPICS.get(code, code): offset for code, offset in newest.items()}
