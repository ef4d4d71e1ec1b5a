"""The interval bounds hold the exact numbers, wherever in the box the prices stand."""

from __future__ import annotations

import random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.decimals import ONE
from services.contracts.records import Record
from services.engine.bounds import Sheet
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.engine.valuation import Valuation

ASSETS, INSTRUMENTS = ("USDT", "BTC", "ETH", "PAR"), ("A", "B", "C")


def tiers(dice: random.Random) -> list[dict[str, Any]]:
    """Given deductions may jump, and leave a requirement below zero."""
    given = dice.choice((None, None, "5", "300", "-40"))
    first = {"notional_floor": "0", "initial_margin_rate": "0.02", "maintenance_margin_rate": "0.01"}
    second = {"notional_floor": "900", "initial_margin_rate": "0.3", "maintenance_margin_rate": "0.1"}
    return [first, second | {"maintenance_deduction": given, "initial_deduction": given}]


def weights(dice: random.Random) -> list[dict[str, str]] | None:
    floors, first = [{"floor": "0", "weight": "0.9"}, {"floor": "2", "weight": "0.3"}], dice.choice(("0", "0.5", "1"))
    return dice.choice((None, floors, [{"floor": "0", "weight": first}]))


def collateral(dice: random.Random, asset: str) -> dict[str, Any]:
    return {
        "asset": asset, "price_instrument": None if asset == "PAR" else dice.choice(("P", "Q", "A")),
        "weight_tiers": weights(dice), "initial_weight_tiers": weights(dice), "price_floor": dice.choice((None, "95")),
        "liability_maintenance_rate": dice.choice((None, "0.05")),
    }  # fmt: skip


def market(dice: random.Random) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for name in INSTRUMENTS:
        inverse = dice.random() < 0.3
        found.append(("instruments", {
            "instrument": name, "kind": "perpetual", "contract": "inverse" if inverse else "linear", "underlying": name,
            "settlement_asset": dice.choice(ASSETS), "margin_tiers": tiers(dice), "contract_size": "100" if inverse else "1",
            "close_fee_basis": dice.choice((None, "mark")), "maintenance_basis": dice.choice((None, "entry")),
            "tier_boundary": dice.choice((None, "lower")),
        }))  # fmt: skip
    found += [("collateral", collateral(dice, asset)) for asset in ASSETS]
    found += [("prices", {"instrument": name, "mark_price": "100"}) for name in (*INSTRUMENTS, "P", "Q")]
    found.append(("accounts", {"account": "a", "margin_mode": "cross", "valuation_asset": "USDT"}))
    for number, asset in enumerate(dice.sample(ASSETS, dice.randint(1, 4))):
        amount = str(dice.choice((1000, 3, 1, -2, -50)))
        more = {"transfer_id": str(number), "account": "a", "asset": asset, "amount": amount, "reason": "adjustment"}
        found.append(("transfers", more))
    for number, name in enumerate(dice.sample(INSTRUMENTS, dice.randint(0, 3))):
        more = {"fill_id": str(number), "account": "a", "instrument": name, "side": dice.choice(("buy", "sell"))}
        found.append(("fills", more | {"quantity": dice.choice(("1", "9", "20")), "price": "100"}))
    return found


@given(st.integers(0, 2**32))
@settings(max_examples=150)
def test_no_price_in_the_box_leaves_the_bounds(seed: int) -> None:
    dice = random.Random(seed)
    engine = Engine(Settings())
    for offset, (topic, value) in enumerate(market(dice)):
        raw = orjson.dumps({"ts_ms": 0} | value)
        engine.apply(Record(topic=topic, partition=0, offset=offset, timestamp_ms=0, key=None, value=raw))
    context = engine._context
    account, bucket = context.accounts.awake["a"], context.accounts.awake["a"].buckets["main"]
    marks = context.market.book.marks
    box = {name: (100 * (1 - dice.uniform(0, 0.3)), 100 * (1 + dice.uniform(0, 0.3))) for name in sorted(marks)}
    bounds = Sheet(account, bucket, context.market).over(box)
    for _ in range(30):
        for name, (low, high) in box.items():
            marks[name] = round(dice.choice((low, high, dice.uniform(low, high))) * ONE)
        exact = engine._valuer.value_bucket(account, bucket, 0)
        assert isinstance(exact, Valuation)
        for amount, (least, most) in (
            (exact.equity, bounds.equity), (exact.maintenance, bounds.maintenance), (exact.initial, bounds.initial),
        ):  # fmt: skip
            assert least - bounds.error <= amount / exact.scale <= most + bounds.error
