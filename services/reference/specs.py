"""Instruments and collateral with their defaults filled in and their numbers exact."""

from dataclasses import dataclass
from fractions import Fraction

from services.contracts.messages import Collateral, Instrument, MarginTier, WeightTier
from services.reference.rounding import exact


@dataclass(frozen=True)
class Tier:
    """From `floor` upward the requirement is rate·N - deduction."""

    floor: Fraction
    rate: Fraction
    deduction: Fraction


@dataclass(frozen=True)
class ShortOption:
    """Shares of the underlying's price that a short option requires."""

    initial: Fraction
    minimum: Fraction
    maintenance: Fraction
    put_mark: Fraction


@dataclass(frozen=True)
class Spec:
    """An instrument."""

    instrument: str
    kind: str
    inverse: bool
    underlying: str
    settlement: str
    size: Fraction
    status: str
    maintenance_tiers: tuple[Tier, ...]
    initial_tiers: tuple[Tier, ...]
    tier_boundary: str
    maintenance_basis: str
    close_fee_basis: str
    taker_fee: Fraction
    liquidation_fee: Fraction
    tick: Fraction | None
    lot: Fraction | None
    min_order: Fraction | None
    max_order: Fraction | None
    max_age_ms: int | None
    max_move: Fraction | None
    spot_instrument: str | None
    option_type: str | None
    strike: Fraction | None
    expiry_ms: int | None
    short_option: ShortOption | None
    insurance_pool: str | None

    @property
    def is_option(self) -> bool:
        return self.kind == "option"

    @property
    def price_is_coin_per_quote(self) -> bool:
        """Whether value goes with 1/price: inverse perpetuals and futures. An inverse option's premium is in the coin already."""
        return self.inverse and not self.is_option


@dataclass(frozen=True)
class Weight:
    """The slice of an amount from `floor` upward counts with `weight`."""

    floor: Fraction
    weight: Fraction


@dataclass(frozen=True)
class CollateralSpec:
    """How an asset counts. No weights: in full."""

    asset: str
    price_instrument: str | None
    weights: tuple[Weight, ...]
    initial_weights: tuple[Weight, ...]
    hedges: str | None
    liability_rate: Fraction
    conversion_instrument: str | None
    price_floor: Fraction
    max_age_ms: int | None
    max_move: Fraction | None


def optional(text: str | None) -> Fraction | None:
    return None if text is None else exact(text)


def rate(text: str | None) -> Fraction:
    return Fraction(0) if text is None else exact(text)


def spec_of(message: Instrument) -> Spec:
    margin = message.option_margin
    return Spec(
        instrument=message.instrument, kind=message.kind, inverse=message.contract == "inverse",
        underlying=message.underlying, settlement=message.settlement_asset,
        size=Fraction(1) if message.contract_size is None else exact(message.contract_size),
        status=message.status or "trading",
        maintenance_tiers=tiers(message.margin_tiers, initial=False),
        initial_tiers=tiers(message.margin_tiers, initial=True),
        tier_boundary=message.tier_boundary or "upper",
        maintenance_basis=message.maintenance_basis or "mark",
        close_fee_basis=message.close_fee_basis or "none",
        taker_fee=rate(message.taker_fee_rate), liquidation_fee=rate(message.liquidation_fee_rate or "0.0005"),
        tick=optional(message.tick_size), lot=optional(message.lot_size),
        min_order=optional(message.min_order_quantity), max_order=optional(message.max_order_quantity),
        max_age_ms=message.max_price_age_ms, max_move=optional(message.max_price_move),
        spot_instrument=message.spot_instrument,
        option_type=message.option_type, strike=optional(message.strike), expiry_ms=message.expiry_ms,
        short_option=None if margin is None else ShortOption(
            exact(margin.short_initial_rate), exact(margin.short_minimum_rate),
            exact(margin.short_maintenance_rate), rate(margin.put_mark_rate),
        ),
        insurance_pool=message.insurance_pool,
    )  # fmt: skip


def tiers(listed: list[MarginTier], *, initial: bool) -> tuple[Tier, ...]:
    """Deductions make the requirement continuous, c_i = c_(i-1) + L_i·(m_i - m_(i-1)), unless a tier brings its own."""
    result: list[Tier] = []
    for tier in listed:
        own = tier.initial_deduction if initial else tier.maintenance_deduction
        text = tier.initial_margin_rate if initial else None
        floor, share = exact(tier.notional_floor), exact(tier.maintenance_margin_rate if text is None else text)
        if own is not None:
            deduction = exact(own)
        elif result:
            deduction = result[-1].deduction + floor * (share - result[-1].rate)
        else:
            deduction = Fraction(0)
        result.append(Tier(floor, share, deduction))
    return tuple(result)


def collateral_of(message: Collateral) -> CollateralSpec:
    weights = weights_of(message.weight_tiers)
    return CollateralSpec(
        asset=message.asset, price_instrument=message.price_instrument, weights=weights,
        initial_weights=weights if message.initial_weight_tiers is None else weights_of(message.initial_weight_tiers),
        hedges=message.hedges, liability_rate=rate(message.liability_maintenance_rate),
        conversion_instrument=message.conversion_instrument, price_floor=rate(message.price_floor),
        max_age_ms=message.max_price_age_ms, max_move=optional(message.max_price_move),
    )  # fmt: skip


def weights_of(listed: list[WeightTier] | None) -> tuple[Weight, ...]:
    if listed is None:
        return (Weight(Fraction(0), Fraction(1)),)
    return tuple(Weight(exact(tier.floor), exact(tier.weight)) for tier in listed)
