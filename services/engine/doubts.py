"""Whether a bucket is liquidatable under every reading of what is in doubt: the ledger's, and the prices'."""

from services.engine.context import Context
from services.engine.state import Account, Bucket, Doubt, Position
from services.engine.valuation import Valuation, is_liquidatable
from services.engine.valuer import Valuer, holdings_of
from services.engine.worth import Corner, Holdings, Incomplete, divides


class Judge:
    """Says whether a bucket is liquidatable beyond doubt."""

    def __init__(self, context: Context, valuer: Valuer) -> None:
        self._context = context
        self._valuer = valuer

    def breaches(self, account: Account, valuation: Valuation) -> bool:
        """At the marks as they are used: under its requirement, or within a gap of zero."""
        under = is_liquidatable(valuation, at_equal=self._context.settings.liquidate_at_equal)
        return under or self._context.gap.breaches(account, valuation)

    def is_liquidatable(self, account: Account, holdings: Holdings, valuation: Valuation) -> bool:
        """At the marks, and, where one of them is doubtful, at the corner that favours the bucket too."""
        if not self.breaches(account, valuation):
            return False
        corner = self._corner(account, holdings)
        if corner is None:
            return True
        if any(not mark and divides(self._context.market.specs[key[0]]) for key, mark in corner.legs.items()):
            return False  # an inverse short at a price of 0 is worth infinitely much
        favoured = self._valuer.value(account, holdings, self._context.now_of(account), corner)
        return isinstance(favoured, Valuation) and self.breaches(account, favoured)

    def is_certain(self, account: Account, bucket: Bucket) -> bool:
        """Liquidatable under every reading of the ledger; a doubt whose other reading nobody knows saves the bucket."""
        if any(doubt.alternative is None for doubt in bucket.doubts.values()):
            return False
        readings = [holdings_of(bucket), *(_other_reading(bucket, doubt) for doubt in bucket.doubts.values())]
        for reading in readings:
            valuation = self._valuer.value(account, reading, self._context.now_of(account))
            if isinstance(valuation, Incomplete) or not self.is_liquidatable(account, reading, valuation):
                return False
        return True

    def _corner(self, account: Account, holdings: Holdings) -> Corner | None:
        """Long up, short down; an asset's price up or down with the sign of its net amount. None where no price is doubtful."""
        market, now = self._context.market, self._context.now_of(account)
        legs, assets = {}, {}
        for key, position in holdings.positions.items():
            if market.marks.get(key[0]) is not None and market.grade(key[0], now) != "valid":
                low, high = market.book.interval(key[0], now)
                legs[key] = high if position.quantity > 0 else low
        for asset, record in market.assets.items():
            price_id = record.price_instrument
            if (
                price_id is not None
                and market.marks.get(price_id) is not None
                and market.grade(price_id, now) != "valid"
            ):
                assets[asset] = market.book.interval(price_id, now)
        return Corner(legs, assets) if legs or assets else None


def _other_reading(bucket: Bucket, doubt: Doubt) -> Holdings:
    """What the bucket would hold under the doubt's other reading."""
    balances = dict(bucket.balances)
    positions = {key: Position(held.quantity, held.open_cost) for key, held in bucket.positions.items()}
    for kind, name, amount in doubt.alternative or ():
        if kind == "balance":
            balances[name] = balances.get(name, 0) + amount
            continue
        instrument, _, side = name.rpartition("|")
        held = positions.setdefault((instrument, side), Position(0, 0))
        held.quantity += amount
    return Holdings(balances, {key: held for key, held in positions.items() if held.quantity})
