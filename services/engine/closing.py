"""Closing just enough: which position, how much of it, at what limit (margin.md "Closing just enough")."""

from fractions import Fraction
from math import isqrt
from typing import Final

from msgspec import Struct

from services.contracts.decimals import ONE
from services.engine.instruments import Spec, Tier
from services.engine.market import Market
from services.engine.settings import Settings
from services.engine.state import PositionKey
from services.engine.valuation import Amount, Leg, Valuation
from services.engine.worth import E36, E54, divides

PRICE_GRID: Final = 10**6  # prices without a tick are rounded to 12 decimals: 1e-18 · PRICE_GRID


class Close(Struct, frozen=True, kw_only=True):
    """A decided close; quantity e18 contracts, limit e18."""

    leg: Leg
    quantity: int
    limit: int
    stage: str
    attempt: int


def order_of_closing(valuation: Valuation, settings: Settings) -> list[Leg]:
    """Positions, first the one whose closing lowers the most MM for its cost N·price·(φ+σ); ties by id (README "Decisions", 2)."""

    def rank(leg: Leg) -> tuple[int, Fraction, PositionKey]:
        cost = leg.notional * leg.settle_price * (leg.spec.liquidation_fee_rate + settings.expected_slippage)
        return (1, -Fraction(leg.maintenance) / cost, leg.key) if cost else (0, Fraction(0), leg.key)

    return sorted(valuation.legs, key=rank) if len(valuation.legs) > 1 else list(valuation.legs)


def quantity_to_close(leg: Leg, valuation: Valuation, market: Market, settings: Settings, most_kept: Fraction) -> int:
    """Contracts (e18) whose closing brings the bucket to (1+b)·MM, lots, order limits and remainders respected; 0: none may.

    At most the share `most_kept` of the position stays. README "Decisions", 3.
    """
    spec, held = leg.spec, abs(leg.position.quantity)
    lot = spec.lot_size or 1
    remaining = min(most_kept, _largest_remainder(leg, valuation, market, settings))
    wanted = held - remaining.numerator * held // remaining.denominator
    return within_limits(spec, held, max(lot, -(-wanted // lot) * lot))


def within_limits(spec: Spec, held: int, quantity: int) -> int:
    """The venue's largest and smallest order; a remainder under the smallest is closed too, unless that is more than the largest."""
    lot = spec.lot_size or 1
    most = held if spec.max_order_quantity is None else min(held, spec.max_order_quantity // lot * lot)
    quantity = min(held, quantity, most)
    if spec.min_order_quantity is not None:
        quantity = min(held, max(quantity, spec.min_order_quantity))
        if held - quantity < spec.min_order_quantity and held <= max(most, spec.min_order_quantity):
            quantity = held
    return quantity


def _largest_remainder(leg: Leg, valuation: Valuation, market: Market, settings: Settings) -> Fraction:
    """The largest share r of the position that may stay: E - (1-r)·C >= (1+b)·[X + M(r)]; 0 where none may.

    C = N·P·(φ+σ), M(r) = P·requirement(r); walks the tiers down from the present one. g(f) >= 0 of margin.md "Closing just
    enough", with r = 1 - f. Amounts are in 1/E18 of the valuation's unit, where every term is an integer.
    """
    rate = leg.spec.liquidation_fee_rate + settings.expected_slippage
    cost = leg.notional * leg.settle_price * rate * ONE * ONE
    others, aim = valuation.maintenance - leg.maintenance, ONE + settings.hysteresis
    for piece in _pieces(leg, valuation, market):
        constant = valuation.equity * ONE - cost - aim * (others - piece.deduction)
        slope = cost - aim * piece.slope
        low, high, of = piece.low, piece.high, piece.of
        if constant * of + slope * high >= 0:
            return Fraction(high, of)
        if slope < 0 and constant * of >= -slope * low:
            return Fraction(constant) / -slope
    return Fraction(0)


class _Piece(Struct, frozen=True):
    """For a remaining share r in [low/of, high/of] the position requires slope·r - deduction, in the valuation's unit."""

    low: int
    high: int
    of: int
    slope: Amount
    deduction: int


def _pieces(leg: Leg, valuation: Valuation, market: Market) -> list[_Piece]:
    """From everything kept to nothing kept, the tiers downward. An option's requirement goes with its quantity."""
    spec, base = leg.spec, _base(leg, valuation)
    if spec.option is not None or not base:
        return [_Piece(0, 1, 1, leg.maintenance, 0)]
    unit, factor = E54 * valuation.divisor, market.multiplier(spec.instrument) * leg.settle_price
    tier = spec.tier_of(base, unit)
    fee = leg.maintenance - _tiered(tier, base, valuation) * factor
    pieces, high = [], base * ONE
    for each in reversed(spec.tiers[: spec.tiers.index(tier) + 1]):
        low = each.floor * unit
        slope = each.maintenance_rate * base * factor + fee
        pieces.append(
            _Piece(low, high, base * ONE, slope, each.maintenance_deduction * E36 * valuation.divisor * factor)
        )
        high = low
    return pieces


def _base(leg: Leg, valuation: Valuation) -> int:
    """The notional at the maintenance basis, 1/(E54·D) of the settlement asset."""
    return leg.position.open_cost * valuation.divisor if leg.spec.entry_basis else leg.notional


def _tiered(tier: Tier, base: int, valuation: Valuation) -> int:
    """m·N - c, 1/(E72·D)."""
    return tier.maintenance_rate * base - tier.maintenance_deduction * E36 * valuation.divisor


def limit_price(leg: Leg, earlier: int, valuation: Valuation, market: Market, settings: Settings) -> Fraction:
    """Near the mark while there is equity, outward with distress and with earlier orders of this distress. Not rounded.

    ABR and the sell limit of margin.md "Closing just enough" (dYdX v4 docs, "Fillable Price", is of this kind).
    """
    sign = 1 if leg.position.quantity > 0 else -1
    root = isqrt(settings.latency_ms * ONE * ONE // 1000) if settings.latency_ms > 0 else 0
    noise = settings.near_sigmas * market.sigma(leg.spec.instrument) * root  # e54
    distress, of = 1, 1
    if valuation.maintenance > 0:
        required, equity = valuation.maintenance.numerator, valuation.equity * valuation.maintenance.denominator
        of = required * ONE
        distress = min(of, max(0, of - equity * ONE + earlier * settings.attempt_step * required))
    away = (noise + settings.half_spread * ONE * ONE) * of + distress * settings.distress_range * ONE * ONE
    whole = of * ONE**3
    return Fraction(leg.mark * (whole - sign * away), whole * ONE)


def worst_price(leg: Leg, quantity: int, share: Fraction) -> Fraction | None:
    """The fee-inclusive price at which the closed slice uses its share of the equity, in the settlement asset; None: no price does.

    README "Decisions", 5: floor of a sell, its mirror of a buy, both also of an inverse contract.
    """
    mark, selling, taker = Fraction(leg.mark, ONE), leg.position.quantity > 0, Fraction(leg.spec.taker_fee_rate, ONE)
    size = Fraction(quantity * leg.spec.contract_size, E36)
    if divides(leg.spec):
        # In coin: a long is closed at size/P, a short at -size/P; the loss against the mark plus the fee is the share.
        bottom = size / mark + share if selling else size / mark - share
        return size * (1 + taker if selling else 1 - taker) / bottom if bottom > 0 else None
    value = mark * size - share if selling else mark * size + share
    return value / (size * (1 - taker if selling else 1 + taker))


def share_of_relief(relief: Fraction, leg: Leg, valuation: Valuation) -> Fraction:
    """max(0, equity)·ΔMM/MM in the settlement asset, ΔMM of a portfolio bucket's close as it was tried."""
    if valuation.equity <= 0 or valuation.maintenance <= 0 or not leg.settle_price:
        return Fraction(0)
    return Fraction(valuation.equity) * relief / valuation.maintenance * ONE / leg.settle_price


def share_of_equity(leg: Leg, quantity: int, valuation: Valuation, market: Market) -> Fraction:
    """max(0, equity)·ΔMM/MM in the settlement asset (margin.md "Closing just enough", limit price)."""
    if valuation.equity <= 0 or valuation.maintenance <= 0 or not leg.settle_price:
        return Fraction(0)
    held = abs(leg.position.quantity)
    relief = valuation.equity * _relief(leg, held - quantity, held, valuation, market) * ONE
    return Fraction(relief) / (valuation.maintenance * valuation.scale * leg.settle_price * held)


def _relief(leg: Leg, left: int, held: int, valuation: Valuation, market: Market) -> Amount:
    """`held` times what the requirement falls by when `left` of `held` contracts stay, in the valuation's unit."""
    spec, base = leg.spec, _base(leg, valuation)
    if spec.option is not None or not left or not base:
        return leg.maintenance * (held - left)
    unit, factor = E54 * valuation.divisor, market.multiplier(spec.instrument) * leg.settle_price
    fee = leg.maintenance - _tiered(spec.tier_of(base, unit), base, valuation) * factor
    tier = spec.tier_of(base * left, unit * held)
    rest = tier.maintenance_rate * base * left - tier.maintenance_deduction * E36 * valuation.divisor * held
    return leg.maintenance * held - rest * factor - fee * left


def reported_price(price: Fraction | None, spec: Spec, *, up: bool) -> int | None:
    """A liquidation or bankruptcy price on the tick toward safety, e18; None where there is none, or none left above zero."""
    if price is None or (not up and price * ONE < (spec.tick_size or PRICE_GRID)):
        return None
    return round_price(price, spec, up=up)


def round_price(price: Fraction, spec: Spec, *, up: bool) -> int:
    """The price on the tick (12 decimals where there is none), e18, at least one tick."""
    grid = spec.tick_size or PRICE_GRID
    numerator, denominator = price.numerator * ONE, price.denominator * grid
    steps = -(-numerator // denominator) if up else numerator // denominator
    return max(1, steps) * grid
