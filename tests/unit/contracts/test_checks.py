"""Each rule beyond the shape of a message, from both sides: what is refused, by which name, and what just passes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.contracts.checks import check
from services.contracts.examples import BITCOIN, EXAMPLES, OPTION, PERPETUAL
from services.contracts.messages import Fill, MarginTier, Message, Price, Transfer, WeightTier
from services.contracts.refusals import Reason, Refusal

FILL = Fill(fill_id="f", account="a", instrument="I", side="buy", quantity="1", price="1", ts_ms=0)
TRANSFER = Transfer(transfer_id="t", account="a", asset="USDT", amount="1", reason="deposit", ts_ms=0)
PRICE = Price(instrument="I", ts_ms=0, mark_price="1")
FUTURE = msgspec.structs.replace(PERPETUAL, kind="future", expiry_ms=1)
SMALLEST = "0.000000000000000001"


def tier(floor: str, maintenance: str, initial: str | None = None) -> MarginTier:
    return MarginTier(notional_floor=floor, maintenance_margin_rate=maintenance, initial_margin_rate=initial)


def weights(*steps: tuple[str, str]) -> list[WeightTier]:
    return [WeightTier(floor=floor, weight=weight) for floor, weight in steps]


REFUSED: list[tuple[Message, dict[str, Any], Reason]] = [
    (FILL, {"quantity": "0"}, Reason.QUANTITY_NOT_POSITIVE),
    (FILL, {"quantity": "-0.5"}, Reason.QUANTITY_NOT_POSITIVE),
    (FILL, {"price": "0.000"}, Reason.PRICE_NOT_POSITIVE),
    (FILL, {"price": "-1"}, Reason.PRICE_NOT_POSITIVE),
    (FILL, {"price": "0", "exec_type": "liquidation"}, Reason.PRICE_NOT_POSITIVE),
    (FILL, {"price": "-1", "exec_type": "settlement"}, Reason.PRICE_NOT_POSITIVE),
    (TRANSFER, {"reason": "lock", "amount": "-1"}, Reason.AMOUNT_NOT_POSITIVE),
    (TRANSFER, {"reason": "unlock", "amount": f"-{SMALLEST}"}, Reason.AMOUNT_NOT_POSITIVE),
    (TRANSFER, {"reason": "move", "amount": "-1", "to_bucket": "main"}, Reason.AMOUNT_NOT_POSITIVE),
    (TRANSFER, {"reason": "move"}, Reason.MOVE_WITHOUT_TARGET),
    (PRICE, {"mark_price": None}, Reason.PRICE_MISSING),
    (PRICE, {"mark_price": None, "index_price": "1"}, Reason.PRICE_MISSING),
    (PRICE, {"mark_price": "0"}, Reason.PRICE_NOT_POSITIVE),
    (PRICE, {"index_price": "0.0"}, Reason.PRICE_NOT_POSITIVE),
    (OPTION, {"strike": None}, Reason.OPTION_INCOMPLETE),
    (OPTION, {"option_type": None}, Reason.OPTION_INCOMPLETE),
    (OPTION, {"expiry_ms": None}, Reason.EXPIRY_MISSING),
    (FUTURE, {"expiry_ms": None}, Reason.EXPIRY_MISSING),
    (OPTION, {"strike": "0"}, Reason.OUT_OF_RANGE),
    (PERPETUAL, {"contract_size": "0"}, Reason.OUT_OF_RANGE),
    (PERPETUAL, {"tick_size": "0"}, Reason.OUT_OF_RANGE),
    (PERPETUAL, {"lot_size": "0.0"}, Reason.OUT_OF_RANGE),
    (PERPETUAL, {"max_order_quantity": "0"}, Reason.OUT_OF_RANGE),
    (PERPETUAL, {"margin_tiers": [tier("1", "0.1")]}, Reason.TIERS_NOT_ASCENDING),
    (PERPETUAL, {"margin_tiers": [tier("0", "0.1"), tier("0", "0.2")]}, Reason.TIERS_NOT_ASCENDING),
    (PERPETUAL, {"margin_tiers": [tier("0", "0.1"), tier("5", "0.09")]}, Reason.TIERS_NOT_ASCENDING),
    (PERPETUAL, {"margin_tiers": [tier("0", "0.1", "0.3"), tier("5", "0.1", "0.2")]}, Reason.TIERS_NOT_ASCENDING),
    (PERPETUAL, {"margin_tiers": [tier("0", "0.1", "0.3"), tier("5", "0.2")]}, Reason.TIERS_NOT_ASCENDING),
    (PERPETUAL, {"margin_tiers": [tier("0", "0.2", "0.1")]}, Reason.OUT_OF_RANGE),
    (PERPETUAL, {"margin_tiers": [tier("0", "0.2", f"1{SMALLEST[1:]}")]}, Reason.OUT_OF_RANGE),
    (PERPETUAL, {"margin_tiers": [tier("0", "1.1")]}, Reason.OUT_OF_RANGE),
    (BITCOIN, {"weight_tiers": weights(("1", "0.9"))}, Reason.TIERS_NOT_ASCENDING),
    (BITCOIN, {"weight_tiers": weights(("0", "0.9"), ("1", "0.91"))}, Reason.TIERS_NOT_ASCENDING),
    (BITCOIN, {"weight_tiers": weights(("0", "0.9"), ("0", "0.8"))}, Reason.TIERS_NOT_ASCENDING),
    (BITCOIN, {"weight_tiers": weights(("0", "1.1"))}, Reason.TIERS_NOT_ASCENDING),
    (BITCOIN, {"initial_weight_tiers": weights(("1", "0.9"))}, Reason.TIERS_NOT_ASCENDING),
]

ACCEPTED: list[tuple[Message, dict[str, Any]]] = [
    (FILL, {"quantity": SMALLEST, "price": SMALLEST}),
    (FILL, {"fee": "-3"}),
    (FILL, {"price": "0", "exec_type": "settlement"}),  # a worthless option expires
    (TRANSFER, {"amount": "0"}),
    (TRANSFER, {"amount": "-1", "reason": "withdrawal"}),
    (TRANSFER, {"amount": "0", "reason": "lock"}),
    (TRANSFER, {"reason": "move", "to_bucket": "BTC-PERP"}),
    (PRICE, {"mark_price": SMALLEST}),
    (PRICE, {"mark_price": None, "implied_volatility": "0.5"}),
    (PRICE, {"mark_price": None, "settlement_price": "0"}),
    (PRICE, {"mark_price": "0", "implied_volatility": "0.5"}),  # the premium of a worthless option
    (FUTURE, {}),
    (PERPETUAL, {"min_order_quantity": "0"}),
    (PERPETUAL, {"tick_size": None, "lot_size": None, "contract_size": None}),
    (PERPETUAL, {"margin_tiers": [tier("0", "0")]}),
    (PERPETUAL, {"margin_tiers": [tier("0", "1")]}),
    (PERPETUAL, {"margin_tiers": [tier("0", "0.1"), tier(SMALLEST, "0.1")]}),
    (BITCOIN, {"weight_tiers": weights(("0", "1"), ("1", "1"), ("2", "0"))}),
    (BITCOIN, {"weight_tiers": None, "initial_weight_tiers": None}),
]


@pytest.mark.parametrize(("base", "change", "reason"), REFUSED)
def test_what_is_not_possible_is_refused_by_name(base: Message, change: dict[str, Any], reason: Reason) -> None:
    refusal = check(msgspec.structs.replace(base, **change))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert refusal.detail


@pytest.mark.parametrize(("base", "change"), ACCEPTED)
def test_what_is_possible_passes(base: Message, change: dict[str, Any]) -> None:
    assert check(msgspec.structs.replace(base, **change)) is None


def test_every_example_passes() -> None:
    assert [check(example.message) for example in EXAMPLES] == [None] * len(EXAMPLES)
