"""Golden scenarios through `ringfence replay`: events in, effects out, each figure worked out by hand.

The usual account: 100 USDT, one contract bought at 1000, maintenance rate 1 %. Defaults: fee 0.05 %, slippage 0.1 %,
hysteresis 5 %, one sigma over the latency 0.01 %, half spread 0.02 %, distress range 5 %.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.script.tape import START_MS, Tape, replay, run

OPENING = ["closed -> healthy", "alarm bucket_incomplete", "healthy -> incomplete", "incomplete -> healthy"]
OPENED = len(OPENING)
ORDER_KEYS = [
    "effect", "cause", "type", "order_id", "epoch", "account", "client", "bucket", "instrument", "position_side", "side",
    "quantity", "order_type", "time_in_force", "limit_price", "reduce_only", "cancel_resting", "block_opening",
    "valid_until_ms", "stage", "trigger", "attempt", "position_quantity", "mark_price", "liquidation_price",
    "bankruptcy_price", "equity", "maintenance_margin", "projected_equity", "projected_maintenance_margin", "evidence", "ts_ms",
]  # fmt: skip
SUMMARY_KEYS = [
    "effect", "records", "accounts", "buckets", "orders", "liquidated_buckets", "negative_buckets", "lowest_equity",
    "lowest_equity_bucket", "deficit", "dead_letters", "state_hash", "elapsed_s", "records_per_s",
]  # fmt: skip
ENGINES = pytest.mark.parametrize("engine", ["fast", "full-scan"])


def test_above_its_liquidation_price_nothing_happens() -> None:
    outcome = replay(Tape().long().mark("909.1"))
    assert outcome.effects("liquidation-order") == []
    assert outcome.summary["lowest_equity"] == "9.1"


@ENGINES
def test_an_order_closes_just_enough_and_carries_its_evidence(engine: str) -> None:
    """At 909: equity 9 < 9.09. Smallest f with 9 - 1.3635·f >= 1.05·9.09·(1-f): 0.0666, up to the lot. The limit is near the
    mark: 909·(1 - 0.0001 - 0.0002 - (1 - 9/9.09)·0.05) = 908.28, up to the tick."""
    outcome = replay(Tape().long().mark("909"), "--engine", engine)
    assert outcome.story == [*OPENING, "sell 0.067 at 908.3 partial #1", "healthy -> liquidating"]
    (order,) = outcome.effects("liquidation-order")
    assert list(order) == ORDER_KEYS
    assert order["cause"] == ["prices", 0, 1]
    expected: dict[str, Any] = {
        "type": "order", "account": "a-1", "client": "c-1", "bucket": "BTC-PERP", "instrument": "BTC-PERP",
        "reduce_only": True, "trigger": "maintenance_breach", "position_quantity": "1", "mark_price": "909",
        "liquidation_price": "909.1", "bankruptcy_price": "900", "equity": "9", "maintenance_margin": "9.09",
        "ts_ms": START_MS + 1_000, "valid_until_ms": START_MS + 3_000,
    }  # fmt: skip
    assert {key: order[key] for key in expected} == expected
    assert order["evidence"]["prices"] == {"BTC-PERP": [0, 1]}


def test_the_next_mark_fills_it_and_the_fee_is_charged() -> None:
    """0.067 sold at 908.9, fee 0.067·908.9·0.0005 = 0.03044815; then 0.933 contracts at 908.9: equity 8.86955185."""
    outcome = replay(Tape().long().mark("909").wait(100).mark("908.9").wait(1_000).mark("940"))
    assert outcome.story == [
        *OPENING,
        "sell 0.067 at 908.3 partial #1",
        "healthy -> liquidating",
        "liquidating -> healthy",
    ]
    assert outcome.exit_code == 0
    assert list(outcome.summary) == SUMMARY_KEYS
    figures = {key: outcome.summary[key] for key in SUMMARY_KEYS[1:11]}
    assert figures == {
        "records": 8, "accounts": 1, "buckets": 1, "orders": 1, "liquidated_buckets": 1, "negative_buckets": 0,
        "lowest_equity": "8.86955185", "lowest_equity_bucket": "a-1|BTC-PERP", "deficit": {}, "dead_letters": 0,
    }  # fmt: skip


def test_a_mark_beyond_the_limit_expires_it_and_the_next_attempt_is_larger() -> None:
    """At 905: equity 5; f = 4.5025/8.145 = 0.5528. The attempt pushes the limit to the bankruptcy price."""
    outcome = replay(Tape().long().mark("909").wait(100).mark("905").wait(100).mark("906"))
    assert outcome.story[OPENED:] == [
        "sell 0.067 at 908.3 partial #1",
        "healthy -> liquidating",
        "sell 0.553 at 900 partial #2",
        "liquidating -> margin_call",
    ]
    second = outcome.effects("liquidation-order")[1]
    assert second["cause"][0] == "order-events", "the answer lets the next attempt be made"


def test_at_the_limit_everything_is_answered_at_once() -> None:
    """0.067 at 908.3: equity 9 - 0.067·0.7 - 0.03042805 = 8.92267195, above 1.05·8.48097 but under 1.1 times it."""
    outcome = replay(Tape().long().mark("909"), "--matching", "limit")
    assert outcome.story[OPENED:] == [
        "sell 0.067 at 908.3 partial #1",
        "healthy -> liquidating",
        "liquidating -> reduce_only",
    ]
    assert outcome.summary["lowest_equity"] == "8.92267195"


def test_a_whole_close_at_the_limit_leaves_exactly_nothing() -> None:
    """At the bankruptcy price the equity is used up; the liquidation fee takes nothing that is not there."""
    outcome = replay(Tape().long().mark("901"), "--matching", "limit")
    assert outcome.story[OPENED:] == ["sell 1 at 900 full #1", "healthy -> liquidating", "liquidating -> closed"]
    assert (outcome.summary["lowest_equity"], outcome.summary["negative_buckets"]) == ("0", 0)
    assert outcome.exit_code == 0


def test_without_answers_the_order_is_sent_again_with_the_same_id() -> None:
    outcome = replay(Tape().long().mark("909").wait(5_000).mark("908"), "--matching", "none")
    assert outcome.story[OPENED + 2 :] == ["alarm order_unanswered", "sell 0.067 at 908.3 partial #1"]
    first, second = outcome.effects("liquidation-order")
    assert first["order_id"] == second["order_id"]
    assert second["cause"] == ["timer", 0, START_MS + 3_500]
    assert outcome.summary["orders"] == 1


@ENGINES
@pytest.mark.parametrize(("pool", "stage"), [("USDT-main", "takeover"), (None, "adl")])
def test_a_gap_through_the_bankruptcy_price_is_a_default(engine: str, pool: str | None, stage: str) -> None:
    tape = Tape().instrument(insurance_pool=pool).account().deposit("100").fill("buy", "1", "1000").mark("1000")
    outcome = replay(tape.wait(1_000).mark("890"), "--engine", engine)
    opening = outcome.story[OPENED : OPENED + 3]
    assert opening == [f"sell 1 at 900 {stage} #1", "healthy -> liquidating", "missing 10 USDT"]
    assert outcome.story[-1] == "liquidating -> closed"
    summary = outcome.summary
    assert (summary["deficit"], summary["negative_buckets"], summary["lowest_equity"]) == ({"USDT": "10"}, 1, "-10")
    assert outcome.exit_code == 1, "a bucket went negative"


def test_an_account_touched_by_the_last_record_is_decided_when_it_has_settled() -> None:
    outcome = replay(Tape().instrument().mark("909").account().deposit("100").fill("buy", "1", "1000"))
    (order,) = outcome.effects("liquidation-order")
    assert order["cause"] == ["timer", 0, START_MS + 200]


def test_refused_records_are_dead_letters_and_the_run_goes_on() -> None:
    tape = Tape().long().put("fills", "not json").put("unheard-of", {}).mark("909")
    outcome = replay(tape)
    assert outcome.story[OPENED:] == [
        "refused fills invalid_json",
        "refused unheard-of unknown_topic",
        "sell 0.067 at 908.3 partial #1",
        "healthy -> liquidating",
    ]
    assert outcome.summary["dead_letters"] == 2
    assert outcome.effects("dead-letter")[0]["value"] == "not json"


def answered(tape: Tape) -> Tape:
    """The order of `long` at 909, with the answer that the venue gave: filled at 908.5."""
    order = replay(tape).effects("liquidation-order")[0]
    tape.wait(100).fill("sell", "0.067", "908.5", order_id=order["order_id"], exec_type="liquidation", fee="0.01")
    event = {key: order[key] for key in ("order_id", "account", "bucket", "instrument", "attempt", "quantity")}
    return tape.put("order-events", {**event, "status": "filled", "filled_quantity": "0.067", "average_price": "908.5"})


def test_a_recording_that_holds_answers_answers_itself() -> None:
    """Equity 9 - 0.067·0.5 - 0.01 = 8.9565."""
    outcome = replay(answered(Tape().long().mark("909")))
    assert outcome.story[OPENED:] == [
        "sell 0.067 at 908.3 partial #1",
        "healthy -> liquidating",
        "liquidating -> reduce_only",
    ]
    assert outcome.summary["lowest_equity"] == "8.9565"
    assert outcome.lines[-2]["cause"] == ["fills", 0, 1], "the fill completes the order"


def test_recorded_answers_are_left_out_when_something_else_answers() -> None:
    tape = answered(Tape().long().mark("909"))
    assert replay(tape, "--matching", "none").summary["lowest_equity"] == "9"
    assert replay(tape, "--matching", "limit").summary["lowest_equity"] == "8.92267195"


def test_orders_and_states_in_the_recording_are_not_taken_for_the_engines_own() -> None:
    tape = Tape().long().mark("909")
    plain = replay(tape)
    for line in plain.lines[:-1]:
        if line["effect"] == "liquidation-order":
            tape.put("liquidation-orders", {key: line[key] for key in line if key not in ("effect", "cause")})
    again = replay(tape)
    assert again.story == plain.story
    assert again.summary["state_hash"] == plain.summary["state_hash"]


def test_what_if_runs_twice_and_shows_both_summaries_last() -> None:
    """At 910 equity 10 is above 1 % of 910 but below 2 %."""
    change = "instrument.BTC-PERP.maintenance_margin_rate=0.02"
    outcome = replay(Tape().long().mark("910"), "--set", change)
    variant = {"instrument.BTC-PERP.maintenance_margin_rate": "0.02"}
    assert [line["effect"] for line in outcome.lines[-2:]] == ["summary", "summary"]
    assert [line.get("variant") for line in outcome.lines[-2:]] == [None, variant]
    assert [line["orders"] for line in outcome.lines[-2:]] == [0, 1]
    orders = outcome.effects("liquidation-order")
    assert [order["variant"] for order in orders] == [variant]
    assert list(outcome.lines[-1]) == [*SUMMARY_KEYS, "variant"]


def test_a_setting_may_be_changed() -> None:
    tape = Tape().instrument().mark("909").account().deposit("100").fill("buy", "1", "1000")
    outcome = replay(tape, "--set", "engine.account_settle_ms=0")
    causes = [order["cause"] for order in outcome.effects("liquidation-order")]
    assert causes == [["timer", 0, START_MS + 200], ["fills", 0, 0]]


@ENGINES
def test_the_same_recording_gives_the_same_bytes(engine: str, tmp_path: Path) -> None:
    tape = Tape().long().mark("909").wait(100).mark("905").wait(100).mark("906").wait(4_000).mark("890")
    from_file = run("replay", tape, "--engine", engine, folder=tmp_path)
    again = replay(tape, "--engine", "fast")
    assert from_file.lines[:-1] == again.lines[:-1]
    assert from_file.summary["state_hash"] == again.summary["state_hash"]
