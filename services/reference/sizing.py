"""How much of a position to close, and at what limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from services.engine.settings import Settings
from services.reference.curves import plain
from services.reference.holdings import Holdings, Leg, LegValuation, Market, Position, Valuation
from services.reference.order_limits import within_limits
from services.reference.portfolio_closing import PortfolioClose
from services.reference.roots import reported
from services.reference.rounding import down_to, from_e18, price_step, root_of_seconds, up_to
from services.reference.specs import Spec
from services.reference.valuation import ONE, ZERO, close_fee, tier_of, tiered

SMALLEST: Final = Fraction(1, 10**18)  # contracts, where an instrument has no lot


@dataclass(frozen=True)
class Closing:
    """The position under consideration in the projected bucket, and everything its close depends on."""

    holdings: Holdings
    market: Market
    valuation: Valuation
    position: Position
    bankruptcy: Fraction | None  # exact
    sigma: Fraction  # a square root of a second
    gap_losses: Mapping[Leg, Fraction]  # of every position, in the valuation asset; empty where the guard does not look
    earlier_orders: int  # of this distress, on this instrument
    settings: Settings
    portfolio: PortfolioClose | None = None  # decided by trying

    @property
    def spec(self) -> Spec:
        return self.market.spec(self.position.instrument)

    @property
    def leg(self) -> LegValuation:
        return self.valuation.legs[self.position.leg]

    @property
    def mark(self) -> Fraction:
        return plain(self.leg.mark)

    @property
    def equity(self) -> Fraction:
        return plain(self.valuation.equity)

    @property
    def maintenance(self) -> Fraction:
        return plain(self.valuation.maintenance_margin)


def cost_share(spec: Spec, settings: Settings) -> Fraction:
    """φ + σ: what closing costs, as a share of the notional."""
    return spec.liquidation_fee + from_e18(settings.expected_slippage)


def smallest_fraction(closing: Closing) -> Fraction:
    """The smallest f in [0, 1] with E - f·N·(φ+σ) >= (1+b)·[X + MM((1-f)·N)], tier by tier downward; 1 where none is."""
    price, requirement = plain(closing.leg.price), plain(closing.leg.maintenance_margin)
    cost = plain(closing.leg.notional) * price * cost_share(closing.spec, closing.settings)
    target = 1 + from_e18(closing.settings.hysteresis)
    others = closing.maintenance - requirement * price
    for piece in requirement_pieces(closing):
        at_none = closing.equity - target * (others + price * (piece.slope - piece.deduction))
        slope = target * price * piece.slope - cost
        if at_none + slope * piece.low >= 0:
            return piece.low
        if slope > 0 and -at_none / slope <= piece.high:
            return -at_none / slope
    return ONE


def gap_fraction(closing: Closing) -> Fraction:
    """The smallest f in [0, 1] with E - f·N·(φ+σ) >= (1+b)·(loss expected of the other positions + (1-f)·of this one); 1 where none is."""
    if not closing.gap_losses:
        return ZERO
    target = 1 + from_e18(closing.settings.hysteresis)
    missing = target * sum(closing.gap_losses.values()) - closing.equity
    cost = plain(closing.leg.notional) * plain(closing.leg.price) * cost_share(closing.spec, closing.settings)
    freed = target * closing.gap_losses[closing.position.leg] - cost
    if missing <= 0:
        return ZERO
    return missing / freed if freed > 0 and missing <= freed else ONE


@dataclass(frozen=True)
class RequirementPiece:
    """For f in [low, high] the position requires slope·(1-f) - deduction, in its settlement asset, multiplier included."""

    low: Fraction
    high: Fraction
    slope: Fraction
    deduction: Fraction


def requirement_pieces(closing: Closing) -> list[RequirementPiece]:
    """From nothing closed to everything closed, the tiers downward. An option's requirement goes with its quantity."""
    spec, position = closing.spec, closing.position
    at_mark = plain(closing.leg.notional)
    base = position.open_cost if spec.maintenance_basis == "entry" else at_mark
    if spec.is_option or base == 0:
        return [RequirementPiece(ZERO, ONE, plain(closing.leg.maintenance_margin), ZERO)]
    multiplier = closing.market.multipliers.get(spec.instrument, ONE)
    fee = plain(close_fee(spec, position, at_mark, closing.bankruptcy))
    current = spec.maintenance_tiers.index(tier_of(spec.maintenance_tiers, spec.tier_boundary, base))
    pieces = []
    top = base
    for tier in reversed(spec.maintenance_tiers[: current + 1]):
        slope = multiplier * (tier.rate * base + fee)
        pieces.append(RequirementPiece(1 - top / base, 1 - tier.floor / base, slope, multiplier * tier.deduction))
        top = tier.floor
    return pieces


def requirement_of_rest(closing: Closing, quantity: Fraction) -> Fraction:
    """The position's requirement after `quantity` contracts are closed, in its settlement asset."""
    left = 1 - quantity / abs(closing.position.quantity)
    if left == 0:
        return ZERO
    spec, position = closing.spec, closing.position
    if spec.is_option:
        return plain(closing.leg.maintenance_margin) * left
    at_mark = plain(closing.leg.notional)
    base = position.open_cost if spec.maintenance_basis == "entry" else at_mark
    fee = plain(close_fee(spec, position, at_mark, closing.bankruptcy))
    tiers = plain(tiered(spec.maintenance_tiers, spec.tier_boundary, base * left))
    return closing.market.multipliers.get(spec.instrument, ONE) * (tiers + fee * left)


def quantity_to_close(closing: Closing) -> Fraction:
    """Up to the lot, at most the position; then the venue's limits, and no remainder under its minimum."""
    if closing.portfolio is not None:
        return closing.portfolio.quantity
    spec, held = closing.spec, abs(closing.position.quantity)
    lot = spec.lot if spec.lot is not None else SMALLEST
    fraction = max(smallest_fraction(closing), gap_fraction(closing))
    return within_limits(spec, held, max(lot, up_to(fraction * held, lot)))


def share_of_equity(closing: Closing, quantity: Fraction) -> Fraction:
    """What the closed slice may use: max(0, equity)·ΔMM/MM, in the settlement asset."""
    price = plain(closing.leg.price)
    if closing.equity <= 0 or closing.maintenance <= 0 or not price:
        return ZERO
    if closing.portfolio is not None:
        return closing.equity * closing.portfolio.relief / closing.maintenance / price
    relief = (plain(closing.leg.maintenance_margin) - requirement_of_rest(closing, quantity)) * price
    return closing.equity * relief / closing.maintenance / price


def worst_price(closing: Closing, quantity: Fraction) -> Fraction | None:
    """The fee-inclusive price at which the slice has used its share; None: no price is too bad for it."""
    share, taker = share_of_equity(closing, quantity), closing.spec.taker_fee
    size = quantity * closing.spec.size
    sells = closing.position.quantity > 0
    if not closing.spec.price_is_coin_per_quote:
        worth = size * closing.mark
        if sells and taker >= 1:
            return None  # no price pays such a fee
        return (worth - share) / (size * (1 - taker)) if sells else (worth + share) / (size * (1 + taker))
    worth = size / closing.mark
    if sells:
        return size * (1 + taker) / (worth + share)
    return size * (1 - taker) / (worth - share) if worth > share else None


def near_price(mark: Fraction, sign: int, sigma: Fraction, share: Fraction, settings: Settings) -> Fraction:
    """From near the mark outward with distress: mark·(1 ∓ (κ·σ_s·√latency + half_spread + ABR·range)); sign 1 sells."""
    noise = from_e18(settings.near_sigmas) * sigma * root_of_seconds(settings.latency_ms)
    away = noise + from_e18(settings.half_spread) + share * from_e18(settings.distress_range)
    return mark * (1 - sign * away)


def distress_share(equity: Fraction, maintenance: Fraction, earlier_orders: int, settings: Settings) -> Fraction:
    """ABR = clamp(1 - E/MM + attempt_step·(orders before this one in the distress), 0, 1); 1 where nothing is required."""
    if maintenance <= 0:
        return ONE
    return min(ONE, max(ZERO, 1 - equity / maintenance + earlier_orders * from_e18(settings.attempt_step)))


def limit_price(closing: Closing, quantity: Fraction) -> Fraction:
    """Never worse than the slice's worst price (for the bucket's last leg: the bankruptcy price), else near; on the tick."""
    is_last = (
        closing.portfolio is None
        and len(closing.holdings.positions) == 1
        and quantity == abs(closing.position.quantity)
    )
    worst = closing.bankruptcy if is_last else worst_price(closing, quantity)
    share = distress_share(closing.equity, closing.maintenance, closing.earlier_orders, closing.settings)
    near = near_price(closing.mark, closing.position.sign, closing.sigma, share, closing.settings)
    step = price_step(closing.spec.tick)
    if closing.position.quantity > 0:
        return max(step, up_to(near if worst is None else max(worst, near), step))
    return max(step, down_to(near if worst is None else min(worst, near), step))


def takeover_price(closing: Closing) -> Fraction:
    """The reported bankruptcy price; the mark on its grid where there is none."""
    price = reported(closing.bankruptcy, closing.spec, closing.position)
    if price is not None:
        return price
    fallback = reported(closing.mark, closing.spec, closing.position)
    return fallback if fallback is not None else price_step(closing.spec.tick)
