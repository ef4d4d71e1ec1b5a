"""The market as one account sees it now: marks, how far they are believed, and the corner of doubt that favours a bucket."""

from dataclasses import dataclass, replace
from fractions import Fraction

from services.reference import prices
from services.reference.curves import plain
from services.reference.fold import waits_for_instrument
from services.reference.holdings import Holdings, Incomplete, Leg, Market, PortfolioValuator, Valuation
from services.reference.lifecycle import breaches
from services.reference.prices import Grade
from services.reference.roots import assess
from services.reference.rounding import exact, from_e18, root_e18, root_of_seconds
from services.reference.state import AccountBook, Bucket, World


@dataclass(frozen=True)
class Outlook:
    """One account's market at one moment."""

    world: World
    book: AccountBook
    now_ms: int
    market: Market
    portfolio: PortfolioValuator | None

    def value(self, holdings: Holdings) -> Valuation:
        """Raises `Incomplete` where something needed is missing."""
        return self._value(holdings, self.market)

    def _value(self, holdings: Holdings, market: Market) -> Valuation:
        record = self.book.record
        if record is None or record.margin_mode != "portfolio":
            return assess(holdings, market)
        if self.portfolio is None:
            raise Incomplete("no portfolio model")
        return self.portfolio(holdings, market, record.margin_preset or "")

    def try_value(self, holdings: Holdings) -> Valuation | None:
        try:
            return self.value(holdings)
        except Incomplete:
            return None

    def is_portfolio(self) -> bool:
        return self.book.record is not None and self.book.record.margin_mode == "portfolio"

    def is_liquidatable(self, holdings: Holdings) -> bool:
        """At the marks, and, where one of them is doubtful, at the corner that favours the bucket too."""
        if not self.breaches(self.value(holdings), holdings):
            return False
        favoured = self.favoured(holdings)
        if favoured is None:
            return False
        return favoured is self.market or self.breaches(self._value(holdings, favoured), holdings)

    def breaches(self, valuation: Valuation, holdings: Holdings) -> bool:
        """Under its requirement, or with less equity than the gap guard expects it to lose."""
        if breaches(valuation, holdings, self.world.settings):
            return True
        losses = self.gap_losses(valuation)
        return bool(losses) and plain(valuation.equity) < sum(losses.values())

    def gap_losses(self, valuation: Valuation) -> dict[Leg, Fraction]:
        """What each position is expected to lose within the reaction time, in the valuation asset; none of an unguarded bucket."""
        settings, record = self.world.settings, self.book.record
        mode = "cross" if record is None else record.margin_mode
        is_flat = all(len(self.market.spec(instrument).maintenance_tiers) == 1 for instrument, _ in valuation.legs)
        is_spared = settings.gap_guard == "cross" and mode == "isolated" and is_flat
        if settings.gap_guard == "off" or mode == "portfolio" or is_spared:
            return {}
        sigmas = from_e18(settings.gap_z) * root_of_seconds(settings.gap_reaction_ms)
        return {
            key: plain(leg.notional) * plain(leg.price) * self.sigma(key[0]) * sigmas
            for key, leg in valuation.legs.items()
        }

    def favoured(self, holdings: Holdings) -> Market | None:
        """The market with every doubtful price at the end that favours the bucket; None where that is worth infinitely much."""
        leg_marks: dict[Leg, Fraction] = {}
        for position in holdings.positions:
            if position.instrument in self.market.marks and self.grade(position.instrument) is not Grade.VALID:
                low, high = self.interval(position.instrument)
                end = high if position.quantity > 0 else low
                if end == 0 and self.market.spec(position.instrument).price_is_coin_per_quote:
                    return None
                leg_marks[position.leg] = end
        asset_ends = {}
        for asset, record in self.market.collateral.items():
            price_id = record.price_instrument
            if price_id is not None and price_id in self.market.marks and self.grade(price_id) is not Grade.VALID:
                asset_ends[asset] = self.interval(price_id)
        if not leg_marks and not asset_ends:
            return self.market
        return replace(self.market, leg_marks=leg_marks, asset_ends=asset_ends)

    def grade(self, price_id: str) -> Grade:
        halted = self.world.is_instrument_halted(price_id, self.now_ms)
        return prices.grade(self.world.prices[price_id], self.now_ms, self.world.limits(price_id), halted=halted)

    def interval(self, price_id: str) -> tuple[Fraction, Fraction]:
        last = self.world.prices[price_id].last
        assert last is not None, "only a price that exists is doubtful"
        mark, limits = plain(self.market.price(price_id)), self.world.limits(price_id)
        return prices.interval(mark, last.price.ts_ms, self.now_ms, limits, self.world.settings)

    def has_valid_mark(self, price_id: str) -> bool:
        return price_id in self.market.marks and self.grade(price_id) is Grade.VALID

    def sigma(self, instrument: str) -> Fraction:
        """Relative move in a square root of a second."""
        parameters = self.world.risk_parameters(instrument, self.now_ms)
        if parameters is None or parameters.variance is None:
            return from_e18(self.world.settings.default_sigma)
        return root_e18(exact(parameters.variance))


def outlook(world: World, book: AccountBook, portfolio: PortfolioValuator | None) -> Outlook:
    assert book.record is not None, "an account has a valuation asset before it is valued"
    now_ms = world.now_ms(book)
    last = {name: state.last for name, state in world.prices.items() if state.last is not None}
    multipliers = {}
    for instrument in world.risk:
        parameters = world.risk_parameters(instrument, now_ms)
        if parameters is not None:
            multipliers[instrument] = exact(parameters.multiplier)
    market = Market(
        valuation_asset=book.record.valuation_asset,
        instruments=world.specs,
        collateral=world.collateral,
        marks={name: tick.mark for name, tick in last.items() if tick.mark is not None},
        indices={name: tick.index for name, tick in last.items() if tick.index is not None},
        multipliers=multipliers,
        records={name: tick.price for name, tick in last.items()},
        now_ms=now_ms,
        leg_marks={},
        asset_ends={},
    )
    return Outlook(world, book, now_ms, market, portfolio)


def value_of(view: Outlook, bucket: Bucket) -> Valuation | None:
    """The bucket as it is; None while something is missing, a fill that waits for its instrument among it."""
    return None if waits_for_instrument(view.book, bucket.bucket) else view.try_value(bucket.ledger.holdings())
