"""How far liquidation is, told with every change of status: the position that is nearest, in price, per cent and sigmas."""

from __future__ import annotations

from typing import Any

import pytest

from tests.script.tape import Tape, replay


def last_state(tape: Tape, *arguments: str) -> dict[str, Any]:
    told = replay(tape, "--matching", "none", "--engine", "both", *arguments).effects("account-state")[-1]
    return {name.removeprefix("distance_"): value for name, value in told.items() if name.startswith("distance_")}


def test_the_distance_of_an_isolated_long() -> None:
    """100 USDT, one contract bought at 1000: E = p - 900 and MM = p/100 meet at 909.0909...; the mark is 920, sigma 1 %."""
    told = last_state(Tape().long().mark("920"), "--set", "engine.default_sigma=0.01")
    assert told == {
        "instrument": "BTC-PERP", "price": "10.90909090909", "percent": "1.185770750988", "sigmas": "1.185770750988",
    }  # fmt: skip


def test_a_passed_liquidation_price_is_a_negative_distance_rounded_down() -> None:
    told = last_state(Tape().long().mark("905"))
    assert (told["price"], told["percent"]) == ("-4.09090909091", "-0.452034153692")


def test_of_several_positions_the_nearest_in_sigmas_counts() -> None:
    """Both would have to fall by as much money; ETH moves three times as much."""
    tape = Tape().instrument().instrument("ETH-PERP").account(mode="cross").deposit("300", bucket="main")
    tape.fill("buy", "1", "1000").fill("buy", "1", "1000", instrument="ETH-PERP")
    for name, variance in (("BTC-PERP", "0.0001"), ("ETH-PERP", "0.0009")):
        tape.put("risk-parameters", {"instrument": name, "multiplier": "1", "variance": variance, "effective_ms": 0})
    told = last_state(tape.mark("1000").mark("1000", "ETH-PERP"))
    assert told["instrument"] == "ETH-PERP"
    assert float(told["percent"]) == pytest.approx(3 * float(told["sigmas"]))


def test_what_no_mark_alone_liquidates_has_no_distance() -> None:
    """1000 USDT behind one contract bought at 1000: at any price above zero it is enough."""
    tape = Tape().instrument().account().deposit("1000").fill("buy", "1", "1000").mark("1000")
    assert set(last_state(tape).values()) == {None}
