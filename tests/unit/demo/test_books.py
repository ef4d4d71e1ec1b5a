"""The venue's ledger: equity to the last digit, and the cause of each bucket that went negative."""

import pytest

from services.contracts.decimals import ONE, parse
from services.contracts.messages import Fill, Transfer
from services.demo.accounts import openings
from services.demo.books import Books
from services.demo.instruments import MARKET

INSTRUMENTS = {listing.name: listing.instrument for listing in MARKET}


def deposit(account: str, amount: str, bucket: str = "main") -> Transfer:
    return Transfer(
        transfer_id=f"{account}/{bucket}",
        account=account,
        bucket=bucket,
        asset="USDT",
        amount=amount,
        reason="deposit",
        ts_ms=0,
    )


def fill(account: str, instrument: str, side: str, quantity: str, price: str, *, fee: str = "0") -> Fill:
    return Fill(
        fill_id="f", account=account, instrument=instrument, side="buy" if side == "buy" else "sell", quantity=quantity,
        price=price, fee=fee, ts_ms=0,
    )  # fmt: skip


@pytest.fixture
def books() -> Books:
    """One isolated account, 1,000 USDT and 0.1 BTC bought at 100,000: maintenance 1 %, bankrupt at 90,000."""
    books = Books(INSTRUMENTS)
    books.mark("BTC-PERP", 100_000 * ONE)
    books.mark("ETH-PERP", 4_000 * ONE)
    books.open_account("a", isolated=True)
    books.transfer(deposit("a", "1000"))
    books.transfer(
        Transfer(
            transfer_id="m",
            account="a",
            bucket="main",
            to_bucket="BTC-PERP",
            asset="USDT",
            amount="1000",
            reason="move",
            ts_ms=0,
        )
    )
    books.fill(fill("a", "BTC-PERP", "buy", "0.1", "100000"))
    return books


def test_equity_follows_the_mark_exactly(books: Books) -> None:
    bucket = books.buckets["a", "BTC-PERP"]
    books.mark("BTC-PERP", parse("95000.3"))
    assert books.equity(bucket) == parse("500.03")
    assert books.maintenance_margin(bucket) == parse("190.0006")
    assert books.equity(books.buckets["a", "main"]) == 0


def test_a_tick_through_both_lines_is_a_gap(books: Books) -> None:
    books.mark("BTC-PERP", 91_900 * ONE)
    books.mark("BTC-PERP", 89_000 * ONE)
    found = books.negatives["a", "BTC-PERP"]
    assert (found.cause, found.equity, found.mark_before) == ("gap", -100 * ONE, 91_900 * ONE)


def test_a_bucket_that_was_liquidatable_before_is_late(books: Books) -> None:
    books.mark("BTC-PERP", 90_500 * ONE)
    books.mark("BTC-PERP", 89_000 * ONE)
    assert books.negatives["a", "BTC-PERP"].cause == "late"


def test_only_the_first_moment_counts_and_zero_is_not_negative(books: Books) -> None:
    books.mark("BTC-PERP", 90_000 * ONE)
    assert not books.negatives
    assert books.lowest == (0, ("a", "BTC-PERP"))
    books.mark("BTC-PERP", 89_999 * ONE)
    books.mark("BTC-PERP", 80_000 * ONE)
    assert books.negatives["a", "BTC-PERP"].equity == parse("-0.1")
    assert books.lowest == (-1000 * ONE, ("a", "BTC-PERP"))


def test_an_execution_worse_than_the_equity_is_told_apart(books: Books) -> None:
    books.fill(fill("a", "BTC-PERP", "sell", "0.1", "100000", fee="1001"))
    assert books.negatives["a", "BTC-PERP"].cause == "fill"


def test_a_closed_position_no_longer_moves_with_the_mark(books: Books) -> None:
    books.fill(fill("a", "BTC-PERP", "sell", "0.1", "95000"))
    books.mark("BTC-PERP", 1 * ONE)
    assert books.equity(books.buckets["a", "BTC-PERP"]) == 500 * ONE
    assert not books.negatives


def test_a_cross_bucket_nets_its_positions() -> None:
    books = Books(INSTRUMENTS)
    books.mark("BTC-PERP", 100_000 * ONE)
    books.mark("ETH-PERP", 4_000 * ONE)
    books.open_account("c", isolated=False)
    books.transfer(deposit("c", "100"))
    books.fill(fill("c", "BTC-PERP", "buy", "0.1", "100000"))
    books.fill(fill("c", "ETH-PERP", "sell", "2.5", "4000"))
    books.mark("ETH-PERP", 3_900 * ONE)
    books.mark("BTC-PERP", 97_000 * ONE)
    assert books.equity(books.buckets["c", "main"]) == 50 * ONE
    assert not books.negatives


def test_the_screen_misses_nothing_over_many_accounts_and_ticks() -> None:
    """Against a scan of every bucket in exact integers after every tick."""
    books = Books(INSTRUMENTS)
    marks = {listing.name: listing.to_tick(listing.first_price) for listing in MARKET}
    for name, price in marks.items():
        books.mark(name, price)
    for opening in openings(3, 150, MARKET, marks, ts_ms=0):
        books.open_account(opening.account.account, isolated=opening.account.margin_mode == "isolated")
        for step in opening.steps:
            books.transfer(step) if isinstance(step, Transfer) else books.fill(step)
    assert not books.negatives, "nobody opens under water"
    expected: set[tuple[str, str]] = set()
    for percent in range(60):
        for listing in MARKET:
            books.mark(listing.name, listing.to_tick(listing.first_price * (1 - percent / 100)))
            expected |= {key for key, bucket in books.buckets.items() if books.equity(bucket) < 0}
            assert books.negatives.keys() == expected
    assert len(expected) > 50
