"""Which position of a portfolio bucket is closed: what reduces the delta first, nothing that needs more margin, all at the end."""

from __future__ import annotations

from typing import Any

from services.adapters.presets import load_presets
from tests.support.script import START_MS, Script

DAY_MS = 86_400_000
SPOTS = {"BTC": "60000", "ETH": "3000"}


def book(cash: str, *fills: tuple[str, str, str], **settings: Any) -> Script:
    """A portfolio account that holds `fills` (instrument, side, quantity), bought and sold at the marks, and `cash`."""
    script = Script(presets=load_presets(), **settings).account("portfolio", margin_preset="derive-pm2")
    for underlying, spot in SPOTS.items():
        script.instrument(f"{underlying}-PERP", underlying=underlying).mark(spot, f"{underlying}-PERP")
    for name, kind, strike in (("CALL", "call", "75000"), ("PUT", "put", "50000"), ("NEAR", "call", "60000")):
        script.instrument(name, kind="option", option_type=kind, strike=strike, expiry_ms=START_MS + 20 * DAY_MS)
        script.mark("100", name, index_price="60000", implied_volatility="0.55")
    script.transfer(cash, bucket=None)
    for instrument, side, quantity in fills:
        price = SPOTS.get(instrument[:3], "100")
        script.fill(side, quantity, price, instrument=instrument, order_id="before", exec_type="liquidation")
    return script.wait(1_000)


def closes(script: Script) -> list[tuple[str, str, str]]:
    """Of the engine, and of the reference."""
    return [(order.instrument, order.side, order.stage) for order in script.check_reference().orders]


HEDGED = (("CALL", "buy", "2"), ("NEAR", "sell", "2"))


def test_what_reduces_the_delta_goes_first_though_another_close_frees_more() -> None:
    """The short calls need most of the margin, but they hedge the long perpetual: without them the delta is 1, with them 0.05."""
    script = book("12000", ("BTC-PERP", "buy", "1"), ("CALL", "sell", "20"), ("ETH-PERP", "sell", "3"))
    view = script.view("main")
    assert view.greeks is not None
    assert float(view.greeks["BTC"]["delta"]) < 0.05
    assert closes(script) == [("ETH-PERP", "buy", "full"), ("CALL", "buy", "partial")]


def test_a_close_that_does_not_reduce_the_delta_is_all_that_is_left() -> None:
    """Twin: without the other underlying the calls are closed all the same, as nothing else helps."""
    script = book("12000", ("BTC-PERP", "buy", "1"), ("CALL", "sell", "20"))
    assert closes(script) == [("CALL", "buy", "partial")]


def test_nothing_is_closed_that_would_need_more_margin() -> None:
    """The long call limits what the short one can lose. While the short one is halted no order goes out; then it alone is closed."""
    script = (
        book("20000", *HEDGED).control("halt", target="NEAR").transfer("-19000", "withdrawal", bucket=None).wait(500)
    )
    assert script.view("main").liquidatable
    assert not script.orders
    assert closes(script.control("resume", target="NEAR")) == [("NEAR", "buy", "partial")]


def test_without_equity_all_of_it_is_taken_over() -> None:
    """Nothing is left to protect: no position waits for another one whose close would help."""
    script = (
        book("20000", *HEDGED).control("halt", target="NEAR").transfer("-20500", "withdrawal", bucket=None).wait(500)
    )
    assert closes(script) == [("CALL", "sell", "takeover")]
    assert ("NEAR", "buy", "takeover") in closes(script.control("resume", target="NEAR"))
