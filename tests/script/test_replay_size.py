"""A recording of a size that people have: 2,000 accounts, 20,000 records, a fall of 12 %."""

from __future__ import annotations

import random

import pytest

from tests.script.tape import Outcome, Tape, run

ACCOUNTS, RECORDS, INSTRUMENTS = 2_000, 20_000, ("BTC-PERP", "ETH-PERP", "SOL-PERP")
LIMIT_S = 60.0


def market_with_a_fall(seed: int = 7) -> Tape:
    """Longs and shorts of up to 22 times leverage, marks in a random walk of which the second half falls."""
    draw = random.Random(seed)
    tape = Tape()
    marks = dict.fromkeys(INSTRUMENTS, 1000.0)
    for name in INSTRUMENTS:
        tape.instrument(name, insurance_pool="USDT-main").mark("1000", name)
    for number in range(ACCOUNTS):
        account, name = f"a-{number}", draw.choice(INSTRUMENTS)
        tape.account(account).deposit(f"{draw.uniform(45, 700):.2f}", name, account)
        tape.fill("buy" if draw.random() < 0.7 else "sell", "1", "1000", account, instrument=name)
    tape.wait(1_000)
    ticks = RECORDS - len(tape.lines)
    for tick in range(ticks):
        name = INSTRUMENTS[tick % len(INSTRUMENTS)]
        drift = -0.12 * len(INSTRUMENTS) * 2 / ticks if tick > ticks // 2 else 0.0
        marks[name] *= 1 + drift + draw.gauss(0, 0.0002)
        tape.wait(20).mark(f"{marks[name]:.1f}", name)
    return tape


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run("replay", market_with_a_fall(), folder=tmp_path_factory.mktemp("size"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_replays_in_under_a_minute(replayed: Outcome) -> None:
    summary = replayed.summary
    assert (summary["records"], summary["accounts"], summary["buckets"]) == (RECORDS, ACCOUNTS, ACCOUNTS)
    assert summary["liquidated_buckets"] > 100, "the fall must hit somebody"
    assert float(summary["elapsed_s"]) < LIMIT_S
    print({key: summary[key] for key in summary if key not in ("effect", "state_hash")})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_steady_fall_makes_no_bucket_negative(replayed: Outcome) -> None:
    """Marks move by less than a tenth of a percent at a time: every bucket is closed out of its own equity."""
    summary = replayed.summary
    assert (summary["negative_buckets"], summary["deficit"], replayed.exit_code) == (0, {}, 0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_order_reduces_and_none_exceeds_its_position(replayed: Outcome) -> None:
    orders = replayed.effects("liquidation-order")
    assert all(order["reduce_only"] for order in orders)
    assert all(float(order["quantity"]) <= abs(float(order["position_quantity"])) for order in orders)
    assert all((order["side"] == "sell") == (float(order["position_quantity"]) > 0) for order in orders)
