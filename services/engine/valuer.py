"""One question for every account model: what is this bucket worth, and what must it hold?"""

from collections.abc import Mapping
from fractions import Fraction

from services.engine import critical_prices
from services.engine.facts import parked_instrument
from services.engine.market import Market
from services.engine.portfolio.preset import Preset
from services.engine.portfolio_bucket import value_portfolio
from services.engine.state import Account, Bucket, PositionKey
from services.engine.valuation import Valuation, value_bucket
from services.engine.worth import Corner, Holdings, Incomplete, Scene, Terms


class Valuer:
    """Values holdings of an account at the market's marks, or at the corner of what is in doubt."""

    def __init__(self, market: Market, presets: Mapping[str, Preset]) -> None:
        self.market = market
        self._presets = presets

    def value(
        self, account: Account, holdings: Holdings, now_ms: int, corner: Corner | None = None
    ) -> Valuation | Incomplete:
        if not account.known or account.valuation_asset is None:
            return Incomplete(f"account {account.account}")
        scene = self._scene(account, holdings, corner)
        if account.margin_mode != "portfolio" or not (holdings.positions or holdings.balances):
            return value_bucket(scene)
        preset = self._presets.get(account.margin_preset or "")
        if preset is None:
            return Incomplete(f"margin_preset {account.margin_preset}")
        return value_portfolio(scene, preset, now_ms)

    def value_bucket(self, account: Account, bucket: Bucket, now_ms: int) -> Valuation | Incomplete:
        """The bucket as it is; one with a fill that waits for its instrument cannot be valued."""
        waiting = parked_instrument(account, bucket)
        if waiting is not None:
            return Incomplete(f"instrument {waiting}")
        return self.value(account, holdings_of(bucket), now_ms)

    def liquidation_price(
        self, account: Account, holdings: Holdings, key: PositionKey, valuation: Valuation
    ) -> Fraction | None:
        """`valuation` is that of the holdings. None in portfolio mode: the scenario model has no root in one mark alone."""
        if account.margin_mode == "portfolio":
            return None
        return critical_prices.liquidation_price(key, self._scene(account, holdings), valuation)

    def bankruptcy_price(
        self, account: Account, holdings: Holdings, key: PositionKey, valuation: Valuation
    ) -> Fraction | None:
        """`valuation` is that of the holdings. None in portfolio mode, for the same reason."""
        if account.margin_mode == "portfolio":
            return None
        return critical_prices.bankruptcy_price(key, self._scene(account, holdings), valuation)

    def _scene(self, account: Account, holdings: Holdings, corner: Corner | None = None) -> Scene:
        assert account.valuation_asset is not None, "callers value complete accounts only"
        terms = Terms(account.valuation_asset, account.margin_mode, account.margin_preset)
        return Scene(holdings, terms, self.market, self.market.marks, corner)

    def dependencies(self, account: Account, bucket: Bucket) -> set[str]:
        """Every price id that the bucket's value or requirement may depend on."""
        found: set[str] = set()
        assets = set(bucket.balances)
        for instrument, _ in bucket.positions:
            found.add(instrument)
            spec = self.market.specs.get(instrument)
            if spec is None:
                continue
            assets.add(spec.settlement_asset)
            if spec.spot_instrument is not None and (spec.option is not None or account.margin_mode == "portfolio"):
                found.add(spec.spot_instrument)
        for asset in assets:
            record = self.market.assets.get(asset)
            if record is not None and record.price_instrument is not None and asset != account.valuation_asset:
                found.add(record.price_instrument)
            if record is not None and record.conversion_instrument is not None and not bucket.positions:
                found.add(record.conversion_instrument)
        return found


def holdings_of(bucket: Bucket) -> Holdings:
    return Holdings(bucket.balances, bucket.positions)
