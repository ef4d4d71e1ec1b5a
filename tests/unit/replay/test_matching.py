"""What answers orders: each rule of the matching, and what a synthetic fill is charged."""

from __future__ import annotations

import pytest

from services.contracts.messages import Account, Collateral, Fill, Message, OrderEvent
from services.replay.choices import Matching
from services.replay.matching import Answer, Matcher
from tests.unit.replay.fakes import instrument, order, price


def matcher(matching: Matching, *seen: Message) -> Matcher:
    made = Matcher(matching)
    for message in seen or (instrument(), price("100")):
        assert made.saw(message, 0) == []
    return made


def fill_of(answers: list[Answer]) -> Fill:
    fill, event = answers
    assert isinstance(fill, Fill)
    assert isinstance(event, OrderEvent)
    assert event.status == "filled"
    return fill


def test_next_fills_the_whole_order_at_the_next_mark() -> None:
    made = matcher(Matching.NEXT)
    asked = order()
    assert made.ordered(asked, 5) == []
    fill, event = made.saw(price("97.50"), 7)
    assert isinstance(fill, Fill)
    assert (fill.fill_id, fill.order_id, fill.exec_type) == (f"x-{asked.order_id}", asked.order_id, "liquidation")
    assert (fill.account, fill.bucket, fill.instrument, fill.position_side) == ("a-1", "BTC-PERP", "BTC-PERP", "net")
    assert (fill.side, fill.quantity, fill.price, fill.ts_ms) == ("sell", "2", "97.5", 7)
    assert event == OrderEvent(
        order_id=asked.order_id, account="a-1", bucket="BTC-PERP", instrument="BTC-PERP", attempt=1, epoch=0,
        status="filled", quantity="2", filled_quantity="2", average_price="97.5", ts_ms=7,
    )  # fmt: skip
    assert made.saw(price("97"), 8) == [], "an answered order is gone"


@pytest.mark.parametrize(
    ("side", "limit", "mark", "status"),
    [
        ("sell", "95", "95", "filled"),
        ("sell", "95", "94.999999999999", "expired"),
        ("buy", "105", "105", "filled"),
        ("buy", "105", "105.000000000001", "expired"),
        ("buy", "105", "90", "filled"),
    ],
)
def test_next_fills_no_worse_than_the_limit_else_expires(side: str, limit: str, mark: str, status: str) -> None:
    made = matcher(Matching.NEXT)
    made.ordered(order(side=side, limit_price=limit), 5)
    answers = made.saw(price(mark), 7)
    event = answers[-1]
    assert isinstance(event, OrderEvent)
    assert event.status == status
    assert event.filled_quantity == ("2" if status == "filled" else "0")
    assert len(answers) == (2 if status == "filled" else 1)


def test_next_waits_for_a_mark_of_the_same_instrument() -> None:
    made = matcher(Matching.NEXT)
    made.ordered(order(), 5)
    assert made.saw(price("97", "ETH-PERP"), 6) == []
    assert made.saw(price("97"), 7)


def test_next_answers_in_the_order_in_which_it_was_asked() -> None:
    made = matcher(Matching.NEXT)
    asked = [order(account=account) for account in ("a-2", "a-1", "a-3")]
    for one in asked:
        made.ordered(one, 5)
    answers = [a.account for a in made.saw(price("97"), 6) if isinstance(a, Fill)]
    assert answers == ["a-2", "a-1", "a-3"]


def test_an_order_that_is_sent_again_waits_once() -> None:
    made = matcher(Matching.NEXT)
    made.ordered(order(), 5)
    made.ordered(order(valid_until_ms=9_000), 6)
    assert len(made.saw(price("97"), 7)) == 2


def test_an_executed_order_that_is_sent_again_is_told_what_became_of_it() -> None:
    made = matcher(Matching.LIMIT)
    _, event = made.ordered(order(), 5)
    (told,) = made.ordered(order(), 9)
    assert isinstance(event, OrderEvent)
    assert isinstance(told, OrderEvent)
    assert (told.status, told.filled_quantity, told.average_price, told.ts_ms) == ("filled", "2", "95", 9)


def test_an_expired_order_may_be_asked_again() -> None:
    made = matcher(Matching.NEXT)
    made.ordered(order(), 5)
    made.saw(price("90"), 6)
    made.ordered(order(), 7)
    assert fill_of(made.saw(price("96"), 8)).price == "96"


def test_limit_fills_at_the_limit_at_once() -> None:
    made = matcher(Matching.LIMIT)
    fill = fill_of(made.ordered(order(), 5))
    assert (fill.price, fill.quantity, fill.ts_ms) == ("95", "2", 5)


@pytest.mark.parametrize("matching", [Matching.NEXT, Matching.LIMIT])
@pytest.mark.parametrize("stage", ["takeover", "adl"])
def test_takeover_and_deleveraging_happen_at_their_limit_at_once(matching: Matching, stage: str) -> None:
    fill = fill_of(matcher(matching).ordered(order(stage=stage), 5))
    assert (fill.price, fill.exec_type) == ("95", stage)


@pytest.mark.parametrize("matching", [Matching.NONE, Matching.RECORDED])
def test_nothing_and_the_recording_answer_nothing_of_their_own(matching: Matching) -> None:
    made = Matcher(matching)
    assert made.saw(instrument(), 0) == []
    assert made.ordered(order(stage="takeover"), 5) == []
    assert made.saw(price("97"), 6) == []


def fee(matching: Matching, asked: dict[str, str], mark: str = "100", *seen: Message) -> str | None:
    made = matcher(matching, *(seen or (instrument(), price("100"))))
    answers = made.ordered(order(**asked), 5)
    return fill_of(answers or made.saw(price(mark), 7)).fee


def test_a_fill_is_charged_the_taker_and_the_liquidation_fee() -> None:
    assert fee(Matching.NEXT, {}) == "1.2", "2·100·(0.001 + 0.005)"


def test_the_liquidation_fee_takes_only_equity_that_is_left_above_zero() -> None:
    """Equity 50 at mark 100 with 5 held; at mark 95 it is 25, less the taker fee 0.19: the fee of 0.95 fits."""
    assert fee(Matching.NEXT, {}, "95") == "1.14"
    assert fee(Matching.NEXT, {"equity": "25.5"}, "95") == "0.5", "25.5 - 25 - 0.19 = 0.31 are left of 0.95"
    assert fee(Matching.NEXT, {"equity": "20"}, "95") == "0.19", "nothing is left: the taker fee alone"


def test_a_close_at_the_limit_pays_for_its_slippage_first() -> None:
    """Equity 11 at mark 100; two sold at 95 cost 10 and a taker fee of 0.19: 0.81 are left of a fee of 0.95."""
    assert fee(Matching.LIMIT, {"equity": "11"}) == "1"


def test_orders_of_one_bucket_share_its_equity() -> None:
    """Both sell 2 at 95, each costing 10.19: of an equity of 21 only 0.62 is left for fees, taken by the first."""
    made = matcher(Matching.NEXT, instrument(), price("100"), instrument("ETH-PERP"), price("100", "ETH-PERP"))
    made.ordered(order(bucket="main", equity="21", position_quantity="2"), 5)
    made.ordered(order(bucket="main", equity="21", position_quantity="2", instrument="ETH-PERP"), 5)
    first = fill_of(made.saw(price("95"), 6))
    second = fill_of(made.saw(price("95", "ETH-PERP"), 7))
    assert first.fee == "0.81"
    assert second.fee == "0.19"


def test_an_inverse_contract_pays_in_its_coin() -> None:
    """100 contracts of 1 USD at 50: 2 coins of notional."""
    inverse = instrument(contract="inverse", settlement_asset="BTC")
    asked = {"quantity": "100", "position_quantity": "100", "mark_price": "50", "limit_price": "40", "equity": "5"}
    assert fee(Matching.NEXT, asked, "50", inverse, price("50")) == "0.012"
    assert fee(Matching.NEXT, {**asked, "equity": "0.5"}, "40", inverse, price("50")) == "0.0025", "0.5 - 0.5 is left"


def test_equity_in_another_asset_is_converted() -> None:
    """An equity of 0.05 USDT at 0.5 USDT a USDC is 0.1 USDC, of which the taker fee takes 0.2: nothing is left."""
    seen = (
        instrument(settlement_asset="USDC"),
        price("100"),
        Account(account="a-1", margin_mode="cross", valuation_asset="USDT"),
        Collateral(asset="USDC", price_instrument="USDC-USDT"),
        price("0.5", "USDC-USDT"),
    )
    assert fee(Matching.NEXT, {"equity": "0.05"}, "100", *seen) == "0.2"
    assert fee(Matching.NEXT, {"equity": "0.35"}, "100", *seen) == "0.7", "0.35/0.5 - 0.2 = 0.5 is left of a fee of 1"


def test_without_the_price_of_the_settlement_asset_no_liquidation_fee_is_charged() -> None:
    seen = (
        instrument(settlement_asset="USDC"),
        price("100"),
        Account(account="a-1", margin_mode="cross", valuation_asset="USDT"),
    )
    assert fee(Matching.NEXT, {}, "100", *seen) == "0.2"
