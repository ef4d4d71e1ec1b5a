"""The published vectors are the written ones, and the gate gives the verdicts that they ask for."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from services.contracts.decimals import parse, to_text
from services.contracts.messages import OrderEvent
from services.order_gate.gate import Action, OrderGate, Reason, State, Verdict
from tests.unit.order_gate.cases import FILE, rendered

CASES = json.loads(FILE.read_text(encoding="utf-8"))["cases"]


def shown(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the vectors write it."""
    found: dict[str, Any] = {"action": verdict.action.value}
    if verdict.reason is not None:
        found["reason"] = verdict.reason.value
    if verdict.action in (Action.EXECUTE, Action.SUPERSEDE):
        assert verdict.order is not None
        found |= {"quantity": to_text(verdict.quantity), "cancel_resting": verdict.order.cancel_resting}
    if verdict.event is not None:
        event = {name: getattr(verdict.event, name) for name in ("status", "filled_quantity", "epoch", "average_price")}
        found["event"] = {name: value for name, value in event.items() if value is not None}
    return found


def play(case: dict[str, Any], *, restart: bool) -> None:
    """Run the steps of a case; with `restart` the gate is made anew from its stored state before each."""
    gate = OrderGate(case["partition"], case["partitions"])
    for step in case["steps"]:
        if restart:
            stored = msgspec.json.decode(msgspec.json.encode(gate.state), type=State)
            gate = OrderGate(case["partition"], case["partitions"], stored)
        if "told" in step:
            gate.told(msgspec.convert(step["told"], OrderEvent))
            continue
        record, position = step["read"], parse(step["position"])
        raw = record["value"] if isinstance(record["value"], str) else json.dumps(record["value"])
        verdict = gate.read(record["offset"], raw.encode(), step["now_ms"], lambda _, held=position: held)
        assert shown(verdict) == step["verdict"], f"{case['name']}: {step}"


def test_the_published_file_is_the_written_one() -> None:
    assert FILE.read_text(encoding="utf-8") == rendered(), "run: python -m tests.unit.order_gate.cases"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_the_gate_gives_the_verdicts(case: dict[str, Any], restart: bool) -> None:
    play(case, restart=restart)
    assert case["steps"]


def test_every_action_and_every_reason_is_asked_for() -> None:
    verdicts = [step["verdict"] for case in CASES for step in case["steps"] if "read" in step]
    assert {verdict["action"] for verdict in verdicts} == {action.value for action in Action}
    assert {verdict["reason"] for verdict in verdicts if "reason" in verdict} == {reason.value for reason in Reason}


def test_an_answer_is_given_at_the_readers_time_and_echoes_the_order() -> None:
    case = next(case for case in CASES if case["name"].startswith("an executed id is answered with"))
    gate = OrderGate(0)
    order = case["steps"][1]["read"]["value"]
    gate.read(5, json.dumps(case["steps"][0]["read"]["value"]).encode(), 0, lambda _: 0)
    verdict = gate.read(6, json.dumps(order).encode(), 3_000, lambda _: parse("0.5"))
    assert verdict.event is not None
    assert (verdict.event.order_id, verdict.event.quantity, verdict.event.ts_ms) == (order["order_id"], "0.5", 3_000)


def test_forgotten_answers_are_those_from_before() -> None:
    case = next(case for case in CASES if case["name"].startswith("an executed id is answered with"))
    gate = OrderGate(0)
    event = msgspec.convert(case["steps"][2]["told"], OrderEvent)
    gate.told(event)
    gate.forget(event.ts_ms)
    assert set(gate.state.answers) == {event.order_id}
    gate.forget(event.ts_ms + 1)
    assert gate.state.answers == {}
