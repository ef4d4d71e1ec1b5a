"""Options outside portfolio mode: what a short one requires, call and put, in and out of the money, in cash and in coin."""

from __future__ import annotations

from typing import Any

import pytest

from services.contracts.decimals import parse, to_text
from services.contracts.views import PositionView
from tests.support.script import Script

RATES = {
    "short_initial_rate": "0.15",
    "short_minimum_rate": "0.1",
    "short_maintenance_rate": "0.075",
    "put_mark_rate": "1",
}


def option(kind: str, strike: str, mark: str, quantity: str = "2", side: str = "sell", **changes: Any) -> Script:
    """Sold: 2 contracts of 0.5 at the mark, the underlying at 1000."""
    plain = {"contract_size": "0.5", "option_margin": RATES, "expiry_ms": 2_000_000_000_000}
    script = Script().instrument(
        kind="option", option_type=kind, strike=strike, **(plain | changes),
    ).account(valuation_asset=changes.get("settlement_asset", "USDT"))  # fmt: skip
    script.mark(mark, index_price="1000").transfer("1000", asset=changes.get("settlement_asset", "USDT"))
    return script.fill(side, quantity, mark).wait(1_000)


def margins(script: Script) -> tuple[str | None, str | None]:
    (position,) = script.view().positions
    return position.initial_margin, position.maintenance_margin


@pytest.mark.parametrize(("kind", "strike", "mark", "initial", "maintenance"), [
    ("call", "1010", "20", "140", "75"),  # 10 out of the money: 150 - 10
    ("call", "1100", "5", "100", "75"),  # 100 out: 50 is under the minimum of 100
    ("call", "900", "120", "150", "75"),  # in the money
    ("put", "990", "20", "140", "75"),
    ("put", "900", "5", "100", "75"),
    ("put", "1100", "120", "150", "120"),  # the mark is more than 75
    ("put", "1300", "310", "310", "310"),
])  # fmt: skip
def test_a_short_option_requires_shares_of_the_underlying(
    kind: str, strike: str, mark: str, initial: str, maintenance: str
) -> None:
    """15 % less what it is out of the money, at least 10 %, and 7.5 %; a put each at least its mark. Size 2 · 0.5."""
    assert margins(option(kind, strike, mark)) == (initial, maintenance)


@pytest.mark.parametrize("kind", ["call", "put"])
def test_a_long_option_requires_nothing_and_its_premium_counts_once(kind: str) -> None:
    script = option(kind, "1000", "40", side="buy")
    assert margins(script) == ("0", "0")
    assert script.view().equity == "1000"
    assert script.view().positions[0].liquidation_price is None


@pytest.mark.parametrize(("kind", "strike", "initial", "maintenance"), [
    ("call", "1020", "0.13", "0.075"), ("call", "1100", "0.1", "0.075"), ("put", "980", "0.13", "0.075"),
    ("put", "1200", "0.2", "0.2"),
])  # fmt: skip
def test_a_coin_settled_option_requires_shares_of_one_coin(
    kind: str, strike: str, initial: str, maintenance: str
) -> None:
    """The mark is in the coin: 15 % less 20/1000 is 13 % of a coin. The put's mark is 0.2."""
    script = option(kind, strike, "0.2" if strike == "1200" else "0.01", contract="inverse", settlement_asset="BTC")
    assert margins(script) == (initial, maintenance)
    assert script.view().equity == "1000"


def test_a_multiplier_raises_an_option_s_requirement() -> None:
    script = option("call", "1010", "20")
    script.put("risk-parameters", {"instrument": "BTC-PERP", "multiplier": "1.5", "effective_ms": 1})
    assert margins(script) == ("210", "112.5")


def test_without_an_underlying_price_a_short_option_cannot_be_valued() -> None:
    """No index and no spot instrument: incomplete, not free."""
    script = option("call", "1010", "20").mark("20")
    assert script.bucket().status == "incomplete"
    script = option("call", "1010", "20", spot_instrument="SPOT").mark("20").mark("500", "SPOT")
    assert margins(script) == ("50", "37.5")  # 10 % and 7.5 % of 500


@pytest.mark.parametrize(
    ("kind", "strike", "cash"),
    [("call", "1010", "200"), ("put", "990", "200"), ("put", "900", "60"), ("put", "1100", "300")],
)
def test_the_liquidation_price_of_a_short_option_is_where_its_margin_ends(kind: str, strike: str, cash: str) -> None:
    """At the line the bucket is not liquidatable, a tick above it is: also where a put's own mark is what it requires."""
    script = option(kind, strike, "20", quantity="1").control("halt", "all", "*")
    script.transfer(f"-{1000 - int(cash)}", "withdrawal")
    line = position(script).liquidation_price
    assert line is not None
    assert not script.mark(line, index_price="1000").view().liquidatable
    assert script.mark(to_text(parse(line) + parse("0.1")), index_price="1000").view().liquidatable


def test_a_short_option_is_bought_back_just_enough() -> None:
    """Two calls of size 1 sold at 20, 74 of equity left under 2·75: f·(157.5 - 0.04) = 157.5 - 74 of 2 contracts."""
    script = option("call", "1010", "20", contract_size="1", lot_size="0.001")
    script.transfer("-926", "withdrawal").wait(200)
    (order,) = script.orders
    assert (order.side, order.stage, order.quantity) == ("buy", "partial", "1.061")


def position(script: Script) -> PositionView:
    return script.view().positions[0]
