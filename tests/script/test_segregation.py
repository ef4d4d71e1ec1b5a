"""Client and house funds do not mix: a transfer between the classes is named, whichever leg is read first, and still applied."""

from __future__ import annotations

from typing import Any

import pytest

from tests.script.tape import Tape, replay, run


def accounts(second: str = "house") -> Tape:
    tape = Tape().account("a-1", "cross", segregation="client").account("a-2", "cross", segregation=second)
    return tape.deposit("100", bucket="main").deposit("100", bucket="main", account="a-2").wait(10)


def leg(tape: Tape, account: str, amount: str, name: str, **changes: Any) -> Tape:
    plain = {
        "transfer_id": name, "account": account, "asset": "USDT", "amount": amount,
        "reason": "withdrawal" if amount.startswith("-") else "deposit",
    }  # fmt: skip
    return tape.put("transfers", plain | changes)


def breaches(tape: Tape) -> list[tuple[str, str]]:
    alarms = replay(tape, "--engine", "both").effects("alarm")
    return [(line["name"], line["account"]) for line in alarms]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"reference": "move-7"}, {"reference": "move-7"}),
        ({}, {"reference": "out"}),
        ({"reference": "in"}, {}),
    ],
)
def test_both_legs_together_are_a_breach(first: dict[str, str], second: dict[str, str]) -> None:
    tape = leg(leg(accounts(), "a-1", "-5", "out", **first), "a-2", "5", "in", **second)
    assert breaches(tape) == [("classes_mixed", "a-2")]
    assert [line["balances"] for line in run("margin", tape).lines] == [{"USDT": "95"}, {"USDT": "105"}]
    (alarm,) = replay(tape).effects("alarm")
    assert "a-1" in alarm["detail"]
    assert "a-2" in alarm["detail"]


def test_the_leg_that_comes_in_may_be_read_first() -> None:
    tape = leg(leg(accounts(), "a-2", "5", "in", reference="out"), "a-1", "-5", "out")
    assert breaches(tape) == [("classes_mixed", "a-1")]


@pytest.mark.parametrize(
    ("tape", "why"),
    [
        (leg(leg(accounts("client"), "a-1", "-5", "out"), "a-2", "5", "in", reference="out"), "one class"),
        (leg(leg(accounts(), "a-1", "-5", "out"), "a-2", "5", "in"), "nothing says that they belong together"),
        (leg(leg(accounts(), "a-1", "-5", "same"), "a-2", "5", "same"), "ids are an account's own"),
        (leg(leg(accounts(), "a-1", "5", "b1", reference="batch"), "a-2", "5", "b2", reference="batch"), "both came in"),
        (leg(leg(accounts(), "a-1", "-1", "f1", reference="8h", reason="funding"), "a-2", "1", "f2", reference="8h", reason="funding"), "funding"),
        (leg(leg(accounts(), "a-1", "-5", "out"), "a-2", "5", "in", reference="out", asset="USDC"), "another asset"),
    ],
)  # fmt: skip
def test_what_is_no_transfer_between_classes_is_left_alone(tape: Tape, why: str) -> None:
    assert breaches(tape) == [], why


def test_what_is_locked_is_not_withdrawn_and_the_ledger_follows() -> None:
    tape = leg(leg(accounts(), "a-1", "80", "lock", reason="lock"), "a-1", "-30", "out")
    assert breaches(tape) == [("locked_withdrawn", "a-1")]
    assert run("margin", tape).lines[0]["balances"] == {"USDT": "70"}
