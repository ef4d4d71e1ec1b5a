"""What a bucket is worth, exact (margin.md "Ledger (cash model)").

Everything is an integer in units of 1/(10**k · D), where D is the product of the marks that inverse positions divide by. So no
division happens before the report, and two numbers of one bucket compare as integers.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from services.contracts.decimals import ONE
from services.engine.instruments import FULL_WEIGHT, Spec
from services.engine.market import Market, Marks, Overlay
from services.engine.state import Position, PositionKey

E18_FLOAT: Final = 1e18
E36: Final = 10**36
E54: Final = 10**54
E90: Final = 10**90
E108: Final = 10**108


class Incomplete(Struct, frozen=True):
    """Why a bucket cannot be valued: `missing` names the instrument, mark or collateral record."""

    missing: str


class Holdings(Struct):
    """What a bucket holds, or would hold: the part of it that is valued."""

    balances: Mapping[str, int]
    positions: Mapping[PositionKey, Position]


class Terms(Struct, frozen=True):
    """What of its account a valuation depends on."""

    valuation_asset: str
    margin_mode: str = "cross"
    margin_preset: str | None = None


class Corner(Struct, frozen=True):
    """Doubtful prices at the end that favours the bucket: a mark for each leg, and (low, high) for the price of an asset."""

    legs: Mapping[PositionKey, int]
    assets: Mapping[str, tuple[int, int]]

    def without(self, price_id: str, market: Market) -> "Corner":
        """The corner of every other price."""
        assets = {
            asset: ends for asset, ends in self.assets.items() if market.assets[asset].price_instrument != price_id
        }
        return Corner({key: mark for key, mark in self.legs.items() if key[0] != price_id}, assets)


class Scene(Struct, frozen=True):
    """One bucket's holdings before one state of the market: everything that a number of it depends on."""

    holdings: Holdings
    terms: Terms
    market: Market
    marks: Marks
    corner: Corner | None = None
    present: "Scene | None" = None  # where one mark is moved for a root: what fees on bankruptcy prices stand still at

    def at(self, price_id: str, price: int) -> "Scene":
        """The same with one mark moved, for a root in it; what is in doubt about other prices stays."""
        corner = None if self.corner is None else self.corner.without(price_id, self.market)
        marks = Overlay(self.marks, {price_id: price})
        return Scene(self.holdings, self.terms, self.market, marks, corner, present=self.present or self)

    def with_marks(self, replaced: Mapping[str, int]) -> "Scene":
        return Scene(
            self.holdings, self.terms, self.market, Overlay(self.marks, replaced), self.corner, self.present
        )  # fmt: skip


class Row(Struct, frozen=True):
    """A position with what it takes to value it; `value` in units of 1/(E54·D) of the settlement asset."""

    key: PositionKey
    position: Position
    spec: Spec
    mark: int
    value: int


class Worth(Struct, frozen=True):
    """Amounts in units of 1/(E108·D) of the valuation asset; `nets` in 1/(E54·D) of each asset, `prices` e18."""

    divisor: int
    rows: list[Row]
    nets: dict[str, int]
    prices: dict[str, int]
    equity: int
    initial_haircut: int  # what the initial weights count less than the weights
    liability: int  # the requirement on what is owed


def worth_of(scene: Scene) -> Worth | Incomplete:
    """The value of everything in a bucket at its marks, netted per asset before the weight.

    margin.md "Ledger (cash model)": net = balance + Σ value, equity = Σ W(net)·price.
    """
    rows = _rows(scene)
    if isinstance(rows, Incomplete):
        return rows
    divisor, valued = rows
    unit = E36 * divisor
    nets = {asset: amount * unit for asset, amount in scene.holdings.balances.items()}
    for row in valued:
        asset = row.spec.settlement_asset
        nets[asset] = nets.get(asset, 0) + row.value
    prices = _asset_prices(nets, valued, scene)
    if isinstance(prices, Incomplete):
        return prices
    equity, haircut, liability = _weigh(nets, prices, scene.market, unit)
    return Worth(divisor, valued, nets, prices, equity, haircut, liability)


def _rows(scene: Scene) -> tuple[int, list[Row]] | Incomplete:
    found: list[tuple[PositionKey, Position, Spec, int]] = []
    divisor, divided_by = 1, set()
    for key, position in scene.holdings.positions.items():
        spec = scene.market.specs.get(key[0])
        if spec is None:
            return Incomplete(f"instrument {key[0]}")
        mark = scene.marks.get(key[0])
        if mark is not None and scene.corner is not None:
            mark = scene.corner.legs.get(key, mark)
        if mark is None:
            return Incomplete(f"mark of {key[0]}")
        if divides(spec) and mark not in divided_by:
            divided_by.add(mark)
            divisor *= mark
        found.append((key, position, spec, mark))
    return divisor, [Row(k, p, s, m, value_of(s, p.quantity, m, divisor)) for k, p, s, m in found]


def divides(spec: Spec) -> bool:
    """Whether the contract's value is in units of 1/mark. Coin-settled options are quoted in the coin and are not."""
    return spec.inverse and spec.option is None


def value_of(spec: Spec, quantity: int, mark: int, divisor: int) -> int:
    """q·size·mark, or -q·size/mark of an inverse contract (margin.md "Ledger (cash model)"), in units of 1/(E54·divisor)."""
    if divides(spec):
        return -quantity * spec.contract_size * E36 * (divisor // mark)
    return quantity * spec.contract_size * mark * divisor


def _asset_prices(nets: Mapping[str, int], rows: list[Row], scene: Scene) -> dict[str, int] | Incomplete:
    """Asset to price, e18; 0 for an asset without a record that is only held: it counts nothing."""
    settling = {row.spec.settlement_asset for row in rows}
    prices: dict[str, int] = {}
    for asset, net in nets.items():
        record = scene.market.assets.get(asset)
        if asset == scene.terms.valuation_asset:
            prices[asset] = ONE
        elif record is None:
            if net < 0 or asset in settling:
                return Incomplete(f"collateral {asset}")
            prices[asset] = 0
        elif record.price_instrument is None:
            prices[asset] = ONE
        else:
            price = scene.marks.get(record.price_instrument)
            if price is None:
                return Incomplete(f"mark of {record.price_instrument}")
            if scene.corner is not None and asset in scene.corner.assets:
                price = scene.corner.assets[asset][net > 0]
            prices[asset] = price if record.price_floor is None else max(price, record.price_floor)
    return prices


def _weigh(nets: Mapping[str, int], prices: Mapping[str, int], market: Market, unit: int) -> tuple[int, int, int]:
    """Equity, what the initial weights count less, the requirement on what is owed (README "Valuation", W_a and liability)."""
    equity = haircut = liability = 0
    for asset, net in nets.items():
        record, price = market.assets.get(asset), prices[asset]
        if net < 0:
            equity += net * ONE * price
            if record is not None:
                liability += -net * record.liability_maintenance_rate * price
            continue
        weighted = weighted_amount(net, FULL_WEIGHT if record is None else record.weights, unit)
        equity += weighted * price
        if record is not None and record.initial_weights is not None:
            haircut += (weighted - weighted_amount(net, record.initial_weights, unit)) * price
    return equity * ONE, max(0, haircut) * ONE, liability * ONE


def weighted_amount(net: int, tiers: tuple[tuple[int, int], ...], unit: int) -> int:
    """Σ slice·weight of a positive amount: each slice at its own weight (margin.md "Ledger (cash model)"). Units of `net` times 1e18.

    As Bitget's collateral ratios and OKX's discount rates do: the rate of a tier for the part in it.
    """
    if len(tiers) == 1:
        return net * tiers[0][1]
    total = 0
    for (floor, weight), following in zip(tiers, (*tiers[1:], None), strict=True):
        low = floor * unit
        if net <= low:
            break
        high = net if following is None else min(net, following[0] * unit)
        total += (high - low) * weight
    return total
