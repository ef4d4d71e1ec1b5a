"""Portfolio accounts on the command line: either engine, both in lockstep, and a preset file in place of the account's own."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from tests.script.tape import START_MS, Tape, replay, run

DAY_MS = 86_400_000


def option(name: str, kind: str, strike: str, days: int) -> dict[str, Any]:
    return {
        "instrument": name, "kind": "option", "contract": "linear", "underlying": "BTC", "settlement_asset": "USDT",
        "spot_instrument": "BTC-USDT", "expiry_ms": START_MS + days * DAY_MS, "strike": strike, "option_type": kind,
        "tick_size": "0.5", "lot_size": "0.01", "insurance_pool": "pool",
        "margin_tiers": [{"notional_floor": "0", "maintenance_margin_rate": "0.01"}],
    }  # fmt: skip


def premium(name: str, mark: str | None, forward: str, volatility: str) -> dict[str, Any]:
    return {
        "instrument": name,
        "mark_price": mark,
        "index_price": forward,
        "implied_volatility": volatility,
        "interest_rate": "0.03",
    }


def strangle(cash: str, preset: str | None = "derive-pm2") -> Tape:
    """Short calls, long puts, short a perpetual, long the coin: one position hedges the other."""
    tape = Tape().instrument("BTC-PERP", spot_instrument="BTC-USDT").account(mode="portfolio", margin_preset=preset)
    tape.put("instruments", option("CALL", "call", "65000", 30)).put("instruments", option("PUT", "put", "60000", 30))
    weights = [{"floor": "0", "weight": "0.9"}]
    tape.put("collateral", {"asset": "BTC", "price_instrument": "BTC-USDT", "weight_tiers": weights, "hedges": "BTC"})
    tape.deposit(cash, bucket="main").deposit("1.5", bucket="main", asset="BTC")
    tape.fill("sell", "3", "1500.5", instrument="CALL").fill("buy", "2", "1200", instrument="PUT").fill(
        "sell", "0.8", "63000"
    )
    return at(tape, "63000.1", "1510").wait(1_000)


def at(tape: Tape, spot: str, call: str) -> Tape:
    tape.mark(spot, "BTC-USDT").mark(spot).put("prices", premium("CALL", call, spot, "0.55"))
    return tape.put("prices", premium("PUT", None, spot, "0.61"))


def figures(tape: Tape, *arguments: str) -> dict[str, Any]:
    (row,) = run("margin", tape, *arguments).lines
    return {
        name: row[name]
        for name in ("equity", "initial_margin", "maintenance_margin", "worst_scenario", "status", "positions")
    }


def test_both_engines_give_the_same_margin() -> None:
    fast = figures(strangle("1000"))
    assert fast == figures(strangle("1000"), "--engine", "reference")
    assert fast["worst_scenario"] == "1.18:up"
    assert float(fast["maintenance_margin"]) > 10_000


def test_a_preset_file_stands_in_for_an_unknown_one(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    body = json.loads((resources.files("services") / "presets" / "derive-pm2.json").read_bytes())
    body["margin"]["mm_factor"] = "0.5"
    file.write_text(json.dumps(body))
    assert figures(strangle("1000", "unheard-of"))["status"] == "incomplete"
    for name in ("unheard-of", None):
        fast = figures(strangle("1000", name), "--preset", str(file))
        assert fast == figures(strangle("1000", name), "--preset", str(file), "--engine", "reference")
        assert 0 < float(fast["maintenance_margin"]) < float(figures(strangle("1000"))["maintenance_margin"])


def test_in_lockstep_they_close_the_same_positions_and_the_limit_leaves_the_mark() -> None:
    """The spot rises by 12 %: the short calls are closed, for more than their mark, so that somebody sells them."""
    tape = at(strangle("-70000").wait(50), "70500", "6900").wait(500)
    outcome = replay(at(tape, "70500", "6900"), "--engine", "both", "--matching", "none")
    assert not outcome.effects("difference")
    (order,) = outcome.effects("liquidation-order")
    assert (order["instrument"], order["side"], order["quantity"]) == ("CALL", "buy", "2.25")  # twelve sixteenths of 3
    assert float(order["limit_price"]) > float(order["mark_price"])
