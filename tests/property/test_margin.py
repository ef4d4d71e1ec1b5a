"""Requirements and the prices that matter: concave in every price, monotone in size, and lines that are where they say."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.contracts.decimals import ONE, parse, to_text
from services.engine.state import PositionKey
from services.engine.valuation import Valuation, value_bucket
from services.engine.valuer import holdings_of
from services.engine.worth import Scene
from tests.support.script import BTC, Script

ETH, COIN = "ETH-PERP", "COIN-PERP"
KEY: PositionKey = (BTC, "net")
TICK = parse("0.1")


def text(low: str, high: str, places: int = 2) -> st.SearchStrategy[str]:
    return st.decimals(low, high, places=places).map(lambda number: format(number, "f"))


@st.composite
def tiers(draw: st.DrawFn) -> list[dict[str, str]]:
    """One to four tiers, rates rising; floors within reach of the positions below."""
    count = draw(st.integers(1, 4))
    floors = sorted(draw(st.sets(st.integers(1, 200), min_size=count - 1, max_size=count - 1)))
    rates = sorted(draw(st.lists(st.integers(1, 300), min_size=count, max_size=count)))
    return [
        {
            "notional_floor": str(floor * 100),
            "maintenance_margin_rate": f"0.{rate:04}",
            "initial_margin_rate": f"0.{rate * 2:04}",
        }
        for floor, rate in zip([0, *floors], rates, strict=True)
    ]


@st.composite
def buckets(draw: st.DrawFn, *, signed: bool = True, entangled: bool = False) -> Script:
    """A halted cross bucket: two linear positions and an inverse one, cash and weighted coin, any of them owed."""
    fees: dict[str, Any] = draw(st.sampled_from([
        {}, {"close_fee_basis": "mark", "liquidation_fee_rate": "0.001"}, {"taker_fee_rate": "0.0007"},
        {"close_fee_basis": "bankruptcy", "liquidation_fee_rate": "0.001"}, {"maintenance_basis": "entry"},
        {"tier_boundary": "lower"},
    ]))  # fmt: skip
    script = Script().control("halt", "all", "*").account("cross")
    weights = draw(st.sampled_from([None, [{"floor": "0", "weight": "0.9"}, {"floor": "2", "weight": "0.5"}]]))
    priced: dict[str, Any] = {}
    if entangled:  # the coin is priced by the position's own mark, never below a floor
        priced = {
            "price_instrument": draw(st.sampled_from([BTC, "BTC-USDT"])),
            "price_floor": draw(st.sampled_from([None, "950"])),
        }
    rate = draw(st.sampled_from(["0", "0.05"]))
    script.collateral("BTC", weight_tiers=weights, liability_maintenance_rate=rate, **priced)
    script.instrument(margin_tiers=draw(tiers()), **fees).instrument(ETH, margin_tiers=draw(tiers()))
    coin_tiers = [
        {"notional_floor": "0", "maintenance_margin_rate": "0.01"},
        {"notional_floor": "1", "maintenance_margin_rate": "0.03"},
    ]
    script.instrument(COIN, contract="inverse", settlement_asset="BTC", contract_size="100", margin_tiers=coin_tiers)
    script.mark("1000").mark("500", ETH).mark("1000", COIN).mark("1000", "BTC-USDT")
    side = st.sampled_from(["buy", "sell"])
    script.fill(draw(side), draw(text("0.01", "20")), draw(text("900", "1100")))
    if draw(st.booleans()):
        script.fill(draw(side), draw(text("0.01", "20")), draw(text("450", "550")), instrument=ETH)
    if draw(st.booleans()):
        script.fill(draw(side), draw(text("0.1", "30", 1)), draw(text("900", "1100")), instrument=COIN)
    script.transfer(draw(text("-1000" if signed else "0", "20000")), "adjustment", bucket=None)
    if draw(st.booleans()):
        script.transfer(draw(text("-1", "5")), "adjustment", bucket=None, asset="BTC")
    return script


def scene_of(script: Script) -> Scene:
    engine = script.engine
    return engine._valuer._scene(engine._context.accounts.awake["a-1"], holdings_of(script.bucket("main")))


def excess(scene: Scene, price_id: str, price: int) -> Fraction:
    """equity - MM with one mark moved."""
    valuation = value_bucket(scene.at(price_id, price))
    assert isinstance(valuation, Valuation)
    return Fraction(valuation.excess) / valuation.scale


PRICES = st.integers(1, 3000).map(lambda number: number * ONE)


@given(buckets(), st.lists(PRICES, min_size=3, max_size=3, unique=True))
@settings(max_examples=60)
def test_the_excess_is_concave_in_each_price(script: Script, prices: list[int]) -> None:
    """Linear marks and collateral prices in p, inverse marks in 1/p: the chord is never above the curve."""
    scene, (low, middle, high) = scene_of(script), sorted(prices)
    for price_id in (BTC, ETH, COIN, "BTC-USDT"):
        places = [Fraction(ONE, price) if price_id == COIN else Fraction(price, ONE) for price in (low, middle, high)]
        share = (places[1] - places[0]) / (places[2] - places[0])
        ends = [excess(scene, price_id, price) for price in (low, high)]
        assert excess(scene, price_id, middle) >= ends[0] + share * (ends[1] - ends[0])


@given(
    tiers(),
    text("0.01", "50"),
    text("0.01", "50"),
    st.sampled_from(["linear", "inverse"]),
    st.sampled_from(["upper", "lower"]),
)
@settings(max_examples=60)
def test_requirements_rise_with_size(
    table: list[dict[str, str]], one: str, more: str, contract: str, boundary: str
) -> None:
    """More contracts never need less; initial is never under maintenance; both scale less than the worst rate."""
    found = []
    for quantity in (one, to_text(parse(one) + parse(more))):
        script = Script().instrument(
            margin_tiers=table, contract=contract, settlement_asset="USDT", tier_boundary=boundary
        )
        view = script.account().mark("700").fill("sell", quantity, "700").view().positions[0]
        assert view.maintenance_margin is not None
        assert view.initial_margin is not None
        assert view.notional is not None
        found.append((parse(view.maintenance_margin), parse(view.initial_margin)))
        assert found[-1][0] <= found[-1][1]
        assert found[-1][0] <= parse(view.notional) * parse(table[-1]["maintenance_margin_rate"]) // ONE + 2
    assert found[0][0] <= found[1][0]
    assert found[0][1] <= found[1][1]


@given(buckets(signed=False, entangled=True))
@settings(max_examples=80)
def test_a_liquidation_price_is_a_root_to_within_a_tick(script: Script) -> None:
    """At the reported line the bucket is not under, a tick beyond it is; no line means that no price on the losing side is."""
    (view,) = [each for each in script.view("main").positions if each.instrument == BTC]
    scene, long = scene_of(script), parse(view.quantity) > 0
    here = excess(scene, BTC, parse("1000"))
    assume(here >= 0)
    if view.liquidation_price is None:
        beyond = (
            [parse("1000") * k // 100 for k in range(1, 100)] if long else [parse("1000") * k for k in range(2, 40)]
        )
        assert all(excess(scene, BTC, price) >= 0 for price in beyond)
        return
    line = parse(view.liquidation_price)
    assert line % TICK == 0
    losing = line <= parse("1000") + TICK if long else line >= parse("1000") - TICK
    inside, outside = (line, line - TICK) if long else (line, line + TICK)
    if losing:
        assert excess(scene, BTC, inside) >= 0 > excess(scene, BTC, outside) or outside <= 0
    else:  # the nearest root lies on the other side: the sign changes there
        signs = [excess(scene, BTC, price) for price in (line - TICK, line, line + TICK)]
        assert min(signs) <= 0 <= max(signs)


@given(
    text("1", "50"),
    text("0.001", "0.05", 4),
    st.sampled_from(["linear", "inverse"]),
    st.sampled_from(["buy", "sell"]),
    st.integers(0, 6),
)
@settings(max_examples=60)
def test_a_filled_close_uses_no_more_than_its_share_of_the_equity(
    quantity: str, fee: str, contract: str, side: str, fruitless: int
) -> None:
    """Filled at its limit, taker fee paid: equity after >= equity before · MM after / MM before, however many attempts failed.

    And within a tick of it once the floor binds: no order holds out for more than it must.
    """
    asset = "BTC" if contract == "inverse" else "USDT"
    script = (
        Script()
        .instrument(contract=contract, settlement_asset=asset, taker_fee_rate="0.0005")
        .account(valuation_asset=asset)
    )
    long = side == "buy"
    coin = Fraction(quantity) / 1000
    cash = coin / 10 if contract == "inverse" else Fraction(quantity) * 100
    script.mark("1000").transfer(to_text(int(cash * ONE)), asset=asset).fill(side, quantity, "1000").wait(1_000)
    near = {("linear", True): 909, ("linear", False): 1089, ("inverse", True): 918, ("inverse", False): 1100}[
        contract, long
    ]
    gone = Fraction(fee) / 10  # how far of the way to bankruptcy
    script.mark(to_text(int(near * (1 - gone if long else 1 + gone) * ONE)))
    for _ in range(fruitless):
        if script.orders:
            script.answer("expired")
    assume(script.orders and script.orders[-1].stage == "partial")
    order, before = script.orders[-1], script.view()
    size, price = Fraction(order.quantity), Fraction(order.limit_price)
    paid = (size / price if contract == "inverse" else size * price) * Fraction("0.0005")
    script.fill(order.side, order.quantity, order.limit_price, order_id=order.order_id, exec_type="liquidation",
                fee=to_text(-int(-paid * ONE // 1)))  # fmt: skip
    after = script.view()
    share = (
        Fraction(before.equity or "")
        * Fraction(after.maintenance_margin or "")
        / Fraction(before.maintenance_margin or "")
    )
    left = Fraction(after.equity or "") - share
    assert left >= -Fraction(10, ONE)
    if fruitless >= 4:
        step = Fraction("0.1")
        assert left <= (size * step / price**2 if contract == "inverse" else size * step) * 2
