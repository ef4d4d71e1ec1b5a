"""Whether a bucket is liquidatable under every reading of what is in doubt: the ledger's, and the prices'."""

from services.engine.context import Context
from services.engine.market import Overlay
from services.engine.state import Account, Bucket, Doubt, Position
from services.engine.valuation import Valuation, is_liquidatable
from services.engine.valuer import Valuer, holdings_of
from services.engine.worth import Holdings


def is_certain(context: Context, valuer: Valuer, account: Account, bucket: Bucket) -> bool:
    """True where no doubt could save the bucket. A doubt whose other reading nobody knows saves it."""
    doubts = account.doubts_of(bucket)
    if any(doubt.alternative is None for doubt in doubts):
        return False
    best = _best_prices(context, valuer, account, bucket)
    if not doubts and not best:
        return True
    readings = [
        holdings_of(bucket),
        *(_other_reading(bucket, [doubt]) for doubt in doubts),
        _other_reading(bucket, doubts),
    ]
    marks, now = Overlay(context.market.marks, best), context.now_of(account)
    valuations = [valuer.value(account, reading, now, marks) for reading in readings]
    return all(
        isinstance(valuation, Valuation) and is_liquidatable(valuation, at_equal=context.settings.liquidate_at_equal)
        for valuation in valuations
    )


def _best_prices(context: Context, valuer: Valuer, account: Account, bucket: Bucket) -> dict[str, int]:
    """For each doubtful price the end of its interval that favours the bucket."""
    market, now = context.market, context.now_of(account)
    best = {}
    for price_id in valuer.dependencies(account, bucket):
        if market.grade(price_id, now) == "valid" or market.marks.get(price_id) is None:
            continue
        low, high = market.book.interval(price_id, now)
        best[price_id] = max(1, high if _gains_from_rise(context, bucket, price_id) else low)
    return best


def _gains_from_rise(context: Context, bucket: Bucket, price_id: str) -> bool:
    """Long up, short down; collateral up, debt down."""
    held = sum(position.quantity for key, position in bucket.positions.items() if key[0] == price_id)
    if held:
        return held > 0
    assets = context.market.assets
    priced = [
        n for asset, n in bucket.balances.items() if asset in assets and assets[asset].price_instrument == price_id
    ]
    return sum(priced) >= 0


def _other_reading(bucket: Bucket, doubts: list[Doubt]) -> Holdings:
    """What the bucket would hold under the doubts' other readings."""
    balances = dict(bucket.balances)
    positions = {key: Position(held.quantity, held.open_cost) for key, held in bucket.positions.items()}
    for doubt in doubts:
        for kind, name, amount in doubt.alternative or ():
            if kind == "balance":
                balances[name] = balances.get(name, 0) + amount
                continue
            instrument, _, side = name.rpartition("|")
            held = positions.setdefault((instrument, side), Position(0, 0))
            held.quantity += amount
    return Holdings(balances, {key: held for key, held in positions.items() if held.quantity})
