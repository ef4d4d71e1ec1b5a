"""A portfolio-mode bucket in the scenario model's terms (design: portfolio.md "Inputs"), and its result on the grid of 1e-8."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from services.contracts.decimals import to_text
from services.reference.curves import plain
from services.reference.greeks import net_greeks
from services.reference.holdings import Holdings, Incomplete, LegValuation, Market, Position, Valuation
from services.reference.rounding import exact
from services.reference.scenarios import (
    Collateral,
    Expiry,
    Option,
    ScenarioPreset,
    Underlying,
    contingencies,
    market_value,
    worst,
)  # fmt: skip
from services.reference.specs import Spec, Weight
from services.reference.valuation import asset_price, counted, nets, notional, position_value

GRID: Final = Fraction(1, 10**8)
GREEK_PLACES: Final = 12
NOISE: Final = (2.0**-50, 1e-10)  # relative and absolute: what double precision may lose in a sum
ZERO: Final = Fraction(0)


@dataclass(frozen=True)
class PortfolioModel:
    """The `PortfolioValuator` of the reference; `preset` finds a preset by name."""

    preset: Callable[[str], ScenarioPreset | None]

    def __call__(self, holdings: Holdings, market: Market, preset: str) -> Valuation:
        if not holdings.positions and not holdings.balances:
            return Valuation(ZERO, ZERO, ZERO, {})
        chosen = self.preset(preset)
        if chosen is None:
            raise Incomplete(f"no margin_preset {preset}")
        return value_portfolio(holdings, market, chosen)


@dataclass
class Parts:
    """One bucket, sorted out by underlying."""

    spots: dict[str, float] = field(default_factory=dict)
    perpetuals: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    options: dict[str, dict[int, list[tuple[Option, float, float]]]] = field(default_factory=dict)
    collaterals: dict[str, list[Collateral]] = field(default_factory=dict)
    other: list[Collateral] = field(default_factory=list)
    cash: float = 0.0


def value_portfolio(holdings: Holdings, market: Market, preset: ScenarioPreset) -> Valuation:
    """Raises `Incomplete` where a mark, a forward, a volatility or a collateral record is missing."""
    market = with_model_values(holdings, market)
    amounts = nets(holdings, market)
    prices = {asset: price_of(asset, plain(net), holdings, market) for asset, net in amounts.items()}
    parts = parts_of(holdings, market, prices)
    underlyings = underlyings_of(parts, market.now_ms)
    collaterals = [part for underlying in underlyings for part in underlying.collaterals] + parts.other
    haircut = sum(max(part.value, 0.0) * (1 - part.weight) for part in collaterals)
    initial_haircut = sum(max(part.value, 0.0) * (1 - part.initial_weight) for part in collaterals)
    full = parts.cash + sum(part.value for part in collaterals)
    full += sum(market_value(underlying) for underlying in underlyings)
    losses = [worst(underlying, preset) for underlying in underlyings]
    loss = sum(amount for amount, _ in losses)
    required = [contingencies(underlying, preset) for underlying in underlyings]
    maintenance = sum(amount for amount, _ in required)
    initial = maintenance + sum(amount for _, amount in required)
    equity = against_the_account(full - haircut)
    return Valuation(
        equity=equity,
        maintenance_margin=equity - against_the_account(full + loss * preset.mm_factor - maintenance - haircut),
        initial_margin=equity - against_the_account(full + loss * preset.im_factor - initial - initial_haircut),
        legs={position.leg: leg_of(position, market, prices) for position in holdings.positions},
        greeks={each.name: texts(net_greeks(each, preset)) for each in underlyings},
        worst_scenario=worst_id(underlyings, losses),
    )


def against_the_account(amount: float) -> Fraction:
    """The multiple of 1e-8 that is not above, unless one is missed by no more than the noise of a sum."""
    noisy = amount + max(abs(amount) * NOISE[0], NOISE[1])
    return Fraction(noisy) // GRID * GRID


def texts(greeks: Mapping[str, float]) -> dict[str, str]:
    """To the nearest 1e-12."""
    scale = 10**GREEK_PLACES
    return {
        name: to_text(math.floor(Fraction(value) * scale + Fraction(1, 2)), GREEK_PLACES)
        for name, value in greeks.items()
    }


def worst_id(underlyings: list[Underlying], losses: list[tuple[float, str | None]]) -> str | None:
    """Of the underlying that loses most, named before it where there are several."""
    losing = [(loss, index, name) for index, (loss, name) in enumerate(losses) if name is not None]
    if not losing:
        return None
    _, index, name = min(losing)
    return name if len(underlyings) == 1 else f"{underlyings[index].name}/{name}"


def with_model_values(holdings: Holdings, market: Market) -> Market:
    """An option with a volatility and without a premium has no mark: the model values it."""
    unmarked = {}
    for position in holdings.positions:
        record = market.records.get(position.instrument)
        has_volatility = record is not None and record.implied_volatility is not None
        if position.instrument not in market.marks and market.spec(position.instrument).is_option and has_volatility:
            unmarked[position.instrument] = ZERO
    return replace(market, marks={**market.marks, **unmarked})


def price_of(asset: str, net: Fraction, holdings: Holdings, market: Market) -> Fraction:
    """0 of an asset without record that is only held."""
    settles = any(market.spec(position.instrument).settlement == asset for position in holdings.positions)
    if asset != market.valuation_asset and asset not in market.collateral and net >= 0 and not settles:
        return ZERO
    return plain(asset_price(asset, market, net))


def leg_of(position: Position, market: Market, prices: Mapping[str, Fraction]) -> LegValuation:
    """No position has a requirement of its own."""
    spec, mark = market.spec(position.instrument), market.mark(position)
    return LegValuation(
        mark=mark, notional=notional(spec, position.quantity, mark), value=position_value(spec, position.quantity, mark),
        initial_margin=ZERO, maintenance_margin=ZERO, price=prices[spec.settlement],
    )  # fmt: skip


def parts_of(holdings: Holdings, market: Market, prices: Mapping[str, Fraction]) -> Parts:
    """Futures' value joins the balance that they settle in; options stay with the model."""
    parts = Parts()
    amounts: dict[str, Fraction] = dict(holdings.balances)
    for position in holdings.positions:  # sorted by instrument, then side
        spec, mark = market.spec(position.instrument), plain(market.mark(position))
        spot = None if spec.spot_instrument is None else market.marks.get(spec.spot_instrument)
        if spot is not None:
            parts.spots[spec.underlying] = float(plain(spot))
        elif not spec.is_option:
            parts.spots.setdefault(spec.underlying, float(mark))
        if spec.is_option:
            add_option(parts, position, spec, market, prices[spec.settlement])
            continue
        size = position.quantity * spec.size
        amount = size / mark if spec.inverse else size
        parts.perpetuals.setdefault(spec.underlying, []).append((float(amount), float(mark)))
        amounts[spec.settlement] = amounts.get(spec.settlement, ZERO) + plain(
            position_value(spec, position.quantity, mark)
        )
    for asset in sorted(amounts):
        add_asset(parts, asset, amounts[asset], market, prices)
    return parts


def add_option(parts: Parts, position: Position, spec: Spec, market: Market, settle_price: Fraction) -> None:
    record = market.records.get(position.instrument)
    if record is None or record.implied_volatility is None:
        raise Incomplete(f"no volatility of {position.instrument}")
    forward = exact(record.index_price) if record.index_price is not None else None
    if forward is None and spec.spot_instrument is not None and spec.spot_instrument in market.marks:
        forward = plain(market.marks[spec.spot_instrument])
    if forward is None:
        raise Incomplete(f"no forward of {position.instrument}")
    assert spec.strike is not None, "refused when decoded"
    assert spec.expiry_ms is not None, "refused when decoded"
    premium = None
    if record.mark_price is not None:
        premium = float(plain(market.mark(position)) * (settle_price if spec.inverse else 1))
    option = Option(
        is_call=spec.option_type == "call", strike=float(spec.strike), amount=float(position.quantity * spec.size),
        volatility=float(exact(record.implied_volatility)), premium=premium,
    )  # fmt: skip
    rate = 0.0 if record.interest_rate is None else max(0.0, float(exact(record.interest_rate)))
    parts.options.setdefault(spec.underlying, {}).setdefault(spec.expiry_ms, []).append((option, float(forward), rate))


def add_asset(parts: Parts, asset: str, amount: Fraction, market: Market, prices: Mapping[str, Fraction]) -> None:
    """Cash if it is the valuation asset and counts in full, else collateral: of an underlying that it hedges, or of none."""
    record = market.collateral.get(asset)
    in_full = (Weight(ZERO, Fraction(1)),)
    if asset == market.valuation_asset and (record is None or record.weights == record.initial_weights == in_full):
        parts.cash += float(amount)
        return
    if record is None:
        return
    part = Collateral(
        float(amount * prices[asset]), mean_weight(amount, record.weights), mean_weight(amount, record.initial_weights)
    )
    if record.hedges is None:
        parts.other.append(part)
        return
    parts.collaterals.setdefault(record.hedges, []).append(part)
    parts.spots.setdefault(record.hedges, float(prices[asset]))


def mean_weight(amount: Fraction, weights: tuple[Weight, ...]) -> float:
    """What is owed counts in full."""
    return float(plain(counted(amount, weights)) / amount) if amount > 0 else 1.0


def underlyings_of(parts: Parts, now_ms: int) -> list[Underlying]:
    """By name. An expiry has the forward and the rate of its first option; a spot price that nobody gives is the nearest forward."""
    found = []
    for name in sorted({*parts.perpetuals, *parts.options, *parts.collaterals}):
        expiries = tuple(
            Expiry(
                max(0.0, (expiry_ms - now_ms) / 1000),
                listed[0][1],
                listed[0][2],
                tuple(option for option, _, _ in listed),
            )
            for expiry_ms, listed in sorted(parts.options.get(name, {}).items())
        )
        spot = parts.spots.get(name) or expiries[0].forward
        found.append(
            Underlying(
                name, spot, tuple(parts.perpetuals.get(name, ())), expiries, tuple(parts.collaterals.get(name, ()))
            )
        )
    return found
