"""What goes into the scenario model and what comes out of it.

Inputs are float64 (`float`), results are exact integers in units of 1e-18 of the bucket's valuation asset, quantised to
1e-8 against the account. A bucket is a sum over its underlyings; nothing nets between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Perpetual:
    """A perpetual or future. amount: signed, in units of the underlying. mark: its price, in the valuation asset.

    Its unrealised PnL is part of `Bucket.cash`: the exact ledger knows it, this model does not.
    """

    amount: float
    mark: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionLeg:
    """A position in one option. amount: signed, in units of the underlying. strike: positive.

    volatility: implied, 0.6 is 60 % a year. mark: premium per unit as published; None = valued by the model.
    """

    instrument: str
    is_call: bool
    strike: float
    amount: float
    volatility: float
    mark: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """The options of one expiry. forward: positive, the forward price of that day. rate: interest, a year; below 0 counts as 0.

    seconds_to_expiry: below 0 counts as 0; at and after expiry an option is worth what exercise would pay.
    """

    seconds_to_expiry: float
    forward: float
    rate: float
    legs: Sequence[OptionLeg]


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgingCollateral:
    """A collateral asset. Under an underlying it moves with its price; as `other_collateral` it stands still.

    value: full market value, negative when it is owed. weight, initial_weight: the part of the value that counts for
    maintenance and for initial margin (initial_weight = weight adds nothing on top). What is owed counts in full.
    """

    value: float
    weight: float
    initial_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Underlying:
    """All positions that follow one spot price. spot: positive, in the valuation asset."""

    name: str
    spot: float
    perpetuals: Sequence[Perpetual] = ()
    expiries: Sequence[Expiry] = ()
    collaterals: Sequence[HedgingCollateral] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """cash: balance in the valuation asset plus the unrealised PnL of perpetuals and futures, signed.

    In the ledger's cash model that is `balance + Σ quantity·size·mark` over them. Options are not part of it.
    """

    cash: float
    underlyings: Sequence[Underlying]
    other_collateral: Sequence[HedgingCollateral] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeks:
    """Net sensitivities to one underlying, integers in units of 1e-18, rounded to the nearest 1e-12.

    delta: units of the underlying, all its prices moving by the same amount. gamma: delta per unit of price.
    vega: value per 1.00 of volatility. theta: value per day that passes.
    """

    delta: int
    gamma: int
    vega: int
    theta: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioResult:
    """Amounts in units of 1e-18 of the valuation asset, multiples of 1e-8.

    equity and both excesses are rounded down (but for the noise of double precision), and each requirement is equity less its excess, so that the comparison
    `equity < maintenance_margin` is the comparison `maintenance_excess < 0`.
    worst_scenario: the id of the scenario that loses most (`Scenario.id`, or "basis"), None if none loses. With several
    underlyings it is that of the underlying that loses most: `BTC/0.82:up`. Equal losses: basis first, then file order.
    """

    equity: int
    initial_margin: int
    maintenance_margin: int
    maintenance_excess: int
    initial_excess: int
    worst_scenario: str | None
    greeks: dict[str, Greeks] = field(default_factory=dict)
