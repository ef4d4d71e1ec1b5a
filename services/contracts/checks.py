"""What a message must satisfy beyond the shape of its type. Each check returns a refusal or None."""

from collections.abc import Callable
from typing import Any, Final

from services.contracts.decimals import ONE, is_zero, parse
from services.contracts.messages import Collateral, Fill, Instrument, Message, Price, Transfer, WeightTier
from services.contracts.refusals import Reason, Refusal

MAX_RATE: Final = ONE
POSITIVE_OR_ZERO_REASONS: Final = frozenset({"move", "lock", "unlock"})


def check_fill(fill: Fill) -> Refusal | None:
    if not _is_positive(fill.quantity):
        return Refusal(Reason.QUANTITY_NOT_POSITIVE, f"quantity {fill.quantity}")
    if not _is_positive(fill.price) and (fill.exec_type != "settlement" or parse(fill.price) < 0):
        return Refusal(Reason.PRICE_NOT_POSITIVE, f"price {fill.price}")  # only a worthless option settles at 0
    return None


def _is_positive(text: str) -> bool:
    """Whether a well-formed decimal is above 0, without making the number."""
    return text[0] != "-" and not is_zero(text)


def check_transfer(transfer: Transfer) -> Refusal | None:
    if transfer.reason in POSITIVE_OR_ZERO_REASONS and parse(transfer.amount) < 0:
        return Refusal(Reason.AMOUNT_NOT_POSITIVE, f"{transfer.reason} of {transfer.amount}")
    if transfer.reason == "move" and transfer.to_bucket is None:
        return Refusal(Reason.MOVE_WITHOUT_TARGET, "a move needs to_bucket")
    return None


def check_price(price: Price) -> Refusal | None:
    if price.mark_price is None and price.implied_volatility is None and price.settlement_price is None:
        return Refusal(Reason.PRICE_MISSING, "neither mark_price nor implied_volatility nor settlement_price")
    if price.mark_price is not None and price.implied_volatility is None and is_zero(price.mark_price):
        return Refusal(Reason.PRICE_NOT_POSITIVE, f"mark_price {price.mark_price}")
    if price.index_price is not None and is_zero(price.index_price):
        return Refusal(Reason.PRICE_NOT_POSITIVE, f"index_price {price.index_price}")
    return None


def check_instrument(instrument: Instrument) -> Refusal | None:
    if instrument.kind == "option" and (instrument.strike is None or instrument.option_type is None):
        return Refusal(Reason.OPTION_INCOMPLETE, "an option needs strike and option_type")
    if instrument.kind in ("option", "future") and instrument.expiry_ms is None:
        return Refusal(Reason.EXPIRY_MISSING, f"a {instrument.kind} needs expiry_ms")
    for name in ("contract_size", "tick_size", "lot_size", "strike", "max_order_quantity"):
        text = getattr(instrument, name)
        if text is not None and parse(text) <= 0:
            return Refusal(Reason.OUT_OF_RANGE, f"{name} {text} is not positive")
    return _check_tiers(instrument)


def _check_tiers(instrument: Instrument) -> Refusal | None:
    floor, maintenance, initial = -1, 0, 0
    for tier in instrument.margin_tiers:
        next_floor = parse(tier.notional_floor)
        next_maintenance = parse(tier.maintenance_margin_rate)
        next_initial = next_maintenance if tier.initial_margin_rate is None else parse(tier.initial_margin_rate)
        if floor < 0 and next_floor != 0:
            return Refusal(Reason.TIERS_NOT_ASCENDING, "the first tier must start at 0")
        if next_floor <= floor or next_maintenance < maintenance or next_initial < initial:
            return Refusal(Reason.TIERS_NOT_ASCENDING, f"tier at {tier.notional_floor} is not above the one before")
        if not next_maintenance <= next_initial <= MAX_RATE:
            return Refusal(Reason.OUT_OF_RANGE, f"tier at {tier.notional_floor}: 0 <= maintenance <= initial <= 1")
        floor, maintenance, initial = next_floor, next_maintenance, next_initial
    return None


def check_collateral(collateral: Collateral) -> Refusal | None:
    return _check_weights(collateral.weight_tiers) or _check_weights(collateral.initial_weight_tiers)


def _check_weights(tiers: list[WeightTier] | None) -> Refusal | None:
    floor, weight = -1, MAX_RATE
    for tier in tiers or ():
        next_floor, next_weight = parse(tier.floor), parse(tier.weight)
        if floor < 0 and next_floor != 0:
            return Refusal(Reason.TIERS_NOT_ASCENDING, "the first weight tier must start at 0")
        if next_floor <= floor or next_weight > weight:
            return Refusal(
                Reason.TIERS_NOT_ASCENDING, f"weight tier at {tier.floor} must lie above, with no more weight"
            )
        floor, weight = next_floor, next_weight
    return None


CHECKS: Final[dict[type[Message], Callable[[Any], Refusal | None]]] = {
    Fill: check_fill,
    Transfer: check_transfer,
    Price: check_price,
    Instrument: check_instrument,
    Collateral: check_collateral,
}


def check(message: Message) -> Refusal | None:
    """The refusal of a well-formed message whose content is not possible, or None."""
    checker = CHECKS.get(type(message))
    return checker(message) if checker else None
