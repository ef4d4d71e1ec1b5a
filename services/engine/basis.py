"""What a bucket's numbers rest on, handed out for a second opinion."""

from collections.abc import Mapping
from fractions import Fraction

from msgspec import Struct

from services.contracts.messages import Instrument, Order
from services.engine.context import Context
from services.engine.state import COST_PLACES
from services.engine.valuer import Valuer


class Holding(Struct, frozen=True):
    """A position: signed contracts, and what it cost in the settlement asset."""

    instrument: str
    side: str
    quantity: Fraction
    open_cost: Fraction


class Basis(Struct, frozen=True, kw_only=True):
    """Ledger of one bucket and the market that it depends on, now. Amounts, prices and multipliers are e18."""

    valuation_asset: str
    margin_mode: str
    balances: Mapping[str, int]
    holdings: list[Holding]
    instruments: Mapping[str, Instrument]
    marks: Mapping[str, int]
    multipliers: Mapping[str, int]


class Bases:
    """Looks buckets up. Nothing in it changes the engine."""

    def __init__(self, context: Context, valuer: Valuer) -> None:
        self._context = context
        self._valuer = valuer

    def of(self, order: Order) -> Basis | None:
        """Of the bucket that an order was decided for just now; None of one that is only repeated: its numbers are older."""
        found = self._context.find((order.account, order.bucket))
        if found is None or found[0].valuation_asset is None:
            return None
        account, bucket = found
        known = bucket.orders.get(order.order_id)
        if known is None or known.confirmed:
            return None
        market = self._context.market
        names = {instrument for instrument, _ in bucket.positions}
        prices = {
            each: mark
            for each in self._valuer.dependencies(account, bucket)
            if (mark := market.marks.get(each)) is not None
        }
        return Basis(
            valuation_asset=found[0].valuation_asset, margin_mode=account.margin_mode, balances=dict(bucket.balances),
            holdings=[
                Holding(*key, Fraction(held.quantity, 10**18), Fraction(held.open_cost, 10**COST_PLACES))
                for key, held in bucket.positions.items()
            ],
            instruments={name: market.messages[name] for name in names if name in market.messages}, marks=prices,
            multipliers={name: market.multiplier(name) for name in names},
        )  # fmt: skip
