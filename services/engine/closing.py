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
from services.engine.valuation import Leg, Valuation
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

    return sorted(valuation.legs, key=rank)


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

    C = N·P·(φ+σ), M(r) = P·requirement(r); all in the valuation asset; walks the tiers down from the present one.
    g(f) >= 0 of margin.md "Closing just enough", with r = 1 - f.
    """
    scale, price = valuation.scale, Fraction(leg.settle_price, ONE)
    equity = Fraction(valuation.equity, scale)
    others = (Fraction(valuation.maintenance) - leg.maintenance) / scale
    aim = 1 + Fraction(settings.hysteresis, ONE)
    notional = Fraction(leg.notional, E54 * valuation.divisor)
    cost = notional * price * Fraction(leg.spec.liquidation_fee_rate + settings.expected_slippage, ONE)
    for piece in _pieces(leg, valuation, market):
        constant = equity - cost - aim * (others - price * piece.deduction)
        slope = cost - aim * price * piece.slope
        if constant + slope * piece.high >= 0:
            return piece.high
        if slope < 0 and -constant / slope >= piece.low:
            return -constant / slope
    return Fraction(0)


class _Piece(Struct, frozen=True):
    """For a remaining share r in [low, high] the position requires slope·r - deduction, in its settlement asset."""

    low: Fraction
    high: Fraction
    slope: Fraction
    deduction: Fraction


def _pieces(leg: Leg, valuation: Valuation, market: Market) -> list[_Piece]:
    """From everything kept to nothing kept, the tiers downward. An option's requirement goes with its quantity."""
    spec, zero, one = leg.spec, Fraction(0), Fraction(1)
    base = _base(leg, valuation)
    required = _required(leg, valuation)
    if spec.option is not None or not base:
        return [_Piece(zero, one, required, zero)]
    multiplier = Fraction(market.multiplier(spec.instrument), ONE)
    fee = _fee(leg, valuation, multiplier)
    present = spec.tiers.index(_tier_at(spec, base))
    pieces, high = [], one
    for tier in reversed(spec.tiers[: present + 1]):
        low = Fraction(tier.floor, ONE) / base
        slope = multiplier * (Fraction(tier.maintenance_rate, ONE) * base + fee)
        pieces.append(_Piece(low, high, slope, multiplier * Fraction(tier.maintenance_deduction, E36)))
        high = low
    return pieces


def _base(leg: Leg, valuation: Valuation) -> Fraction:
    """The notional at the maintenance basis, in the settlement asset."""
    return (
        Fraction(leg.position.open_cost, E54)
        if leg.spec.entry_basis
        else Fraction(leg.notional, E54 * valuation.divisor)
    )


def _required(leg: Leg, valuation: Valuation) -> Fraction:
    """The position's maintenance margin in its settlement asset."""
    return Fraction(leg.maintenance) / valuation.scale * ONE / leg.settle_price if leg.settle_price else Fraction(0)


def _fee(leg: Leg, valuation: Valuation, multiplier: Fraction) -> Fraction:
    """The part of the requirement that is a close fee: what the tier does not explain."""
    if not multiplier:
        return Fraction(0)
    return _required(leg, valuation) / multiplier - _tiered(leg.spec, _base(leg, valuation))


def _tiered(spec: Spec, notional: Fraction) -> Fraction:
    tier = _tier_at(spec, notional)
    return Fraction(tier.maintenance_rate, ONE) * notional - Fraction(tier.maintenance_deduction, E36)


def _tier_at(spec: Spec, notional: Fraction) -> Tier:
    return spec.tier_of(notional.numerator, notional.denominator)


def limit_price(leg: Leg, earlier: int, valuation: Valuation, market: Market, settings: Settings) -> Fraction:
    """Near the mark while there is equity, outward with distress and with earlier orders of this distress. Not rounded.

    ABR and the sell limit of margin.md "Closing just enough" (dYdX v4 docs, "Fillable Price", is of this kind).
    """
    mark, sign = Fraction(leg.mark, ONE), 1 if leg.position.quantity > 0 else -1
    root = isqrt(settings.latency_ms * ONE * ONE // 1000) if settings.latency_ms > 0 else 0
    noise = Fraction(settings.near_sigmas * market.sigma(leg.spec.instrument) * root, ONE**3)
    distress = Fraction(1)
    if valuation.maintenance > 0:
        distress = (
            1 - Fraction(valuation.equity) / valuation.maintenance + earlier * Fraction(settings.attempt_step, ONE)
        )
        distress = min(Fraction(1), max(Fraction(0), distress))
    return mark * (
        1 - sign * (noise + Fraction(settings.half_spread, ONE) + distress * Fraction(settings.distress_range, ONE))
    )


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
    left = 1 - Fraction(quantity, abs(leg.position.quantity))
    before = _required(leg, valuation)
    after = before * left
    if leg.spec.option is None and left:
        multiplier = Fraction(market.multiplier(leg.spec.instrument), ONE)
        base = _base(leg, valuation)
        after = multiplier * (_tiered(leg.spec, base * left) + _fee(leg, valuation, multiplier) * left)
    return Fraction(valuation.equity) * (before - after) / valuation.maintenance


def reported_price(price: Fraction | None, spec: Spec, *, up: bool) -> int | None:
    """A liquidation or bankruptcy price on the tick toward safety, e18; None where there is none, or none left above zero."""
    if price is None or (not up and price * ONE < (spec.tick_size or PRICE_GRID)):
        return None
    return round_price(price, spec, up=up)


def round_price(price: Fraction, spec: Spec, *, up: bool) -> int:
    """The price on the tick (12 decimals where there is none), e18, at least one tick."""
    grid = spec.tick_size or PRICE_GRID
    scaled = price * ONE / grid
    steps = -(-scaled.numerator // scaled.denominator) if up else scaled.numerator // scaled.denominator
    return max(1, steps) * grid
