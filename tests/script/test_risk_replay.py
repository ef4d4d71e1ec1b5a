"""`replay --risk` as scripts: multipliers where the recording holds none, its own where it does, and the backtest of either."""

from __future__ import annotations

from typing import Any

import pytest

from services.contracts.decimals import ONE
from services.engine.engine import Engine
from services.engine.settings import Settings
from tests.script.tape import START_MS, Tape, replay
from tests.support.histories import Drive, Event, History

SUMMARY = [
    "effect", "records", "accounts", "buckets", "orders", "liquidated_buckets", "negative_buckets", "lowest_equity",
    "lowest_equity_bucket", "deficit", "dead_letters", "state_hash", "elapsed_s", "records_per_s",
]  # fmt: skip


def stormy(minutes: int = 6, tape: Tape | None = None) -> Tape:
    """A mark a second, up and down by 0.5 %: 3·0.5 %·√60 = 11.6 % against a first tier of 1 %: the cap is demanded."""
    tape = tape or Tape().instrument().account().deposit("50").fill("buy", "1", "1000")
    for second in range(60 * minutes):
        tape.mark("1005" if second % 2 else "1000").wait(1_000)
    return tape


def test_a_risen_multiplier_liquidates_and_is_backtested() -> None:
    """20 of equity against 10 of maintenance: a step a minute, and past 2 the bucket is liquidatable at an unchanged mark."""
    outcome = replay(stormy(tape=Tape().instrument().account().deposit("20").fill("buy", "1", "1000")), "--risk")
    assert outcome.effects("liquidation-order")[0]["trigger"] == "maintenance_breach"
    assert list(outcome.summary) == [*SUMMARY, "backtest"]
    assert outcome.summary["records"] == 4 + 360, "computed records are none of the recording's"
    test = outcome.summary["backtest"]["BTC-PERP"]
    assert list(test) == ["observations", "breaches", "breach_rate"]
    assert test == {"observations": 5, "breaches": 0, "breach_rate": "0"}


def test_without_the_flag_nothing_changes() -> None:
    outcome = replay(stormy())
    assert list(outcome.summary) == SUMMARY
    assert not outcome.effects("liquidation-order")


def test_a_recording_with_multipliers_keeps_them() -> None:
    """One that says 1 for ever: nothing is computed on top."""
    tape = Tape().instrument().account().deposit("20").fill("buy", "1", "1000")
    tape.put("risk-parameters", {"instrument": "BTC-PERP", "multiplier": "1", "effective_ms": START_MS})
    outcome = replay(stormy(tape=tape), "--risk")
    assert not outcome.effects("liquidation-order")
    assert outcome.summary["backtest"]["BTC-PERP"]["observations"] == 5


def test_a_move_beyond_the_margin_is_a_breach() -> None:
    """Two windows of a minute; in the first the mark falls by 5 %, the margin is 1 %."""
    tape = Tape().instrument()
    for mark in ("1000", "950", "950", "950", "950", "950", "950"):
        tape.mark(mark).wait(21_000)
    outcome = replay(tape, "--risk")
    assert outcome.summary["backtest"] == {"BTC-PERP": {"observations": 2, "breaches": 1, "breach_rate": "0.5"}}


def test_the_model_can_be_changed() -> None:
    """What if: a cap of 1 is no multiplier at all."""
    tape = Tape().instrument().account().deposit("20").fill("buy", "1", "1000")
    plain, capped = replay(stormy(tape=tape), "--risk", "--set", "risk.cap=1").effects("summary")
    assert (plain["orders"] > 0, capped["orders"]) == (True, 0)


@pytest.mark.parametrize(
    "arguments", [("--set", "risk.cap=2"), ("--risk", "--set", "risk.cap=0.5"), ("--risk", "--set", "risk.hat=1")]
)
def test_a_model_that_cannot_be_meant_is_wrong_use(arguments: tuple[str, ...]) -> None:
    assert replay(stormy(1), *arguments).exit_code == 2


def test_fast_and_reference_take_the_same_records() -> None:
    outcome = replay(stormy(3), "--risk", "--engine", "both")
    assert not outcome.effects("difference")
    assert replay(stormy(3), "--risk").summary["state_hash"] == outcome.summary["state_hash"]


def test_what_a_step_makes_liquidatable_is_counted() -> None:
    """Of two longs of 1000 and 2000 notional with 15 and 100 of equity a step to 2 catches the first; a fall counts nothing."""
    engine = Engine(Settings())
    events: list[tuple[str, dict[str, Any]]] = [("instruments", {
        "instrument": "P", "kind": "perpetual", "contract": "linear", "underlying": "X", "settlement_asset": "USDT",
        "margin_tiers": [{"notional_floor": "0", "maintenance_margin_rate": "0.01"}],
    })]  # fmt: skip
    for name, quantity, deposit in (("a", "1", "15"), ("b", "2", "100")):
        events += [
            ("accounts", {"account": name, "client": name, "margin_mode": "cross", "valuation_asset": "USDT"}),
            ("transfers", {"transfer_id": name, "account": name, "asset": "USDT", "amount": deposit, "reason": "deposit"}),
            ("fills", {"fill_id": name, "account": name, "instrument": "P", "side": "buy", "quantity": quantity, "price": "1000"}),
        ]  # fmt: skip
    events.append(("prices", {"instrument": "P", "mark_price": "1000"}))
    for multiplier in ("2", "1", "1.2"):
        events.append(("risk-parameters", {"instrument": "P", "multiplier": multiplier, "effective_ms": START_MS}))
    Drive(engine, None).play(History([Event(topic, START_MS, {"ts_ms": START_MS} | value) for topic, value in events]))
    assert engine.stats.newly_liquidatable == {"P": 1000 * ONE}
