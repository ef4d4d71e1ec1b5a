"""Requirements of a bucket, and the predicates on them (margin.md "Requirements")."""

from fractions import Fraction

from msgspec import Struct

from services.contracts.decimals import ONE
from services.engine.instruments import Spec
from services.engine.lines import bankruptcy_price, notional_at, underlying_price
from services.engine.market import Market
from services.engine.state import Position, PositionKey
from services.engine.worth import E36, E54, E90, E108, Incomplete, Row, Scene, Worth, worth_of

Amount = int | Fraction  # a Fraction only where a fee at the bankruptcy price enters


class Leg(Struct, frozen=True):
    """One position's numbers: `value` and `notional` in 1/(E54·D) of the settlement asset, requirements in 1/(E108·D) of the
    valuation asset; `settle_price` (e18) is what one of the settlement asset is worth.
    """

    key: PositionKey
    spec: Spec
    position: Position
    mark: int
    value: int
    notional: int
    maintenance: Amount
    initial: Amount
    settle_price: int


class Valuation(Struct, frozen=True):
    """A bucket's numbers in units of 1/(E108·D) of the valuation asset, D = `divisor`."""

    equity: int
    maintenance: Amount
    initial: Amount
    divisor: int
    legs: tuple[Leg, ...]
    nets: dict[str, int]  # asset -> 1/(E54·D)
    prices: dict[str, int]  # asset -> e18
    greeks: dict[str, dict[str, str]] | None = None
    worst_scenario: str | None = None

    @property
    def scale(self) -> int:
        return E108 * self.divisor

    @property
    def unit_e18(self) -> int:
        """What an amount is divided by to be e18."""
        return E90 * self.divisor

    @property
    def excess(self) -> Amount:
        return self.equity - self.maintenance

    def equity_e18(self) -> int:
        """Equity, e18, towards minus infinity."""
        return self.equity // self.unit_e18

    def requirement_e18(self, amount: Amount) -> int:
        """A requirement, e18, rounded up."""
        return int(-(-amount // self.unit_e18))


def value_bucket(scene: Scene) -> Valuation | Incomplete:
    """The exact valuation of an isolated or cross bucket (README "Valuation")."""
    worth = worth_of(scene)
    if isinstance(worth, Incomplete):
        return worth
    legs: list[Leg] = []
    maintenance: Amount = worth.liability
    initial: Amount = worth.liability + worth.initial_haircut
    for row in worth.rows:
        required = _requirements(row, worth, scene)
        if isinstance(required, Incomplete):
            return required
        price = worth.prices[row.spec.settlement_asset]
        leg = Leg(
            row.key, row.spec, row.position, row.mark, row.value, abs(row.value),
            required[0] * price, required[1] * price, price,
        )  # fmt: skip
        legs.append(leg)
        maintenance += leg.maintenance
        initial += leg.initial
    return Valuation(worth.equity, maintenance, initial, worth.divisor, tuple(legs), worth.nets, worth.prices)


def _requirements(row: Row, worth: Worth, scene: Scene) -> tuple[Amount, Amount] | Incomplete:
    """μ·(m·N - c + fee), maintenance and initial, of one position in 1/(E90·D) of its settlement asset (margin.md "Requirements")."""
    multiplier = scene.market.multiplier(row.spec.instrument)
    if row.spec.option is not None:
        found = _option_requirements(row, scene.market, worth.divisor)
        return found if isinstance(found, Incomplete) else (found[0] * multiplier, found[1] * multiplier)
    maintenance, initial = tier_requirements(row.spec, row.position, abs(row.value), worth.divisor)
    fee = _close_fee(row, worth.divisor, scene)
    return (maintenance + fee) * multiplier, (initial + fee) * multiplier


def _close_fee(row: Row, divisor: int, scene: Scene) -> Amount:
    """What closing will cost where the venue counts it: at the mark's notional, or at the bankruptcy price's; 1/(E72·D).

    margin.md "Requirements", `close_fee_basis`: mark as OKX's mgnRatio and Gate's liquidation price, bankruptcy as Bybit's
    positionMM and KuCoin's posMaint.
    """
    spec = row.spec
    if spec.fee_basis == "mark":
        return spec.liquidation_fee_rate * abs(row.value)
    if spec.fee_basis == "none":
        return 0
    price = bankruptcy_price(row.key, scene.present or scene)
    if price is None:
        return 0
    return spec.liquidation_fee_rate * notional_at(spec, row.position.quantity, price) * E54 * divisor


def tier_requirements(spec: Spec, position: Position, notional: int, divisor: int) -> tuple[int, int]:
    """m_i·N - c_i of the tier that holds N: maintenance at its basis, initial always at the mark; 1/(E72·D), N in 1/(E54·D).

    margin.md "Requirements"; Binance's maintenance amount and Hyperliquid's maintenance deduction.
    """
    unit = E54 * divisor
    basis = position.open_cost * divisor if spec.entry_basis else notional
    tier = spec.tier_of(basis, unit)
    maintenance = tier.maintenance_rate * basis - tier.maintenance_deduction * E36 * divisor
    if spec.entry_basis:
        tier = spec.tier_of(notional, unit)
    return maintenance, tier.initial_rate * notional - tier.initial_deduction * E36 * divisor


def _option_requirements(row: Row, market: Market, divisor: int) -> tuple[Amount, Amount] | Incomplete:
    """`option_margin` of a short option outside portfolio mode, nothing for a long one; 1/(E72·D) (margin.md "Requirements").

    Per unit: max(short_initial·S - OTM, minimum·S) and short_maintenance·S, a put's at least put_mark·mark. A coin-settled
    option's mark is in the coin, and so is its requirement: the same shares with S = 1 and OTM/S.
    """
    option, quantity = row.spec.option, row.position.quantity
    if quantity >= 0:
        return 0, 0
    if option is None or option.margin is None:
        return Incomplete(f"option_margin of {row.spec.instrument}")
    spot = underlying_price(row.spec, market)
    if spot is None or spot <= 0:
        return Incomplete(f"underlying price of {row.spec.instrument}")
    short_initial, minimum, short_maintenance, put_mark = option.margin
    out_of_the_money = max(0, option.strike - spot if option.is_call else spot - option.strike)
    base, shortfall = spot, Fraction(out_of_the_money * ONE)
    if row.spec.inverse:
        base, shortfall = ONE, Fraction(out_of_the_money * ONE * ONE, spot)
    initial: Amount = max(Fraction(short_initial * base) - shortfall, Fraction(minimum * base))
    maintenance: Amount = short_maintenance * base
    if not option.is_call:
        initial = max(initial, Fraction(put_mark * row.mark))
        maintenance = max(Fraction(maintenance), Fraction(put_mark * row.mark))
    size = -quantity * row.spec.contract_size * divisor
    return maintenance * size, initial * size


def is_liquidatable(valuation: Valuation, *, at_equal: bool) -> bool:
    """Equity under a maintenance margin that is owed; or equity below zero with something to close or convert.

    margin.md "Requirements"; `at_equal` is contracts.md's `liquidate_at_equal`.
    """
    if valuation.maintenance > 0 and (valuation.equity < valuation.maintenance):
        return True
    if at_equal and valuation.maintenance > 0 and valuation.equity == valuation.maintenance:
        return True
    return valuation.equity < 0 and (bool(valuation.legs) or any(net > 0 for net in valuation.nets.values()))
