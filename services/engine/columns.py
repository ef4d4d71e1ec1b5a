"""Buckets of many accounts side by side: what a drawing in bulk needs of each, without an object for any.

Names are numbers of the engine's life: a column outlives the rows that it was filled from.
"""

from collections.abc import Hashable, Iterable, Sequence, Sized
from itertools import chain, starmap
from typing import Final, NamedTuple, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from services.engine.glance import BucketGlance, Glance

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]
RUNGS: Final = ("healthy", "warning", "margin_call", "reduce_only")  # better first; other statuses are not plain
_RUNG: Final = {rung: place for place, rung in enumerate(RUNGS)}
_NO_RUNG: Final = -1

Name = TypeVar("Name", bound=Hashable)


class Kind(NamedTuple):
    """What a valuation depends on of an account."""

    segregation: str
    margin_mode: str
    valuation_asset: str | None


class Columns(Struct, frozen=True):
    """Buckets by account, positions by bucket; both in the order of the accounts."""

    accounts: int
    of: Indices  # bucket -> place of its account
    kinds: Indices  # by bucket
    cash: Floats  # in the valuation asset
    is_alone: Flags  # no other asset is held
    is_settled: Flags  # no positions, and the status that it will keep: no price moves it
    status: Indices  # place in `RUNGS`, or below 0
    held: Indices  # positions, by bucket
    keys: Indices  # by position
    quantities: Floats


class Numbers(dict[Name, int]):
    """A number for each name that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[Name] = []

    def __missing__(self, name: Name) -> int:
        self[name] = number = len(self.names)
        self.names.append(name)
        return number


class Columnist:
    """Fills columns, and knows what the numbers in them stand for."""

    def __init__(self) -> None:
        self._kinds: Numbers[tuple[str, str, str | None]] = Numbers()
        self.keys: Numbers[str] = Numbers()  # "INSTRUMENT|side"

    @property
    def kinds(self) -> list[Kind]:
        return list(starmap(Kind, self._kinds.names))

    def columns(self, accounts: Sequence[Glance]) -> Columns:
        owners = [each.account for each in accounts]
        kinds = [self._kinds[each.segregation, each.margin_mode, each.valuation_asset] for each in owners]
        of = np.repeat(np.arange(len(accounts)), _counts([each.buckets for each in accounts]))
        rows = list(chain.from_iterable([each.buckets.values() for each in accounts]))
        amounts = [
            row.balances.get(each.account.valuation_asset or "") for each in accounts for row in each.buckets.values()
        ]
        positions = [row.positions for row in rows]
        return Columns(
            accounts=len(accounts), of=of, kinds=np.array(kinds, dtype=np.int64)[of],
            cash=np.array([float(amount or 0) for amount in amounts], dtype=np.float64),
            is_alone=_counts([row.balances for row in rows]) == np.array([amount is not None for amount in amounts], dtype=np.int64),
            is_settled=np.array([not row.positions and is_settled(row) for row in rows], dtype=np.bool_),
            status=np.array([_RUNG.get(row.status, _NO_RUNG) for row in rows], dtype=np.int64),
            held=_counts(positions),
            keys=np.array(list(map(self.keys.__getitem__, chain.from_iterable(positions))), dtype=np.int64),
            quantities=np.array([each.quantity for held in positions for each in held.values()], dtype=np.float64),
        )  # fmt: skip


def _counts(each: Iterable[Sized]) -> Indices:
    return np.array(list(map(len, each)), dtype=np.int64)


def is_settled(row: BucketGlance) -> bool:
    """Whether a bucket of cash alone, or of nothing, has the status that it will keep: no price moves it."""
    expected = "healthy" if row.balances or row.locked else "closed"
    return row.status == expected and not any(amount.startswith("-") for amount in row.balances.values())


def joined(parts: Sequence[Columns]) -> Columns:
    """One after the other."""
    starts = np.cumsum([0, *(part.accounts for part in parts)])
    of = np.concatenate([part.of + start for part, start in zip(parts, starts, strict=False)])
    rest = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Columns.__struct_fields__[2:]}
    return Columns(accounts=int(starts[-1]), of=of, **rest)
