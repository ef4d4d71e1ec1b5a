"""The tiers of many positions side by side: bounds of their requirements, as `bounds._tiered`, of many notionals at once."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from services.engine.columns import Floats, Indices
from services.engine.terms import Slab

Bounded = tuple[Floats, Floats]  # at least, at most
_NONE: Final = Slab(np.inf, -np.inf, 0.0, 0.0, 0.0, 0.0)


class _Tier(Struct, frozen=True):
    """The slabs at one place of their ladders, for the positions whose instrument has so many; slope and constant of both margins."""

    of: Indices | slice
    first: Floats
    last: Floats
    maintenance: tuple[Floats, Floats]
    initial: tuple[Floats, Floats]


class SlabColumns:
    """Ladders of instruments, for positions by the place of theirs."""

    def __init__(self, ladders: Sequence[Sequence[Slab]], instruments: Indices) -> None:
        lengths = np.array(list(map(len, ladders)))
        self._tiers: list[_Tier] = []
        for place in range(int(lengths.max())):
            has = lengths[instruments] > place
            of = slice(None) if has.all() else np.flatnonzero(has)
            table = np.array([ladder[place] if place < len(ladder) else _NONE for ladder in ladders]).T.copy()
            first, last, slope, constant, initial, initial_constant = table[:, instruments[of]]
            self._tiers.append(_Tier(of, first, last, (slope, constant), (initial, initial_constant)))

    def requirements(self, low: Floats, high: Floats) -> tuple[Bounded, Bounded]:
        """Bounds of each position's maintenance and initial margin while its notional stays between `low` and `high`."""
        maintenance, initial = _nothing(low), _nothing(low)
        for tier in self._tiers:
            first, last = np.maximum(low[tier.of], tier.first), np.minimum(high[tier.of], tier.last)
            is_reached = first <= last
            for (least, most), (slope, constant) in ((maintenance, tier.maintenance), (initial, tier.initial)):
                at_least, at_most = least[tier.of], most[tier.of]
                least[tier.of] = np.where(is_reached, np.minimum(at_least, slope * first - constant), at_least)
                most[tier.of] = np.where(is_reached, np.maximum(at_most, slope * last - constant), at_most)
        return maintenance, initial


def _nothing(like: Floats) -> Bounded:
    return np.full_like(like, np.inf), np.full_like(like, -np.inf)
