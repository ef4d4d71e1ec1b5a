"""Where a bucket's number can bend as one price moves, and the bankruptcy price (margin.md "Prices that matter")."""

from collections.abc import Iterator
from fractions import Fraction

from services.contracts.decimals import ONE
from services.engine.instruments import Asset, Spec
from services.engine.market import Market
from services.engine.roots import Value, nearest_root
from services.engine.state import PositionKey
from services.engine.worth import E36, E54, E108, Scene, Worth, divides, value_of, worth_of


def root_in_mark(value: Value, key: PositionKey, scene: Scene) -> Fraction | None:
    """The nearest positive root of `value` in the mark of the position's instrument, every other price unchanged (README "Valuation")."""
    present = scene.marks.get(key[0])
    assert present is not None, "a position that is valued has a mark"
    points = breakpoints(key[0], scene)
    return nearest_root(value, points, present, losing_side_down=scene.holdings.positions[key].quantity > 0)


def bankruptcy_price(key: PositionKey, scene: Scene) -> Fraction | None:
    """The mark at which equity = 0 after the taker fee of closing this position; None where none is positive.

    margin.md "Prices that matter"; Bybit's bankruptcy price of an inverse contract in cross margin.
    """
    spec = scene.market.specs[key[0]]
    quantity = abs(scene.holdings.positions[key].quantity)

    def left(price: int) -> tuple[int, int]:
        worth = worth_of(scene.at(key[0], price))
        assert isinstance(worth, Worth), "a bucket that is valued at its mark is valued at any other"
        notional = abs(value_of(spec, quantity, price, worth.divisor))
        fee = notional * spec.taker_fee_rate * worth.prices[spec.settlement_asset] * ONE
        return worth.equity - fee, E108 * worth.divisor

    return root_in_mark(left, key, scene)


def notional_at(spec: Spec, quantity: int, price: Fraction) -> Fraction:
    """|q|·size·p, or |q|·size/p of an inverse contract (margin.md "Requirements"), in the settlement asset. `quantity` e18, `price` in units."""
    size = Fraction(abs(quantity) * spec.contract_size, E36)
    return size / price if divides(spec) else size * price


def breakpoints(price_id: str, scene: Scene) -> Iterator[int]:
    """Marks of `price_id`, e18 rounded down, at which a tier, a weight tier, a sign, a price floor or an option's minimum changes."""
    spec = scene.market.specs[price_id]
    for key, position in scene.holdings.positions.items():
        size = abs(position.quantity) * spec.contract_size
        if key[0] == price_id:
            for tier in spec.tiers[1:]:
                yield size // tier.floor if divides(spec) else tier.floor * E36 // size
    record = scene.market.assets.get(spec.settlement_asset)
    if record is not None:
        yield from _net_breakpoints(spec, record, scene)
    yield from _option_breakpoints(spec, scene.market)
    for asset in scene.market.assets.values():
        if asset.price_instrument == price_id and asset.price_floor is not None:
            yield asset.price_floor


def _net_breakpoints(spec: Spec, record: Asset, scene: Scene) -> Iterator[int]:
    """Where the settlement asset's net amount crosses zero or a weight floor: fixed + slope·p, or fixed - slope/p."""
    worth = worth_of(scene)
    assert isinstance(worth, Worth), "only a bucket that can be valued has lines"
    unit = E54 * worth.divisor
    fixed, slope = worth.nets[spec.settlement_asset], 0
    for row in worth.rows:
        if row.spec.instrument == spec.instrument:
            fixed -= row.value
            slope += row.position.quantity * spec.contract_size
    if not slope:
        return
    for floor in {0, *(floor for floor, _ in (*record.weights, *(record.initial_weights or ())))}:
        distance = floor * unit - fixed * ONE
        if not divides(spec):
            yield distance * E36 // (unit * slope)
        elif distance:
            yield -slope * unit // distance


def _option_breakpoints(spec: Spec, market: Market) -> Iterator[int]:
    """Marks at which a short put's share of its own mark overtakes its share of the underlying."""
    if spec.option is None or spec.option.is_call or spec.option.margin is None or not spec.option.margin[3]:
        return
    spot = underlying_price(spec, market)
    if spot is None or spot <= 0:
        return
    initial, minimum, maintenance, put_mark = spec.option.margin
    base = ONE if spec.inverse else spot
    out_of_the_money = max(0, spot - spec.option.strike) * ONE // spot
    for share in (maintenance, max(initial - out_of_the_money, minimum)):
        yield share * base // put_mark


def underlying_price(spec: Spec, market: Market) -> int | None:
    """S of an option: its price record's `index_price` (the forward), else the mark of its `spot_instrument`; e18."""
    state = market.book.state(spec.instrument)
    if state is not None and state.index is not None:
        return state.index
    return None if spec.spot_instrument is None else market.marks.get(spec.spot_instrument)
