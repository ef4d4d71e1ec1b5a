"""The clients of the venue: a function of the seed, opened within what the tiers allow."""

from collections import Counter

from services.contracts.decimals import parse
from services.contracts.messages import Fill, Transfer
from services.demo.accounts import openings
from services.demo.books import Books
from services.demo.instruments import MARKET

PRICES = {listing.name: listing.to_tick(listing.first_price) for listing in MARKET}


def test_the_same_seed_gives_the_same_clients() -> None:
    first = list(openings(1, 50, MARKET, PRICES, ts_ms=7))
    assert first == list(openings(1, 50, MARKET, PRICES, ts_ms=7))
    assert first != list(openings(2, 50, MARKET, PRICES, ts_ms=7))


def test_both_modes_both_sides_and_every_instrument_occur() -> None:
    clients = list(openings(1, 300, MARKET, PRICES, ts_ms=0))
    fills = [step for client in clients for step in client.steps if isinstance(step, Fill)]
    assert Counter(client.account.margin_mode for client in clients).keys() == {"isolated", "cross"}
    assert {fill.side for fill in fills} == {"buy", "sell"}
    assert {fill.instrument for fill in fills} == set(PRICES)


def test_everybody_opens_above_the_maintenance_margin_and_isolated_main_is_emptied() -> None:
    books = Books({listing.name: listing.instrument for listing in MARKET})
    for name, price in PRICES.items():
        books.mark(name, price)
    for client in openings(4, 300, MARKET, PRICES, ts_ms=0):
        isolated = client.account.margin_mode == "isolated"
        books.open_account(client.account.account, isolated=isolated)
        for step in client.steps:
            books.transfer(step) if isinstance(step, Transfer) else books.fill(step)
        if isolated:
            assert books.buckets[client.account.account, "main"].balance == 0
    for bucket in books.buckets.values():
        assert books.equity(bucket) >= books.maintenance_margin(bucket)


def test_quantities_are_whole_lots() -> None:
    lots = {listing.name: listing.lot for listing in MARKET}
    for client in openings(1, 100, MARKET, PRICES, ts_ms=0):
        assert all(parse(step.quantity) % lots[step.instrument] == 0 for step in client.steps if isinstance(step, Fill))
