"""What is valued: a bucket's balances and positions as exact numbers, and the market that values them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol, TypeAlias

from services.contracts.messages import Price
from services.reference.curves import Number
from services.reference.specs import CollateralSpec, Spec

Leg: TypeAlias = tuple[str, str]  # instrument, position side


class Incomplete(Exception):
    """The bucket cannot be valued; says what is missing."""


@dataclass(frozen=True)
class Position:
    """`quantity` is signed, in contracts; `open_cost` is |quantity| at its entry price, in the settlement asset."""

    instrument: str
    side: str
    quantity: Fraction
    open_cost: Fraction

    @property
    def leg(self) -> Leg:
        return self.instrument, self.side

    @property
    def sign(self) -> int:
        return 1 if self.quantity > 0 else -1


@dataclass(frozen=True)
class Holdings:
    """One bucket. Positions are sorted by instrument and side, none has quantity 0."""

    balances: Mapping[str, Fraction]
    positions: tuple[Position, ...]

    def position(self, leg: Leg) -> Position | None:
        return next((position for position in self.positions if position.leg == leg), None)


@dataclass(frozen=True)
class Market:
    """Everything outside the bucket that its value depends on. Marks and indices by price id."""

    valuation_asset: str
    instruments: Mapping[str, Spec]
    collateral: Mapping[str, CollateralSpec]
    marks: Mapping[str, Number]
    indices: Mapping[str, Number]
    multipliers: Mapping[str, Fraction]
    records: Mapping[str, Price]  # the last accepted ones: volatilities and rates for a portfolio model
    now_ms: int
    # A doubtful price may stand elsewhere for one position, or for an asset (which depends on the sign of what is held).
    leg_marks: Mapping[Leg, Number]
    asset_ends: Mapping[str, tuple[Fraction, Fraction]]

    def with_mark(self, instrument: str, mark: Number) -> "Market":
        """The same with one mark moved: every leg of the instrument stands at it, and the assets that it prices."""
        legs = {leg: end for leg, end in self.leg_marks.items() if leg[0] != instrument}
        ends = {a: end for a, end in self.asset_ends.items() if self.collateral[a].price_instrument != instrument}
        return replace(self, marks={**self.marks, instrument: mark}, leg_marks=legs, asset_ends=ends)

    def spec(self, instrument: str) -> Spec:
        spec = self.instruments.get(instrument)
        if spec is None:
            raise Incomplete(f"no instrument {instrument}")
        return spec

    def mark(self, position: Position) -> Number:
        if position.leg in self.leg_marks:
            return self.leg_marks[position.leg]
        mark = self.price(position.instrument)
        if isinstance(mark, Fraction) and not mark and self.spec(position.instrument).price_is_coin_per_quote:
            raise Incomplete(f"an inverse contract has no value at a mark of 0: {position.instrument}")
        return mark

    def price(self, price_id: str) -> Number:
        mark = self.marks.get(price_id)
        if mark is None:
            raise Incomplete(f"no price of {price_id}")
        return mark


class PortfolioValuator(Protocol):
    """Values a portfolio-mode bucket by the preset that is named; raises `Incomplete` where it cannot."""

    def __call__(self, holdings: Holdings, market: Market, preset: str) -> "Valuation": ...


@dataclass(frozen=True)
class Valuation:
    """A bucket's numbers in its valuation asset, exact, with each position's share in its settlement asset."""

    equity: Number
    initial_margin: Number
    maintenance_margin: Number
    legs: Mapping[Leg, "LegValuation"]
    greeks: Mapping[str, Mapping[str, str]] | None = None
    worst_scenario: str | None = None

    @property
    def excess(self) -> Number:
        return self.equity - self.maintenance_margin


@dataclass(frozen=True)
class LegValuation:
    """One position, in its settlement asset; `price` turns that into the valuation asset, without weight."""

    mark: Number
    notional: Number
    value: Number
    initial_margin: Number
    maintenance_margin: Number
    price: Number
