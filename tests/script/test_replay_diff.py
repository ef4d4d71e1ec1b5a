"""`replay --diff` and `verify`: recorded orders against their evidence and against a plain replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.main import app
from tests.script.tape import START_MS, Outcome, Tape, replay

ORDERS = "liquidation-orders"


def decided(tape: Tape) -> list[dict[str, Any]]:
    """The orders of a plain replay, as a worker would have written them."""
    orders = replay(tape, "--matching", "none").effects("liquidation-order")
    return [{key: value for key, value in order.items() if key not in ("effect", "cause")} for order in orders]


def fallen() -> Tape:
    """One order at 909, with nothing after it."""
    return Tape().long().mark("909")


def with_order(**changes: Any) -> Tape:
    """The recording of a worker that wrote the order 20 ms later; then time enough for nobody to call it the end."""
    tape = fallen()
    (order,) = decided(fallen())
    tape.wait(20)
    tape.lines.append({"topic": ORDERS, "timestamp_ms": START_MS + tape.at, "value": {**order, **changes}})
    return tape.wait(5_000).mark("909.05")


def diff(tape: Tape, *arguments: str) -> Outcome:
    return replay(tape, "--matching", "none", "--diff", *arguments)


def findings(outcome: Outcome) -> list[tuple[str | None, str | None, str | None]]:
    return [(line["proof"], line["replay"], line["cause"]) for line in outcome.effects("diff")]


def counts(outcome: Outcome) -> dict[str, Any]:
    (line,) = outcome.effects("diff-summary")
    return line


def test_an_order_is_proved_from_its_evidence_and_is_what_the_replay_decides() -> None:
    outcome = diff(with_order())
    assert findings(outcome) == [("proved", "same", None)]
    assert (counts(outcome)["proved"], counts(outcome)["unexplained"], counts(outcome)["good"]) == (1, 0, True)
    assert outcome.exit_code == 0


def test_what_the_evidence_does_not_give_is_told_field_by_field() -> None:
    outcome = diff(with_order(quantity="0.068", equity="8.5"))
    (line,) = outcome.effects("diff")
    assert line["proof"] == "differs"
    assert line["differences"] == [
        {"field": "quantity", "recorded": "0.068", "computed": "0.067"},
        {"field": "equity", "recorded": "8.5", "computed": "9"},
    ]
    assert outcome.exit_code == 1


def test_other_settings_do_not_give_the_same_order() -> None:
    outcome = diff(with_order(), "--set", "engine.hysteresis=0.5")
    assert findings(outcome) == [("proved", "same", None)], "a what-if leaves the recording as it is"
    assert outcome.exit_code == 0


def test_evidence_that_the_recording_lacks_is_named() -> None:
    tape = with_order()
    tape.lines = [line for line in tape.lines if line["topic"] != "fills"]
    (line,) = diff(tape).effects("diff")
    assert (line["proof"], line["missing"]) == ("evidence_missing", ["fills[0]@0"])


def test_an_order_that_was_sent_again_needs_no_proof_of_its_own() -> None:
    tape = with_order()
    (order,) = decided(fallen())
    again = {**order, "ts_ms": order["ts_ms"] + 2_500, "valid_until_ms": order["valid_until_ms"] + 2_500}
    tape.lines.append({"topic": ORDERS, "timestamp_ms": START_MS + tape.at, "value": again})
    assert findings(diff(tape)) == [("proved", "same", None), ("sent_again", None, "sent_again")]


def test_an_order_under_an_old_claim_is_fenced() -> None:
    claim = {"type": "claim", "instance": "w-2", "nonce": "n", "ts_ms": START_MS}
    tape = with_order()
    place = next(number for number, line in enumerate(tape.lines) if line["topic"] == ORDERS)
    for _ in range(2):
        tape.lines.insert(place, {"topic": ORDERS, "timestamp_ms": START_MS + 1_010, "value": claim})
    outcome = diff(tape)
    assert findings(outcome)[0][1:] == ("same", None), "the replay decides it too"
    assert counts(outcome)["good"] is True, "nobody acts on what is fenced"


def test_before_the_first_claim_the_gate_was_shut() -> None:
    claim = {"type": "claim", "instance": "w-1", "nonce": "n", "ts_ms": START_MS}
    tape = fallen().wait(3_000)
    tape.lines.append({"topic": ORDERS, "timestamp_ms": START_MS + tape.at, "value": claim})
    outcome = diff(tape.wait(1_500).mark("909.05"))
    assert findings(outcome) == [(None, "replay_only", "gate_shut")]


def test_a_worker_that_passed_over_a_tick_decided_at_another() -> None:
    """It read 909 and 908 at once."""
    later = Tape().long().wait(5).mark("908")
    (order,) = decided(later)
    order["evidence"]["prices"]["BTC-PERP"] = [0, 2]
    tape = Tape().long().mark("909").wait(5).mark("908").wait(20)
    tape.lines.append({"topic": ORDERS, "timestamp_ms": START_MS + tape.at, "value": order})
    assert findings(diff(tape.wait(5_000).mark("909.05"))) == [("proved", "changed", "another_tick")]


def test_an_order_that_nothing_explains_is_exit_1() -> None:
    tape = Tape().long().wait(3_000).mark("909").wait(5_000).mark("909.05")
    outcome = diff(tape)
    assert findings(outcome) == [(None, "replay_only", "unknown")]
    assert outcome.exit_code == 1


def test_for_a_person_what_is_wrong_comes_first() -> None:
    result = CliRunner().invoke(
        app, ["replay", "-", "--diff", "--matching", "none"], input=with_order(equity="8.5").text()
    )
    assert result.stdout.startswith("! 22:13:21.000 a-1|BTC-PERP BTC-PERP #1: differs, changed. equity 8.5 not 9")
    assert "1 recorded, 0 proved" in result.stdout


def verify(order: str, tape: Tape, folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    recording = folder / "recording.jsonl"
    recording.write_text(tape.text())
    result = CliRunner().invoke(app, ["verify", order, str(recording), "--json", *arguments])
    return result.exit_code, json.loads(result.stdout)


def test_verify_takes_an_id_a_file_or_a_record(tmp_path: Path) -> None:
    (order,) = decided(fallen())
    plain, record = tmp_path / "order.json", tmp_path / "record.json"
    plain.write_text(json.dumps(order))
    record.write_text(json.dumps({"topic": ORDERS, "value": order}))
    for given in (order["order_id"], str(plain), str(record)):
        code, said = verify(given, with_order(), tmp_path)
        assert (code, said["verified"], said["engine"]) == (0, True, "reference")


def test_verify_says_what_differs(tmp_path: Path) -> None:
    (order,) = decided(fallen())
    code, said = verify(order["order_id"], with_order(limit_price="900"), tmp_path)
    assert (code, said["verified"]) == (1, False)
    assert said["differences"] == [{"field": "limit_price", "recorded": "900", "computed": "908.3"}]


def test_verify_knows_what_it_cannot_know(tmp_path: Path) -> None:
    tape = with_order()
    tape.lines = [line for line in tape.lines if line["topic"] != "transfers"]
    (order,) = decided(fallen())
    code, said = verify(order["order_id"], tape, tmp_path)
    assert (code, said["missing"]) == (1, ["transfers[0]@0"])


@pytest.mark.parametrize("given", ["no-such-order", "-"])
def test_what_is_no_order_is_wrong_use(given: str, tmp_path: Path) -> None:
    recording = tmp_path / "recording.jsonl"
    recording.write_text(fallen().text())
    result = CliRunner().invoke(app, ["verify", given, str(recording)], input="{}")
    assert result.exit_code == 2


def test_a_breach_that_was_over_soon_may_have_been_passed_over() -> None:
    """Under water for 300 ms and three marks of it: a worker that reads them together sees only the last."""
    tape = Tape().long().wait(3_000).mark("909").wait(100).mark("908").wait(100).mark("908.5").wait(100).mark("950")
    (line,) = diff(tape.wait(3_000).mark("950")).effects("diff")
    assert (line["replay"], line["cause"]) == ("replay_only", "another_tick")
    assert line["detail"] == "the bucket was liquidatable for 300 ms (3 ticks) in the order of the recording"
