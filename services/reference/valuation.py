"""Equity and requirements of an isolated or cross bucket (design: margin.md; choices: services/engine/README.md).

Every function reads as its formula and takes fixed numbers or curves alike (see `curves.py`).
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from services.reference.curves import Number, larger, total
from services.reference.holdings import Holdings, Incomplete, Leg, LegValuation, Market, Position, Valuation
from services.reference.specs import ShortOption, Spec, Tier, Weight

ZERO: Final = Fraction(0)
ONE: Final = Fraction(1)


def position_value(spec: Spec, quantity: Fraction, mark: Number) -> Number:
    """q·size·mark; inverse -q·size/mark. In the settlement asset, against a balance that paid or received the cost."""
    if spec.price_is_coin_per_quote:
        return -(quantity * spec.size) / mark
    return quantity * spec.size * mark


def notional(spec: Spec, quantity: Fraction, mark: Number) -> Number:
    """|q|·size·mark; inverse |q|·size/mark. In the settlement asset."""
    if spec.price_is_coin_per_quote:
        return abs(quantity) * spec.size / mark
    return abs(quantity) * spec.size * mark


def nets(holdings: Holdings, market: Market) -> dict[str, Number]:
    """Per asset the balance plus the value of the positions that settle in it."""
    result: dict[str, Number] = dict(holdings.balances)
    for position in holdings.positions:
        spec = market.spec(position.instrument)
        value = position_value(spec, position.quantity, market.mark(position))
        result[spec.settlement] = result.get(spec.settlement, ZERO) + value
    return result


def asset_price(asset: str, market: Market, net: Number) -> Number:
    """In the valuation asset, without weight. `net` decides only at which end a doubtful price stands."""
    record = market.collateral.get(asset)
    if asset == market.valuation_asset or (record is not None and record.price_instrument is None):
        return ONE
    if record is None or record.price_instrument is None:
        raise Incomplete(f"no collateral record of {asset}")
    if asset in market.asset_ends:
        low, high = market.asset_ends[asset]
        return larger(high if net >= ZERO else low, record.price_floor)
    return larger(market.price(record.price_instrument), record.price_floor)


def counted(amount: Number, weights: tuple[Weight, ...]) -> Number:
    """W: each slice of a positive amount at its own weight; an amount owed counts in full."""
    if amount <= ZERO:
        return amount
    result: Number = ZERO
    for index, tier in enumerate(weights):
        if amount <= tier.floor:
            break
        above = weights[index + 1].floor if index + 1 < len(weights) else None
        top = amount if above is None or amount <= above else above
        result = result + tier.weight * (top - tier.floor)
    return result


def equity(holdings: Holdings, market: Market) -> Number:
    """Σ_a W_a(net)·price(a)."""
    return total(_equity_of(asset, net, market) for asset, net in _counting(holdings, market).items())


def _equity_of(asset: str, net: Number, market: Market) -> Number:
    record = market.collateral.get(asset)
    price = asset_price(asset, market, net)
    return (net if record is None else counted(net, record.weights)) * price


def _counting(holdings: Holdings, market: Market) -> dict[str, Number]:
    """The nets that count: an asset without record that is merely held counts nothing; owed or settling, it is incomplete."""
    settling = {market.spec(position.instrument).settlement for position in holdings.positions}
    result = {}
    for asset, net in nets(holdings, market).items():
        unrecorded = asset not in market.collateral and asset != market.valuation_asset
        if unrecorded and asset not in settling and net >= ZERO:
            continue
        if asset in settling or not (isinstance(net, Fraction) and net == ZERO):
            result[asset] = net
    return result


def tier_of(tiers: tuple[Tier, ...], boundary: str, amount: Number) -> Tier:
    """Upper: the last tier whose floor is at or below the notional; lower: strictly below. The first one for 0."""
    found = tiers[0]
    for tier in tiers[1:]:
        if tier.floor <= amount if boundary == "upper" else tier.floor < amount:
            found = tier
    return found


def tiered(tiers: tuple[Tier, ...], boundary: str, amount: Number) -> Number:
    """m_i·N - c_i, not clamped at 0."""
    tier = tier_of(tiers, boundary, amount)
    return tier.rate * amount - tier.deduction


def requirement(
    spec: Spec, position: Position, market: Market, bankruptcy: Fraction | None, *, initial: bool
) -> Number:
    """Initial or maintenance margin of one position in its settlement asset, the multiplier included.

    `bankruptcy` is the position's bankruptcy price, on which a close fee may be based.
    """
    multiplier = market.multipliers.get(spec.instrument, ONE)
    mark = market.mark(position)
    if spec.is_option:
        return multiplier * option_requirement(spec, position.quantity, mark, market, initial=initial)
    tiers = spec.initial_tiers if initial else spec.maintenance_tiers
    at_mark = notional(spec, position.quantity, mark)
    base = position.open_cost if spec.maintenance_basis == "entry" and not initial else at_mark
    return multiplier * (tiered(tiers, spec.tier_boundary, base) + close_fee(spec, position, at_mark, bankruptcy))


def close_fee(spec: Spec, position: Position, at_mark: Number, bankruptcy: Fraction | None) -> Number:
    """What closing is expected to cost, as far as the venue counts it in its requirement."""
    if spec.close_fee_basis == "mark":
        return spec.liquidation_fee * at_mark
    if spec.close_fee_basis == "bankruptcy" and bankruptcy is not None:
        return spec.liquidation_fee * notional(spec, position.quantity, bankruptcy)
    return ZERO


def option_requirement(spec: Spec, quantity: Fraction, mark: Number, market: Market, *, initial: bool) -> Number:
    """Long: nothing. Short: shares of the underlying's price, less what the option is out of the money."""
    if quantity > 0:
        return ZERO
    if spec.short_option is None:
        raise Incomplete(f"no option_margin of {spec.instrument}")
    return abs(quantity) * spec.size * _short_per_unit(spec, spec.short_option, mark, market, initial=initial)


def _short_per_unit(spec: Spec, shares: ShortOption, mark: Number, market: Market, *, initial: bool) -> Number:
    assert spec.strike is not None, "refused when decoded"
    underlying = _underlying_price(spec, market)
    is_call = spec.option_type == "call"
    moneyness = spec.strike - underlying if is_call else underlying - spec.strike
    out_of_the_money = larger(moneyness, ZERO)
    scale: Number = underlying
    if spec.inverse:  # the premium is in the coin: everything in shares of the underlying's price
        out_of_the_money, scale = out_of_the_money / underlying, ONE
    if initial:
        amount = larger(shares.initial * scale - out_of_the_money, shares.minimum * scale)
    else:
        amount = shares.maintenance * scale
    return amount if is_call else larger(amount, shares.put_mark * mark)


def _underlying_price(spec: Spec, market: Market) -> Number:
    """The forward of the option's own price record, else the mark of its spot instrument."""
    index = market.indices.get(spec.instrument)
    if index is not None:
        return index
    if spec.spot_instrument is None:
        raise Incomplete(f"no underlying price of {spec.instrument}")
    return market.price(spec.spot_instrument)


def evaluate(holdings: Holdings, market: Market, bankruptcy: Mapping[Leg, Fraction | None]) -> Valuation:
    """The bucket's numbers at the market's marks. `bankruptcy` holds the prices that close fees are based on."""
    counting = _counting(holdings, market)
    legs = {
        position.leg: _leg(position, market, counting, bankruptcy.get(position.leg)) for position in holdings.positions
    }
    liabilities, initial_haircuts = total_of_assets(counting, market)
    maintenance = liabilities + total(leg.maintenance_margin * leg.price for leg in legs.values())
    initial = liabilities + initial_haircuts + total(leg.initial_margin * leg.price for leg in legs.values())
    return Valuation(equity(holdings, market), initial, maintenance, legs)


def _leg(position: Position, market: Market, counting: dict[str, Number], bankruptcy: Fraction | None) -> LegValuation:
    spec, mark = market.spec(position.instrument), market.mark(position)
    return LegValuation(
        mark=mark,
        notional=notional(spec, position.quantity, mark),
        value=position_value(spec, position.quantity, mark),
        initial_margin=requirement(spec, position, market, bankruptcy, initial=True),
        maintenance_margin=requirement(spec, position, market, bankruptcy, initial=False),
        price=asset_price(spec.settlement, market, counting[spec.settlement]),
    )


def total_of_assets(counting: dict[str, Number], market: Market) -> tuple[Number, Number]:
    """Requirement on what is owed, and what the initial weights count less than the others (never negative)."""
    liabilities: Number = ZERO
    lost: Number = ZERO
    for asset, net in counting.items():
        record = market.collateral.get(asset)
        if record is None:
            continue
        price = asset_price(asset, market, net)
        if net < ZERO:
            liabilities = liabilities + record.liability_rate * -net * price
        lost = lost + (counted(net, record.weights) - counted(net, record.initial_weights)) * price
    return liabilities, larger(lost, ZERO)
