"""The cash ledger: nothing is made or lost but by transfers, fees, and one unit of the eighteenth decimal a division."""

from __future__ import annotations

import random
from collections import defaultdict
from fractions import Fraction
from math import floor

import msgspec
import orjson
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.contracts.decimals import ONE, parse, to_text
from services.contracts.messages import Instrument, MarginTier
from services.contracts.records import Record
from services.engine.engine import Engine
from services.engine.instruments import Spec, spec_of
from services.engine.ledger import entry_price, open_cost, trade
from services.engine.settings import Settings
from services.engine.state import COST_PLACES, Bucket, PositionKey
from tests.support.histories import START_MS, make_history
from tests.support.script import Script

KEY: PositionKey = ("X", "net")
QUANTITIES = st.integers(1, 10**24)  # 1e-18 to a million contracts
PRICES = st.integers(10**6, 10**24)  # 1e-12 to a million
PLAIN = st.decimals("0.001", "1000", places=3).map(lambda number: format(number, "f"))
COST_UNIT = 10**COST_PLACES


def spec(inverse: bool, size: int) -> Spec:
    tiers = [MarginTier(notional_floor="0", maintenance_margin_rate="0.01")]
    message = Instrument(
        instrument="X", kind="perpetual", contract="inverse" if inverse else "linear", underlying="X",
        settlement_asset="S", contract_size=to_text(size), margin_tiers=tiers,
    )  # fmt: skip
    return spec_of(message, (0, 0))


SPECS = st.builds(spec, st.booleans(), st.sampled_from([1, 10**15, ONE, 100 * ONE, 7 * ONE // 3]))
TRADES = st.lists(st.tuples(st.booleans(), QUANTITIES, PRICES), min_size=1, max_size=12)


@given(SPECS, TRADES)
def test_two_sides_of_every_trade_lose_at_most_one_unit_to_rounding(
    contract: Spec, trades: list[tuple[bool, int, int]]
) -> None:
    """Conservation: what one account pays the other gets; a trade makes no money, and loses less than 1e-18 a side."""
    buyer, seller = Bucket("a"), Bucket("b")
    for buys, quantity, price in trades:
        signed = quantity if buys else -quantity
        trade(buyer, KEY, contract, signed, price)
        trade(seller, KEY, contract, -signed, price)
    total = sum(bucket.balances.get("S", 0) for bucket in (buyer, seller))
    assert -len(trades) <= total <= 0
    held = [bucket.positions[KEY].quantity if KEY in bucket.positions else 0 for bucket in (buyer, seller)]
    assert sum(held) == 0


@given(SPECS, st.lists(QUANTITIES, min_size=1, max_size=10), PRICES, st.booleans())
def test_splitting_a_fill_changes_the_balance_by_at_most_one_unit_a_part(
    contract: Spec, parts: list[int], price: int, buys: bool
) -> None:
    """And never for the account: each part is rounded against it. Quantity is equal, and so is the open cost to a unit a part."""
    whole, split, sign = Bucket("a"), Bucket("b"), 1 if buys else -1
    trade(whole, KEY, contract, sign * sum(parts), price)
    for part in parts:
        trade(split, KEY, contract, sign * part, price)
    change = split.balances.get("S", 0) - whole.balances.get("S", 0)
    assert -len(parts) <= change <= 0
    one, many = whole.positions[KEY], split.positions[KEY]
    assert one.quantity == many.quantity
    assert abs(one.open_cost - many.open_cost) <= len(parts)


@given(SPECS, TRADES)
def test_the_balance_is_the_exact_cash_rounded_down_once_a_trade(
    contract: Spec, trades: list[tuple[bool, int, int]]
) -> None:
    """Against fractions: -q·size·x, inverse q·size/x; the ledger is below it by less than one unit a trade."""
    bucket, exact = Bucket("a"), Fraction(0)
    for buys, quantity, price in trades:
        signed = quantity if buys else -quantity
        trade(bucket, KEY, contract, signed, price)
        size, paid = Fraction(signed * contract.contract_size, ONE**2), Fraction(price, ONE)
        exact += size / paid if contract.inverse else -size * paid
    assert 0 <= exact * ONE - bucket.balances.get("S", 0) < len(trades)


@given(SPECS, st.lists(st.tuples(QUANTITIES, PRICES), min_size=1, max_size=8), st.integers(1, 99), PRICES)
def test_adding_averages_the_entry_and_reducing_keeps_it(
    contract: Spec, fills: list[tuple[int, int]], share: int, exit_price: int
) -> None:
    """Linear: the mean price by quantity; inverse: the harmonic one. Closing a share at any price moves it by no more than rounding."""
    bucket = Bucket("a")
    for quantity, price in fills:
        trade(bucket, KEY, contract, quantity, price)
    position = bucket.positions[KEY]
    total, size = position.quantity, Fraction(contract.contract_size, ONE)
    weights = [(Fraction(quantity, ONE), Fraction(price, ONE)) for quantity, price in fills]
    cost = sum(q * size / p if contract.inverse else q * size * p for q, p in weights)
    assert abs(Fraction(position.open_cost, COST_UNIT) - cost) <= Fraction(len(fills), COST_UNIT)
    kept = total * share // 100
    if not kept:
        return
    before = position.open_cost
    trade(bucket, KEY, contract, kept - total, exit_price)
    assert abs(bucket.positions[KEY].open_cost * total - before * kept) <= total
    assert entry_price(contract, bucket.positions[KEY]) is not None


def test_open_cost_is_rounded_half_to_even() -> None:
    """k·5^36/2 at 1e-54 is a tie for every odd k: 1 goes down to an even number, 3 up to one; a little more or less is no tie."""
    contract, half = spec(inverse=True, size=1), 5**36 // 2
    assert [open_cost(contract, k, 2**37) for k in (1, 3, 5, 7)] == [half, 3 * half + 2, 5 * half + 2, 7 * half + 4]
    assert open_cost(contract, 1, 3) == 10**36 // 3
    assert open_cost(contract, 2, 3) == 2 * 10**36 // 3 + 1


@given(SPECS, QUANTITIES, PRICES, PRICES, QUANTITIES)
def test_crossing_zero_opens_the_rest_at_the_new_price(
    contract: Spec, held: int, before: int, price: int, rest: int
) -> None:
    """The other side starts with its own cost, and exactly closing leaves no position."""
    crossed, fresh, closed = Bucket("a"), Bucket("b"), Bucket("c")
    trade(crossed, KEY, contract, held, before)
    trade(crossed, KEY, contract, -held - rest, price)
    trade(fresh, KEY, contract, -rest, price)
    assert crossed.positions == fresh.positions
    trade(closed, KEY, contract, held, before)
    trade(closed, KEY, contract, -held, price)
    assert not closed.positions


@given(
    st.booleans(),
    st.sampled_from(["buy", "sell"]),
    st.tuples(PLAIN, PLAIN, PLAIN),
    st.sampled_from(["1", "0.5", "0.333"]),
)
@settings(max_examples=60)
def test_closing_at_the_mark_changes_equity_by_the_fee_and_rounding_only(
    inverse: bool, side: str, amounts: tuple[str, str, str], share: str
) -> None:
    """All or a part of it, at a profit or a loss: what was unrealised becomes balance, and the fee is what it costs."""
    (quantity, entry, mark), asset = amounts, "BTC" if inverse else "USDT"
    script = Script().instrument(contract="inverse" if inverse else "linear", settlement_asset=asset)
    script.account(valuation_asset=asset).control("halt", "all", "*").mark(mark)
    script.transfer("1000000", asset=asset).fill(side, quantity, entry)
    before, part = number(script.view().equity), number(quantity) * number(share)
    script.fill("sell" if side == "buy" else "buy", to_text(int(part * ONE)), mark, fee="0.01")
    lost = before - number(script.view().equity) - number("0.01")
    assert abs(lost) <= Fraction(2, ONE)


@given(st.integers(0, 2**32))
@settings(max_examples=20)
def test_what_an_account_s_buckets_hold_together_is_what_came_in(seed: int) -> None:
    """Deposits, withdrawals and funding, less fees and the cash of fills; moves and locks change no total."""
    history = make_history(random.Random(seed), steps=80)
    engine, specs = Engine(Settings(), gates_open=False), {}
    expected: dict[tuple[str, str], int] = defaultdict(int)
    for offset, event in enumerate(history.events):
        value, account = event.value, str(event.account)
        engine.apply(Record(
            topic=event.topic, partition=0, offset=offset, timestamp_ms=event.time_ms, key=None, value=orjson.dumps(value),
        ))  # fmt: skip
        if event.topic == "instruments":
            specs[value["instrument"]] = spec_of(msgspec.convert(value, Instrument), (0, 0))
        elif event.topic == "transfers" and value["reason"] not in ("lock", "move"):
            expected[account, value["asset"]] += parse(value["amount"])
        elif event.topic == "fills":
            contract = specs[value["instrument"]]
            signed = parse(value["quantity"]) * (1 if value["side"] == "buy" else -1)
            size, price = Fraction(signed * contract.contract_size, ONE**2), Fraction(parse(value["price"]), ONE)
            cash = size / price if contract.inverse else -size * price
            expected[account, contract.settlement_asset] += floor(cash * ONE) - parse(value["fee"] or "0")
    engine.timer(START_MS + 10**9)
    waiting = {
        (parked.account, parked.fill_id) for a in engine._context.accounts.awake.values() for parked, _ in a.parked
    }
    assume(not waiting)  # of an account that nobody described and that deposited nothing
    found: dict[tuple[str, str], int] = defaultdict(int)
    for account, bucket in engine._context.all_buckets():
        for asset, amount in bucket.balances.items():
            found[account.account, asset] += amount
    assert {key: amount for key, amount in found.items() if amount} == {
        k: amount for k, amount in expected.items() if amount
    }


def number(text: str | None) -> Fraction:
    assert text is not None
    return Fraction(text)
