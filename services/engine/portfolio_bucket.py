"""A portfolio-mode bucket put into the scenario model's terms (portfolio.md "Inputs")."""

from collections.abc import Mapping

from services.contracts.decimals import ONE, to_text
from services.engine.instruments import FULL_WEIGHT, Spec
from services.engine.lines import underlying_price
from services.engine.market import Market
from services.engine.portfolio.evaluate import evaluate
from services.engine.portfolio.model import (
    Expiry,
    Greeks,
    HedgingCollateral,
    OptionLeg,
    Perpetual,
    PortfolioResult,
    Underlying,
)
from services.engine.portfolio.preset import Preset
from services.engine.valuation import Leg, Valuation
from services.engine.worth import (
    E18_FLOAT,
    E90,
    Incomplete,
    Row,
    Scene,
    Terms,
    Worth,
    divides,
    weighted_amount,
    worth_of,
)


def value_portfolio(scene: Scene, preset: Preset, now_ms: int) -> Valuation | Incomplete:
    """The bucket under the preset's scenarios. Requirements belong to the whole bucket, not to a leg."""
    marks, market = scene.marks, scene.market
    unmarked = {i: 0 for i, _ in scene.holdings.positions if marks.get(i) is None and _has_volatility(i, market)}
    worth = worth_of(scene.with_marks(unmarked) if unmarked else scene)
    if isinstance(worth, Incomplete):
        return worth
    parts = _Parts(worth, scene, now_ms)
    if parts.missing is not None:
        return Incomplete(parts.missing)
    result = evaluate(preset, parts.cash, parts.underlyings(), parts.other)
    return _valuation(result, worth)


def _has_volatility(instrument: str, market: Market) -> bool:
    """Whether the model can value the option without a premium."""
    spec, state = market.specs.get(instrument), market.book.state(instrument)
    return spec is not None and spec.option is not None and state is not None and state.volatility is not None


def _valuation(result: PortfolioResult, worth: Worth) -> Valuation:
    scale = E90 * worth.divisor
    legs = tuple(
        Leg(r.key, r.spec, r.position, r.mark, r.value, abs(r.value), 0, 0, worth.prices[r.spec.settlement_asset])
        for r in worth.rows
    )
    return Valuation(
        result.equity * scale, result.maintenance_margin * scale, result.initial_margin * scale, worth.divisor, legs, worth.nets, worth.prices,
        {name: _texts(greeks) for name, greeks in result.greeks.items()}, result.worst_scenario,
    )  # fmt: skip


def _texts(greeks: Greeks) -> dict[str, str]:
    return {name: to_text(getattr(greeks, name)) for name in ("delta", "gamma", "vega", "theta")}


class _Parts:
    """The bucket's pieces by underlying; `missing` names what keeps it from being valued."""

    def __init__(self, worth: Worth, scene: Scene, now_ms: int) -> None:
        self._market, self._marks, self._now_ms = scene.market, scene.marks, now_ms
        self._spots: dict[str, float] = {}
        self._perpetuals: dict[str, list[Perpetual]] = {}
        self._options: dict[str, dict[int, list[tuple[OptionLeg, float, float]]]] = {}
        self._collaterals: dict[str, list[HedgingCollateral]] = {}
        self.other: list[HedgingCollateral] = []
        self.cash = 0.0
        self.missing: str | None = None
        amounts = {asset: amount / E18_FLOAT for asset, amount in scene.holdings.balances.items()}
        # Sorted: the bits of a sum of floats must not tell in which order the facts were read.
        for row in sorted(worth.rows, key=lambda row: row.key):
            self._add_row(row, worth, amounts)
        for asset in sorted(amounts):
            self._add_asset(asset, amounts[asset], worth, scene.terms)

    def _add_row(self, row: Row, worth: Worth, amounts: dict[str, float]) -> None:
        spec, mark = row.spec, row.mark / E18_FLOAT
        size = row.position.quantity * spec.contract_size / E18_FLOAT / E18_FLOAT
        self._note_spot(spec, mark)
        if spec.option is not None:
            self._add_option(spec, size, mark, worth.prices[spec.settlement_asset] / E18_FLOAT)
            return
        value = -size / mark if divides(spec) else size * mark
        amounts[spec.settlement_asset] = amounts.get(spec.settlement_asset, 0.0) + value
        self._perpetuals.setdefault(spec.underlying, []).append(
            Perpetual(amount=size / mark if divides(spec) else size, mark=mark)
        )

    def _add_option(self, spec: Spec, size: float, mark: float, settle_price: float) -> None:
        state = self._market.book.state(spec.instrument)
        forward = underlying_price(spec, self._market)
        if state is None or state.volatility is None or forward is None:
            self.missing = f"volatility or forward of {spec.instrument}"
            return
        assert spec.option is not None, "callers ask for options only"
        assert spec.expiry_ms is not None, "checks.check_instrument refuses an option without an expiry"
        premium = None if self._marks.get(spec.instrument) is None else mark * (settle_price if spec.inverse else 1.0)
        leg = OptionLeg(
            instrument=spec.instrument, is_call=spec.option.is_call, strike=spec.option.strike / E18_FLOAT, amount=size,
            volatility=state.volatility / E18_FLOAT, mark=premium,
        )  # fmt: skip
        rate = (state.rate or 0) / E18_FLOAT
        by_expiry = self._options.setdefault(spec.underlying, {})
        by_expiry.setdefault(spec.expiry_ms, []).append((leg, forward / E18_FLOAT, rate))

    def _note_spot(self, spec: Spec, mark: float) -> None:
        spot = None if spec.spot_instrument is None else self._marks.get(spec.spot_instrument)
        if spot is not None:
            self._spots[spec.underlying] = spot / E18_FLOAT
        elif spec.option is None:
            self._spots.setdefault(spec.underlying, mark)

    def _add_asset(self, asset: str, amount: float, worth: Worth, terms: Terms) -> None:
        if asset == terms.valuation_asset and asset not in self._market.assets:
            self.cash += amount
            return
        record, price = self._market.assets.get(asset), worth.prices[asset] / E18_FLOAT
        if record is None:
            return
        if asset == terms.valuation_asset and record.weights == FULL_WEIGHT and record.initial_weights is None:
            self.cash += amount
            return
        initial = record.weights if record.initial_weights is None else record.initial_weights
        part = HedgingCollateral(
            value=amount * price, weight=_weight(amount, record.weights), initial_weight=_weight(amount, initial)
        )
        if record.hedges is None:
            self.other.append(part)
            return
        self._collaterals.setdefault(record.hedges, []).append(part)
        self._spots.setdefault(record.hedges, price)

    def underlyings(self) -> list[Underlying]:
        names = sorted({*self._perpetuals, *self._options, *self._collaterals})
        return [
            Underlying(
                name=name, spot=self._spots.get(name) or self._first_forward(name), perpetuals=self._perpetuals.get(name, ()),
                expiries=self._expiries(self._options.get(name, {})), collaterals=self._collaterals.get(name, ()),
            )
            for name in names
        ]  # fmt: skip

    def _first_forward(self, name: str) -> float:
        expiries = self._options[name]
        return expiries[min(expiries)][0][1]

    def _expiries(self, by_expiry: Mapping[int, list[tuple[OptionLeg, float, float]]]) -> list[Expiry]:
        return [
            Expiry(
                seconds_to_expiry=max(0.0, (expiry_ms - self._now_ms) / 1000), forward=legs[0][1], rate=legs[0][2],
                legs=tuple(leg for leg, _, _ in legs),
            )
            for expiry_ms, legs in sorted(by_expiry.items())
        ]  # fmt: skip


def _weight(amount: float, tiers: tuple[tuple[int, int], ...]) -> float:
    """The mean weight of a positive amount; what is owed counts in full."""
    net = int(amount * ONE)
    return 1.0 if net <= 0 else weighted_amount(net, tiers, 1) / (net * ONE)
