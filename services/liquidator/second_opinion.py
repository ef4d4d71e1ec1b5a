"""Every so many orders, the numbers that justify one are computed again by the independent reference."""

from __future__ import annotations

from collections.abc import Iterable

from services.contracts.codec import decode
from services.contracts.messages import Collateral, Order
from services.contracts.records import Record
from services.engine.basis import Basis
from services.reference.curves import plain
from services.reference.holdings import Holdings, Incomplete, Market, Position
from services.reference.roots import assess
from services.reference.rounding import from_e18, owned, required
from services.reference.specs import CollateralSpec, collateral_of, spec_of


class SecondOpinion:
    """`every` 0 asks for none. Portfolio buckets and options have none here: their reference needs more than a ledger and marks."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._collateral: dict[str, CollateralSpec] = {}
        self._seen = 0

    def read(self, records: Iterable[Record]) -> None:
        """How assets count as collateral, read on its own."""
        for record in records:
            message = decode("collateral", record.value) if record.topic == "collateral" else None
            if isinstance(message, Collateral):
                self._collateral[message.asset] = collateral_of(message)

    def is_due(self) -> bool:
        """Count one more order; whether it is one to look at: the first, and so on."""
        self._seen += 1
        return bool(self._every) and (self._seen - 1) % self._every == 0

    def differs(self, order: Order, basis: Basis) -> str | None:
        """What is different, if anything is."""
        kinds = {message.kind for message in basis.instruments.values()}
        if basis.margin_mode == "portfolio" or "option" in kinds:
            return None
        positions = [Position(each.instrument, each.side, each.quantity, each.open_cost) for each in basis.holdings]
        holdings = Holdings(
            {asset: from_e18(amount) for asset, amount in basis.balances.items()},
            tuple(sorted(positions, key=lambda position: position.leg)),
        )
        try:
            valuation = assess(holdings, self._market(basis))
        except Incomplete as missing:
            return f"by the reference the bucket cannot be valued: {missing}"
        ours = order.equity, order.maintenance_margin
        theirs = owned(plain(valuation.equity)), required(plain(valuation.maintenance_margin))
        return None if ours == theirs else f"equity and maintenance margin are {ours}, by the reference {theirs}"

    def _market(self, basis: Basis) -> Market:
        return Market(
            valuation_asset=basis.valuation_asset,
            instruments={name: spec_of(message) for name, message in basis.instruments.items()},
            collateral=self._collateral, marks={name: from_e18(mark) for name, mark in basis.marks.items()}, indices={},
            multipliers={name: from_e18(value) for name, value in basis.multipliers.items()},
            records={}, now_ms=0, leg_marks={}, asset_ends={},
        )  # fmt: skip
