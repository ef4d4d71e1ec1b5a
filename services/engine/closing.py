"""Closing just enough: which position, how much of it, at what limit (margin.md "Closing just enough")."""

from fractions import Fraction
from math import isqrt
from typing import Final

from msgspec import Struct

from services.contracts.decimals import ONE
from services.engine.instruments import Spec
from services.engine.market import Market
from services.engine.settings import Settings
from services.engine.valuation import Leg, Valuation
from services.engine.worth import E36, E54, E108, divides

PRICE_GRID: Final = 10**6  # prices without a tick are rounded to 12 decimals: 1e-18 · PRICE_GRID


class Close(Struct, frozen=True, kw_only=True):
    """A decided close; quantity e18 contracts, limit e18, `missing` the deficit that it fixes, e18 of the valuation asset."""

    leg: Leg
    quantity: int
    limit: int
    stage: str
    attempt: int
    missing: int = 0


def order_of_closing(valuation: Valuation, settings: Settings) -> list[Leg]:
    """Positions, first the one whose closing lowers the most maintenance margin for its cost; ties by id."""

    def relief(leg: Leg) -> Fraction:
        cost = leg.notional * leg.settle_price * (leg.spec.liquidation_fee_rate + settings.expected_slippage)
        return Fraction(leg.maintenance) / cost if cost else Fraction(0)

    return sorted(valuation.legs, key=lambda leg: (-relief(leg), leg.key))


def quantity_to_close(leg: Leg, valuation: Valuation, market: Market, settings: Settings) -> int:
    """Contracts (e18) whose closing brings the bucket to (1+b)·MM: lots, order limits and remainders respected."""
    held = abs(leg.position.quantity)
    remaining = _largest_remainder(leg, valuation, market, settings)
    wanted = held - (remaining.numerator * held // remaining.denominator)
    return _within_limits(wanted, held, leg.spec)


def _largest_remainder(leg: Leg, valuation: Valuation, market: Market, settings: Settings) -> Fraction:
    """The largest share r of the position that may stay: E - (1-r)·C >= (1+b)·[X + M(r)]; 0 where none may.

    M(r) = μ·P·(m_i·B·r - c_i + F·r) on the tier i that holds B·r, B the notional at the maintenance basis, F the fee part.
    All in the valuation asset; walks the tiers down from the present one.
    """
    spec, scale = leg.spec, valuation.scale
    price = Fraction(leg.settle_price, ONE)
    charge = Fraction(market.multiplier(spec.instrument), ONE) * price
    equity = Fraction(valuation.equity, scale)
    others = (Fraction(valuation.maintenance) - leg.maintenance) / scale
    aim = 1 + Fraction(settings.hysteresis, ONE)
    notional = Fraction(leg.notional, E54 * valuation.divisor)
    cost = notional * price * Fraction(spec.liquidation_fee_rate + settings.expected_slippage, ONE)
    base, pieces = _requirement_pieces(leg, valuation, notional)
    fee = Fraction(leg.maintenance) / scale / charge - _at(pieces, base) if charge else Fraction(0)
    for floor, rate, deduction in reversed(pieces):
        if floor >= base:
            continue
        low, high = floor / base if base else Fraction(0), min(Fraction(1), _next_floor(pieces, floor) / base)
        constant = equity - cost - aim * (others - charge * deduction)
        slope = cost - aim * charge * (rate * base + fee)
        best = high if constant + slope * high >= 0 else (-constant / slope if slope < 0 else Fraction(-1))
        if low <= best <= high:
            return best
    return Fraction(0)


Piece = tuple[Fraction, Fraction, Fraction]  # floor of the notional, rate, deduction


def _requirement_pieces(leg: Leg, valuation: Valuation, notional: Fraction) -> tuple[Fraction, list[Piece]]:
    spec = leg.spec
    if spec.option is not None:
        rate = Fraction(leg.maintenance) / (valuation.scale * notional) if notional else Fraction(0)
        return notional, [(Fraction(0), rate, Fraction(0))]
    base = Fraction(leg.position.open_cost, E54) if spec.entry_basis else notional
    pieces = [
        (Fraction(t.floor, ONE), Fraction(t.maintenance_rate, ONE), Fraction(t.maintenance_deduction, E36))
        for t in spec.tiers
    ]
    return base, pieces


def _next_floor(pieces: list[Piece], floor: Fraction) -> Fraction:
    return min((piece[0] for piece in pieces if piece[0] > floor), default=Fraction(E108))


def _at(pieces: list[Piece], notional: Fraction) -> Fraction:
    found = [piece for piece in pieces if piece[0] <= notional][-1]
    return found[1] * notional - found[2]


def _within_limits(wanted: int, held: int, spec: Spec) -> int:
    lot = spec.lot_size or 1
    quantity = min(held, -(-wanted // lot) * lot)
    if spec.min_order_quantity is not None:
        quantity = min(held, max(quantity, spec.min_order_quantity))
        if held - quantity < spec.min_order_quantity:
            quantity = held
    if spec.max_order_quantity is not None and quantity > spec.max_order_quantity:
        quantity = max(lot, spec.max_order_quantity // lot * lot)
    return quantity


def limit_price(  # noqa: PLR0917 - each is a different thing, and the callers are few
    leg: Leg,
    quantity: int,
    attempt: int,
    valuation: Valuation,
    worst: Fraction | None,
    market: Market,
    settings: Settings,
) -> int:
    """Near the mark while there is equity, outward with distress and attempts, never worse than the slice's share of equity.

    `worst` is given for the last leg: its bankruptcy price stands for the share.
    """
    selling = leg.position.quantity > 0
    mark = Fraction(leg.mark, ONE)
    near = mark * (1 - _retreat(leg, attempt, valuation, market, settings) * (1 if selling else -1))
    if worst is None:
        worst = _fair_price(leg, quantity, valuation, mark, selling)
    if worst is not None:
        near = max(near, worst) if selling else min(near, worst)
    return round_price(near, leg.spec, up=selling)


def _retreat(leg: Leg, attempt: int, valuation: Valuation, market: Market, settings: Settings) -> Fraction:
    """κ·σ·√latency + half spread + ABR·range, as a share of the mark."""
    root = isqrt(settings.latency_ms * ONE * ONE // 1000)
    noise = Fraction(settings.near_sigmas * market.sigma(leg.spec.instrument) * root, ONE**3)
    distress = (
        1 - Fraction(valuation.equity) / Fraction(valuation.maintenance) if valuation.maintenance > 0 else Fraction(1)
    )
    distress += Fraction(settings.attempt_step, ONE) * (attempt - 1)
    distress = min(Fraction(1), max(Fraction(0), distress))
    return noise + Fraction(settings.half_spread, ONE) + distress * Fraction(settings.distress_range, ONE)


def _fair_price(leg: Leg, quantity: int, valuation: Valuation, mark: Fraction, selling: bool) -> Fraction | None:
    """The fee-inclusive price at which the closed slice uses its share equity·ΔMM/MM of the equity; None: no price does."""
    if valuation.maintenance <= 0 or not leg.settle_price:
        return None
    part = Fraction(quantity, abs(leg.position.quantity))
    share = Fraction(max(0, valuation.equity), valuation.scale) * part * leg.maintenance / valuation.maintenance
    share = share * ONE / leg.settle_price
    taker = Fraction(leg.spec.taker_fee_rate, ONE)
    size = Fraction(quantity * leg.spec.contract_size, E36)
    if divides(leg.spec):
        # In coin: a long is closed at size/P, a short at -size/P; the loss against the mark plus the fee is the share.
        bottom = size / mark + share if selling else size / mark - share
        return size * (1 + taker if selling else 1 - taker) / bottom if bottom > 0 else None
    value = mark * size - share if selling else mark * size + share
    return value / (size * (1 - taker if selling else 1 + taker))


def round_price(price: Fraction, spec: Spec, *, up: bool) -> int:
    """The price on the tick (12 decimals where there is none), e18, at least one tick."""
    grid = spec.tick_size or PRICE_GRID
    scaled = price * ONE / grid
    steps = -(-scaled.numerator // scaled.denominator) if up else scaled.numerator // scaled.denominator
    return max(1, steps) * grid
