"""Buckets as their readers see them: the rows of `ringfence margin --json`."""

from fractions import Fraction

from services.contracts.decimals import ONE, to_text
from services.contracts.views import BucketView, PositionView
from services.engine.closing import reported_price
from services.engine.ledger import entry_price
from services.engine.lifecycle import Ladders
from services.engine.market import Market
from services.engine.state import Account, Bucket, PositionKey
from services.engine.valuation import Amount, Leg, Valuation, is_liquidatable
from services.engine.valuer import Valuer, holdings_of
from services.engine.worth import E36, divides, value_of

PRICE_PLACES = 12


def view_of(account: Account, bucket: Bucket, valuer: Valuer, ladders: Ladders, now_ms: int) -> BucketView:
    """The bucket at the last marks, grades and gates aside."""
    valuation = valuer.value_bucket(account, bucket, now_ms)
    known = valuation if isinstance(valuation, Valuation) else None
    equity = None if known is None else known.equity_e18()
    initial = None if known is None else known.requirement_e18(known.initial)
    maintenance = None if known is None else known.requirement_e18(known.maintenance)
    return BucketView(
        account=account.account, bucket=bucket.name, client=account.client or account.account, margin_mode=account.margin_mode if account.known else "",
        valuation_asset=account.valuation_asset or "", status=ladders.status_of(account, bucket, valuation) if account.known else "incomplete",
        equity=_text(equity), initial_margin=_text(initial), maintenance_margin=_text(maintenance),
        free_margin=_excess(known, initial=True), maintenance_excess=_excess(known, initial=False),
        liquidatable=known is not None and is_liquidatable(known, at_equal=ladders.settings.liquidate_at_equal),
        balances=_amounts(bucket.balances), locked=_amounts(bucket.locked),
        positions=[_position(account, bucket, key, valuer, known) for key in sorted(bucket.positions)],
        greeks=None if known is None else known.greeks, worst_scenario=None if known is None else known.worst_scenario,
    )  # fmt: skip


def _excess(valuation: Valuation | None, *, initial: bool) -> str | None:
    """equity less a requirement, rounded down once."""
    if valuation is None:
        return None
    requirement = valuation.initial if initial else valuation.maintenance
    return to_text(int((valuation.equity - requirement) // (valuation.scale // ONE)))


def _position(
    account: Account, bucket: Bucket, key: PositionKey, valuer: Valuer, valuation: Valuation | None
) -> PositionView:
    position = bucket.positions[key]
    leg = None if valuation is None else next(leg for leg in valuation.legs if leg.key == key)
    if leg is None or valuation is None or valuer.market.marks.get(key[0]) is None:  # an option that the model values
        return _unvalued(bucket, key, valuer.market)
    holdings = holdings_of(bucket)
    in_portfolio = valuation.greeks is not None
    unit = E36 * valuation.divisor
    return PositionView(
        instrument=key[0], quantity=to_text(position.quantity), entry_price=_entry(leg), mark_price=_price(Fraction(leg.mark, ONE)),
        notional=to_text(-(-leg.notional // unit)), unrealised_pnl=to_text(_unrealised(leg, valuation.divisor)),
        initial_margin=None if in_portfolio else _required(leg.initial, leg, valuation),
        maintenance_margin=None if in_portfolio else _required(leg.maintenance, leg, valuation),
        liquidation_price=_line(valuer.liquidation_price(account, holdings, key, valuation), leg),
        bankruptcy_price=_line(valuer.bankruptcy_price(account, holdings, key, valuation), leg), position_side=key[1],
    )  # fmt: skip


def _unvalued(bucket: Bucket, key: PositionKey, market: Market) -> PositionView:
    """What is known of a position although its bucket cannot be valued: what it cost, and its own mark."""
    position, spec, mark = bucket.positions[key], market.specs.get(key[0]), market.marks.get(key[0])
    leg = divisor = None
    if spec is not None and mark is not None:
        divisor = mark if divides(spec) else 1
        value = value_of(spec, position.quantity, mark, divisor)
        leg = Leg(key, spec, position, mark, value, abs(value), 0, 0, ONE)
    entry = None if spec is None else entry_price(spec, position)
    return PositionView(
        instrument=key[0], quantity=to_text(position.quantity), entry_price=None if entry is None else _price(Fraction(*entry)),
        mark_price=None if mark is None else _price(Fraction(mark, ONE)),
        notional=None if leg is None or divisor is None else to_text(-(-leg.notional // (E36 * divisor))),
        unrealised_pnl=None if leg is None or divisor is None else to_text(_unrealised(leg, divisor)),
        initial_margin=None, maintenance_margin=None, liquidation_price=None, bankruptcy_price=None, position_side=key[1],
    )  # fmt: skip


def _unrealised(leg: Leg, divisor: int) -> int:
    """Value now less what it cost, in the settlement asset, e18, rounded down."""
    cost = leg.position.open_cost * divisor
    long = leg.position.quantity > 0
    # A linear long cost `cost` and a short received it; an inverse long owes size/entry less what it owes now.
    signed = -cost if long else cost
    if leg.value * (1 if long else -1) < 0:  # inverse: the value of a long is negative
        signed = -signed
    return (leg.value + signed) // (E36 * divisor)


def _entry(leg: Leg) -> str | None:
    found = entry_price(leg.spec, leg.position)
    return None if found is None else _price(Fraction(*found))


def _required(amount: Amount, leg: Leg, valuation: Valuation) -> str:
    """A position's own requirement, in its settlement asset, rounded up."""
    unit = Fraction(valuation.unit_e18 * leg.settle_price, ONE)
    return to_text(-int(-Fraction(amount) / unit // 1)) if unit else "0"


def _price(price: Fraction) -> str:
    """To 12 decimals, half-even: for people, not for decisions."""
    return to_text(round(price * 10**PRICE_PLACES), PRICE_PLACES)


def _line(price: Fraction | None, leg: Leg) -> str | None:
    rounded = reported_price(price, leg.spec, up=leg.position.quantity > 0)
    return None if rounded is None else to_text(rounded)


def _text(amount: int | None) -> str | None:
    return None if amount is None else to_text(amount)


def _amounts(amounts: dict[str, int]) -> dict[str, str]:
    return {asset: to_text(amount) for asset, amount in sorted(amounts.items())}
