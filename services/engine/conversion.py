"""Only debt and collateral are left: sell the most valuable collateral that can be sold, as much as the debt needs."""

from fractions import Fraction

from services.contracts.decimals import ONE
from services.engine.closing import Close, limit_price, round_price
from services.engine.context import Context
from services.engine.instruments import TRADABLE, Spec
from services.engine.orders import earlier_orders, next_attempt
from services.engine.state import Account, Bucket, Position
from services.engine.valuation import Leg, Valuation
from services.engine.worth import E36


def conversion(context: Context, account: Account, bucket: Bucket, valuation: Valuation) -> Close | None:
    """One order on the collateral's `conversion_instrument`: at most what is not locked, at most what the debt needs."""
    debt, choices = 0, []
    for asset, net in valuation.nets.items():
        value = net * valuation.prices[asset]
        if net < 0:
            debt -= value
        elif value > 0 and _conversion_spec(context, account, asset) is not None:
            choices.append((-value, asset))
    if not debt or not choices:
        return None
    asset = min(choices)[1]
    spec = _conversion_spec(context, account, asset)
    assert spec is not None, "chosen because it can be sold"
    lot = spec.lot_size or 1
    aim = debt * (ONE + context.settings.hysteresis)  # 1/(E90·D) of the valuation asset
    needed = Fraction(aim, valuation.prices[asset] * E36 * valuation.divisor * spec.contract_size)
    free = bucket.balances.get(asset, 0) - bucket.locked.get(asset, 0)
    quantity = min(free * ONE // spec.contract_size // lot * lot, -(-needed // lot) * lot)
    mark = context.market.marks.get(spec.instrument)
    if quantity <= 0 or mark is None:
        return None
    leg = Leg((spec.instrument, "net"), spec, Position(quantity, 0), mark, 0, 0, 0, 0, ONE)
    price = limit_price(leg, earlier_orders(bucket, spec.instrument), valuation, context.market, context.settings)
    limit = round_price(price, spec, up=True)
    return Close(
        leg=leg, quantity=quantity, limit=limit, stage="convert", attempt=next_attempt(bucket, spec.instrument)
    )


def _conversion_spec(context: Context, account: Account, asset: str) -> Spec | None:
    """The instrument on which the asset can be sold now."""
    record = context.market.assets.get(asset)
    if record is None or record.conversion_instrument is None:
        return None
    spec = context.market.specs.get(record.conversion_instrument)
    if spec is None or spec.status not in TRADABLE or context.market.marks.get(spec.instrument) is None:
        return None
    return spec if context.market.grade(spec.instrument, context.now_of(account)) == "valid" else None
