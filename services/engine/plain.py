"""Which of many accounts are plain: the part of a drawing in bulk that knows what an instrument and an asset are.

Plain is what most buckets are: positions in linear contracts that settle in the valuation asset, one leg an instrument, and cash in
that asset alone, counted in full.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from services.engine.columns import Columns, Flags, Floats, Indices, Kind
from services.engine.context import Context
from services.engine.terms import Term, Terms
from services.engine.worth import E18_FLOAT

_NO_TERM: Final = -1
_OTHER: Final = -2  # an asset that nothing plain settles in


class Met(NamedTuple):
    """A term that positions have, and its mark."""

    instrument: str
    term: Term
    mark: float


def _met(keys: Indices, context: Context, terms: Terms) -> tuple[list[Met], Indices]:
    """The terms that these positions have, and the place of each one's, below 0 for none."""
    names, found = context.columnist.keys.names, list[Met]()
    places: dict[str, int] = {}
    by_key = np.full(len(names), _NO_TERM)
    for key in np.unique(keys).tolist():
        instrument = names[key].rpartition("|")[0]
        if instrument not in places:
            term, mark = terms.of(instrument), context.market.marks.get(instrument)
            places[instrument] = _NO_TERM
            if term is not None and mark:
                places[instrument] = len(found)
                found.append(Met(instrument, term, mark / E18_FLOAT))
        by_key[key] = places[instrument]
    return found, by_key[keys]


def _settlements(met: Sequence[Met], kinds: Sequence[Kind]) -> tuple[Indices, Indices]:
    """What each term settles in, last for a position without one, and what each kind is valued in: as numbers that compare."""
    numbers: dict[str | None, int] = {}
    own = [numbers.setdefault(each.term.asset, len(numbers)) for each in met]
    others = [numbers.get(kind.valuation_asset, _OTHER) for kind in kinds]
    return np.array([*own, _NO_TERM], dtype=np.int64), np.array(others, dtype=np.int64)


def _is_plain_kind(kind: Kind, terms: Terms) -> bool:
    asset = kind.valuation_asset
    return asset is not None and kind.margin_mode != "portfolio" and terms.counts_in_full(asset)


class Plain:
    """The buckets with positions of the accounts that are plain throughout; positions in the order of their instruments.

    `may`, by account: whether it is plain.
    """

    def __init__(self, columns: Columns, context: Context, terms: Terms) -> None:
        self.kinds: Sequence[Kind] = context.columnist.kinds
        self.met, places = _met(columns.keys, context, terms)
        order = np.argsort(places, kind="stable")
        instruments = places[order]
        of = np.repeat(np.arange(len(columns.held)), columns.held)[order]  # position -> bucket
        settled_in, valued_in = _settlements(self.met, self.kinds)
        is_refused = settled_in[instruments] != valued_in[columns.kinds[of]]
        # Two legs of one instrument: its price hurts both ways.
        is_refused[1:] |= (instruments[1:] == instruments[:-1]) & (of[1:] == of[:-1])
        is_plain = np.array([_is_plain_kind(kind, terms) for kind in self.kinds], dtype=np.bool_)[columns.kinds]
        is_plain &= columns.is_alone & np.where(columns.held > 0, columns.status >= 0, columns.is_settled)
        is_plain[of[is_refused]] = False
        self.may: Flags = np.full(columns.accounts, context.settings.gap_guard == "off")
        self.may[columns.of[~is_plain]] = False
        chosen = self.may[columns.of] & (columns.held > 0)
        numbers, held = np.cumsum(chosen) - 1, chosen[of]
        self.owners: Indices = columns.of[chosen]  # bucket -> place of its account
        self.cash: Floats = columns.cash[chosen]
        self.status: Indices = columns.status[chosen]
        self.kind: Indices = columns.kinds[chosen]  # place in `kinds`
        self.of: Indices = numbers[of[held]]  # position -> bucket
        self.instruments: Indices = instruments[held]
        self.sizes: Floats = columns.quantities[order][held] * self.by_position([each.term.size for each in self.met])

    def by_position(self, values: Sequence[float]) -> Floats:
        """A number of each term, for each position."""
        return np.array(values, dtype=np.float64)[self.instruments]
