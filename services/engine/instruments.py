"""Instruments and collateral as the engine computes with them: messages turned into integers once."""

from typing import Final

from msgspec import Struct, structs

from services.contracts.decimals import ONE, parse
from services.contracts.messages import Collateral, Instrument, OptionMargin

DEFAULT_LIQUIDATION_FEE_RATE: Final = 5 * ONE // 10_000
TRADABLE: Final = frozenset({"trading", "cancel_only"})  # statuses under which an order may close
IMMUTABLE_FIELDS: Final = (
    "kind", "contract", "contract_size", "settlement_asset", "underlying", "expiry_ms", "strike", "option_type",
)  # fmt: skip


class Tier(Struct, frozen=True):
    """One tier: floor e18 (settlement asset), rates e18, deductions e36."""

    floor: int
    maintenance_rate: int
    maintenance_deduction: int
    initial_rate: int
    initial_deduction: int


class OptionTerms(Struct, frozen=True, kw_only=True):
    """What makes an instrument an option; strike e18. `margin` None: no requirement is defined outside portfolio mode."""

    is_call: bool
    strike: int
    margin: tuple[int, int, int, int] | None  # short initial, minimum, maintenance, put mark rates


class Spec(Struct, frozen=True, kw_only=True):
    """An instrument; all numbers e18 unless said. None where the venue gives no limit."""

    instrument: str
    kind: str
    inverse: bool
    underlying: str
    settlement_asset: str
    contract_size: int
    tiers: tuple[Tier, ...]
    upper_boundary: bool
    entry_basis: bool
    fee_basis: str
    liquidation_fee_rate: int
    taker_fee_rate: int
    tick_size: int | None
    lot_size: int | None
    min_order_quantity: int | None
    max_order_quantity: int | None
    max_price_age_ms: int | None
    max_price_move: int | None
    spot_instrument: str | None
    expiry_ms: int | None
    option: OptionTerms | None
    status: str
    insurance_pool: str | None
    offset: tuple[int, int]

    def tier_of(self, notional: int, unit: int) -> Tier:
        """The tier that holds `notional`, which is in units of 1/unit of the settlement asset."""
        scaled = notional * ONE
        for tier in reversed(self.tiers):
            floor = tier.floor * unit
            if scaled > floor or (scaled == floor and self.upper_boundary):
                return tier
        return self.tiers[0]


def spec_of(message: Instrument, offset: tuple[int, int]) -> Spec:
    """The compiled instrument; `offset` is [partition, offset] of its record, for the evidence of orders."""
    return Spec(
        instrument=message.instrument,
        kind=message.kind,
        inverse=message.contract == "inverse",
        underlying=message.underlying,
        settlement_asset=message.settlement_asset,
        contract_size=ONE if message.contract_size is None else parse(message.contract_size),
        tiers=_tiers(message),
        upper_boundary=message.tier_boundary != "lower",
        entry_basis=message.maintenance_basis == "entry",
        fee_basis=message.close_fee_basis or "none",
        liquidation_fee_rate=_number(message.liquidation_fee_rate, DEFAULT_LIQUIDATION_FEE_RATE),
        taker_fee_rate=_number(message.taker_fee_rate, 0),
        tick_size=_optional(message.tick_size),
        lot_size=_optional(message.lot_size),
        min_order_quantity=_optional(message.min_order_quantity),
        max_order_quantity=_optional(message.max_order_quantity),
        max_price_age_ms=message.max_price_age_ms,
        max_price_move=_optional(message.max_price_move),
        spot_instrument=message.spot_instrument,
        expiry_ms=message.expiry_ms,
        option=_option(message),
        status=message.status or "trading",
        insurance_pool=message.insurance_pool,
        offset=offset,
    )


def immutable_changes(old: Instrument, new: Instrument) -> list[str]:
    """The names of fields that differ although they may not once the instrument is used."""
    before, after = structs.asdict(old), structs.asdict(new)
    return [name for name in IMMUTABLE_FIELDS if _canonical(before[name]) != _canonical(after[name])]


def _canonical(value: object) -> object:
    return parse(value) if isinstance(value, str) and value[:1].isdigit() else value


def _option(message: Instrument) -> OptionTerms | None:
    if message.kind != "option":
        return None
    assert message.strike is not None, "checks.check_instrument refuses an option without a strike"
    return OptionTerms(
        is_call=message.option_type == "call",
        strike=parse(message.strike),
        margin=None if message.option_margin is None else _option_rates(message.option_margin),
    )


def _option_rates(margin: OptionMargin) -> tuple[int, int, int, int]:
    return (
        parse(margin.short_initial_rate),
        parse(margin.short_minimum_rate),
        parse(margin.short_maintenance_rate),
        _number(margin.put_mark_rate, 0),
    )


def _tiers(message: Instrument) -> tuple[Tier, ...]:
    """Tiers with derived deductions c_i = c_(i-1) + L_i·(m_i - m_(i-1)); a tier's own deduction replaces its c_i."""
    tiers: list[Tier] = []
    for tier in message.margin_tiers:
        floor, maintenance = parse(tier.notional_floor), parse(tier.maintenance_margin_rate)
        initial = maintenance if tier.initial_margin_rate is None else parse(tier.initial_margin_rate)
        below = tiers[-1] if tiers else Tier(0, maintenance, 0, initial, 0)
        own_maintenance, own_initial = tier.maintenance_deduction, tier.initial_deduction
        tiers.append(
            Tier(
                floor,
                maintenance,
                below.maintenance_deduction + floor * (maintenance - below.maintenance_rate)
                if own_maintenance is None
                else parse(own_maintenance) * ONE,
                initial,
                below.initial_deduction + floor * (initial - below.initial_rate)
                if own_initial is None
                else parse(own_initial) * ONE,
            )
        )
    return tuple(tiers)


class Asset(Struct, frozen=True, kw_only=True):
    """How an asset counts as collateral: marginal weights on the positive amount, price source, limits."""

    asset: str
    price_instrument: str | None
    weights: tuple[tuple[int, int], ...]  # (floor e18 units of the asset, weight e18), ascending
    initial_weights: tuple[tuple[int, int], ...] | None
    hedges: str | None
    liability_maintenance_rate: int
    conversion_instrument: str | None
    price_floor: int | None
    max_price_age_ms: int | None
    max_price_move: int | None
    offset: tuple[int, int]


FULL_WEIGHT: Final = ((0, ONE),)


def asset_of(message: Collateral, offset: tuple[int, int]) -> Asset:
    """The compiled collateral record."""
    initial = message.initial_weight_tiers
    return Asset(
        asset=message.asset,
        price_instrument=message.price_instrument,
        weights=FULL_WEIGHT
        if message.weight_tiers is None
        else tuple((parse(t.floor), parse(t.weight)) for t in message.weight_tiers),
        initial_weights=None if initial is None else tuple((parse(t.floor), parse(t.weight)) for t in initial),
        hedges=message.hedges,
        liability_maintenance_rate=_number(message.liability_maintenance_rate, 0),
        conversion_instrument=message.conversion_instrument,
        price_floor=_optional(message.price_floor),
        max_price_age_ms=message.max_price_age_ms,
        max_price_move=_optional(message.max_price_move),
        offset=offset,
    )


def _number(text: str | None, default: int) -> int:
    return default if text is None else parse(text)


def _optional(text: str | None) -> int | None:
    return None if text is None else parse(text)
