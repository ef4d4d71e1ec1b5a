"""The rules that the contract sets to whoever consumes `liquidation-orders`."""

from typing import Any

import msgspec
import pytest

from services.contracts.codec import encode
from services.contracts.decimals import ONE, parse
from services.contracts.identifiers import order_id
from services.contracts.messages import Claim, Evidence, Fill, Order, Transfer
from services.demo.books import Books
from services.demo.instruments import MARKET
from services.demo.matching import Answer, MatchingEngine
from services.order_gate.gate import Action, Reason

INSTRUMENTS = {listing.name: listing.instrument for listing in MARKET}
EPOCH = 5


def order(**changed: Any) -> Order:
    """Sell the whole 0.1 BTC of account `a` at 91,000 or better."""
    attempt = changed.pop("attempt", 1)
    template = Order(
        order_id=order_id("a", "BTC-PERP", "BTC-PERP", attempt), epoch=EPOCH, account="a", client="c", bucket="BTC-PERP",
        instrument="BTC-PERP", position_side="net", side="sell", quantity="0.1", order_type="limit", time_in_force="ioc",
        limit_price="91000", reduce_only=True, cancel_resting="instrument", block_opening=True, valid_until_ms=2_000, stage="full",
        trigger="maintenance_breach", attempt=attempt, position_quantity="0.1", mark_price="91500", liquidation_price="91600",
        bankruptcy_price="90000", equity="150", maintenance_margin="152", projected_equity="150",
        projected_maintenance_margin="0", evidence=Evidence(), ts_ms=0,
    )  # fmt: skip
    return msgspec.structs.replace(template, **changed)


class Desk:
    """A matching engine with one client, and short words for what a test does to it."""

    def __init__(self) -> None:
        self.books = Books(INSTRUMENTS)
        self.books.mark("BTC-PERP", 100_000 * ONE)
        self.books.open_account("a", isolated=True)
        self.books.transfer(
            Transfer(
                transfer_id="d", account="a", bucket="BTC-PERP", asset="USDT", amount="1000", reason="deposit", ts_ms=0
            )
        )
        self.books.fill(
            Fill(fill_id="f", account="a", instrument="BTC-PERP", side="buy", quantity="0.1", price="100000", ts_ms=0)
        )
        self.engine = MatchingEngine(self.books, INSTRUMENTS, {listing.name: listing.lot for listing in MARKET})
        self.claim(EPOCH)

    def claim(self, offset: int, partition: int = 0) -> None:
        value = encode(Claim(instance="w", nonce="n", ts_ms=0))
        assert self.engine.receive(partition, offset, value, 0)[0].action is Action.CLAIM

    def receive(self, order: Order, now_ms: int = 0, partition: int = 0) -> tuple[Action | Reason, Answer | None]:
        """Why it was not executed, or what to do with it; and the answer."""
        verdict, answer = self.engine.receive(partition, 99, encode(order), now_ms)
        return verdict.reason or verdict.action, answer

    def tick(self, price: str, depth: str | None = None) -> list[Answer]:
        self.books.mark("BTC-PERP", parse(price))
        return self.engine.on_mark("BTC-PERP", parse(price), None if depth is None else parse(depth), 0)

    @property
    def position(self) -> int:
        return self.books.position("a", "BTC-PERP", "BTC-PERP")


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_order_executes_at_the_next_mark_within_its_limit(desk: Desk) -> None:
    assert desk.receive(order()) == (Action.EXECUTE, None)
    (answer,) = desk.tick("91200")
    assert (answer.event.status, answer.event.filled_quantity, answer.event.average_price) == ("filled", "0.1", "91200")
    assert answer.fill is not None
    assert answer.fill.order_id == answer.event.order_id
    assert desk.position == 0


def test_beyond_the_limit_it_expires_and_nothing_happened(desk: Desk) -> None:
    desk.receive(order())
    (answer,) = desk.tick("90999.9")
    assert (answer.event.status, answer.event.filled_quantity, answer.fill) == ("expired", "0", None)
    assert desk.position == ONE // 10
    assert desk.tick("91200") == [], "immediate or cancel: it does not rest"


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
def test_an_order_of_another_epoch_is_ignored(desk: Desk, epoch: int) -> None:
    assert desk.receive(order(epoch=epoch)) == (Reason.STALE_EPOCH, None)
    assert desk.tick("91200") == []


def test_a_later_claim_makes_the_earlier_epoch_stale_in_its_partition_only(desk: Desk) -> None:
    desk.claim(7, partition=1)
    assert desk.receive(order())[0] is Action.EXECUTE
    desk.claim(8)
    assert desk.receive(order(attempt=2))[0] is Reason.STALE_EPOCH


def test_a_partition_without_a_claim_has_no_valid_order(desk: Desk) -> None:
    assert desk.receive(order(), partition=3)[0] is Reason.STALE_EPOCH


def test_an_executed_id_is_answered_with_what_it_did_and_not_executed_again(desk: Desk) -> None:
    desk.receive(order(quantity="0.04"))
    (first,) = desk.tick("91200")
    again = Answer(event=msgspec.structs.replace(first.event, ts_ms=1_000))
    assert desk.receive(order(quantity="0.04"), now_ms=1_000) == (Reason.ANSWERED, again)
    desk.claim(8)
    assert desk.receive(order(quantity="0.1", epoch=8), now_ms=1_000) == (Reason.ANSWERED, again)
    assert desk.position == parse("0.06")


def test_an_id_of_which_nothing_executed_is_superseded_by_a_later_epoch(desk: Desk) -> None:
    desk.receive(order(limit_price="95000"))
    desk.claim(8)
    assert desk.receive(order(limit_price="91000", epoch=8))[0] is Action.SUPERSEDE
    (answer,) = desk.tick("91200")
    assert (answer.event.status, answer.event.epoch) == ("filled", 8)


def test_an_order_whose_validity_passed_is_not_executed(desk: Desk) -> None:
    verdict, answer = desk.receive(order(valid_until_ms=2_000), now_ms=2_000)
    assert verdict is Reason.EXPIRED
    assert answer is not None
    assert (answer.event.status, answer.fill) == ("expired", None)
    assert desk.tick("91200") == []


def test_the_position_bounds_the_order(desk: Desk) -> None:
    desk.receive(order(quantity="0.5"))
    (answer,) = desk.tick("91200")
    assert answer.event.filled_quantity == "0.1"
    assert desk.position == 0


def test_an_order_that_would_open_or_flip_is_rejected(desk: Desk) -> None:
    verdict, answer = desk.receive(order(side="buy"))
    assert verdict is Reason.NO_POSITION
    assert answer is not None
    assert answer.event.status == "rejected"


def test_two_orders_never_close_more_than_there_is(desk: Desk) -> None:
    desk.receive(order(attempt=1))
    verdict, refused = desk.receive(order(attempt=2))
    assert refused is not None
    assert (verdict, refused.event.status) == (Reason.NO_POSITION, "rejected")
    assert [answer.event.status for answer in desk.tick("91200")] == ["filled"]
    assert desk.position == 0


def test_a_thin_book_fills_a_part_in_whole_lots_and_the_rest_expires(desk: Desk) -> None:
    desk.receive(order())
    (answer,) = desk.tick("91200", depth="5000")
    assert (answer.event.status, answer.event.filled_quantity) == ("expired", "0.054")
    assert desk.position == parse("0.046")


def test_the_fee_never_makes_the_bucket_negative(desk: Desk) -> None:
    desk.receive(order(limit_price="90000"))
    desk.tick("90100")
    assert desk.books.equity(desk.books.buckets["a", "BTC-PERP"]) == 0
    assert not desk.books.negatives


def test_a_takeover_executes_at_its_price_whatever_the_market_does(desk: Desk) -> None:
    desk.tick("80000")
    verdict, answer = desk.receive(order(stage="takeover", limit_price="90000"))
    assert verdict is Action.EXECUTE
    assert answer is not None
    assert answer.fill is not None
    assert (answer.fill.price, answer.fill.fee, answer.fill.exec_type) == ("90000", "0", "takeover")
    assert desk.books.equity(desk.books.buckets["a", "BTC-PERP"]) == 0


def test_what_is_no_order_is_ignored(desk: Desk) -> None:
    verdict, answer = desk.engine.receive(0, 9, b"{", 0)
    assert (verdict.action, verdict.reason, answer) == (Action.IGNORE, Reason.UNREADABLE, None)
