"""Plain instruments as floats, for bounds of many buckets or of one that is looked at often (bulk_boxes.py, plain_boxes.py).

Plain is a linear contract whose requirement depends on nothing but its own mark. What an instrument and its multiplier make of a
notional N within a tier is slope·N - constant, the fee and the multiplier in it.
"""

from typing import Final, NamedTuple

from msgspec import Struct

from services.engine.bounds import EDGE, ERROR
from services.engine.instruments import FULL_WEIGHT, Spec
from services.engine.market import Market, Multiplier
from services.engine.worth import E18_FLOAT, E36

NO_END: Final = float("inf")


class Slab(NamedTuple):
    """A tier: from which notional to which, both widened by `ERROR` of themselves; slope and constant of each requirement."""

    first: float
    last: float
    maintenance: float
    maintenance_off: float
    initial: float
    initial_off: float


class Term(Struct, frozen=True):
    """A plain instrument. `size` of one contract; `weight` of its notional in the magnitude."""

    asset: str
    size: float
    sigma: float
    weight: float
    slabs: tuple[Slab, ...]
    first_ends: float  # below it a notional is in the first slab alone
    spec: Spec
    multiplier: Multiplier | None


class Terms:
    """Those of the market, compiled when they are first met under an instrument's present record and multiplier."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._known: dict[str, Term] = {}

    def of(self, instrument: str) -> Term | None:
        """None for one that is not plain, or not known."""
        market, found = self._market, self._known.get(instrument)
        spec, multiplier = market.specs.get(instrument), market.multipliers.get(instrument)
        if found is not None and found.spec is spec and found.multiplier is multiplier:
            return found
        if spec is None or not _is_plain(spec):
            return None
        found = self._known[instrument] = self._compile(spec, multiplier)
        return found

    def counts_in_full(self, asset: str) -> bool:
        """Whether as a valuation asset it does, as in `worth_of`."""
        record = self._market.assets.get(asset)
        return record is None or (record.weights == FULL_WEIGHT and record.initial_weights is None)

    def _compile(self, spec: Spec, multiplier: Multiplier | None) -> Term:
        factor = self._market.multiplier(spec.instrument) / E18_FLOAT
        sigma, slabs = max(self._market.sigma(spec.instrument) / E18_FLOAT, EDGE), tuple(_slabs(spec, factor))
        return Term(
            spec.settlement_asset, spec.contract_size / E18_FLOAT, sigma, 3.0 + factor, slabs,
            slabs[1].first if len(slabs) > 1 else NO_END, spec, multiplier,
        )  # fmt: skip


def _is_plain(spec: Spec) -> bool:
    return spec.option is None and not spec.inverse and not spec.entry_basis and spec.fee_basis != "bankruptcy"


def _slabs(spec: Spec, factor: float) -> list[Slab]:
    fee = spec.liquidation_fee_rate / E18_FLOAT if spec.fee_basis == "mark" else 0.0
    ends = [tier.floor / E18_FLOAT * (1 + ERROR) for tier in spec.tiers[1:]]
    return [
        Slab(
            tier.floor / E18_FLOAT * (1 - ERROR), last, (tier.maintenance_rate / E18_FLOAT + fee) * factor,
            tier.maintenance_deduction / E36 * factor, (tier.initial_rate / E18_FLOAT + fee) * factor,
            tier.initial_deduction / E36 * factor,
        )
        for tier, last in zip(spec.tiers, [*ends, NO_END], strict=True)
    ]  # fmt: skip
