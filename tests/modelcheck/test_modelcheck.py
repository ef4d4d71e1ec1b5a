"""Within a bound no interleaving breaks an invariant, and without any of the rules one does."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.modelcheck import __main__ as command
from tests.modelcheck import flush, orders
from tests.modelcheck.__main__ import named
from tests.modelcheck.explore import explore
from tests.modelcheck.rules import CAUGHT, HELD, KEPT_BY, REDUCED, Removal, protocol


@pytest.mark.parametrize("bounds", REDUCED, ids=named)
def test_the_protocol_holds(bounds: orders.Bounds | flush.Bounds) -> None:
    outcome = explore(protocol(bounds))
    assert outcome.violation is None, outcome.told()
    assert outcome.exhausted
    assert outcome.states > 1_000


@pytest.mark.parametrize("removal", CAUGHT, ids=lambda removal: "+".join(removal.rules))
def test_without_the_rule_it_breaks(removal: Removal) -> None:
    outcome = explore(removal.model())
    assert outcome.violation is not None, f"without {removal.rules}: {outcome.told()}"
    assert removal.found is not None
    assert outcome.violation.startswith(removal.found), outcome.told()
    assert len(outcome.path) >= 1


@pytest.mark.parametrize("removal", HELD, ids=lambda removal: "+".join(removal.rules))
def test_one_of_two_nets_holds_alone(removal: Removal) -> None:
    outcome = explore(removal.model())
    assert outcome.violation is None, outcome.told()


def test_every_rule_is_taken_out_by_a_test() -> None:
    removed = {rule for removal in (*CAUGHT, *HELD) for rule in removal.rules}
    assert removed == orders.RULES | flush.RULES
    caught = {rule for removal in CAUGHT for rule in removal.rules}
    assert caught | {"epoch"} == orders.RULES | flush.RULES, "the epoch of the flush only stops a zombie sooner"


@pytest.mark.parametrize("rule", sorted(KEPT_BY))
def test_the_code_that_keeps_a_rule_is_there(rule: str) -> None:
    assert rule in orders.RULES | flush.RULES
    for place in KEPT_BY[rule]:
        module, _, name = place.partition(":")
        found: object = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert found is not None


def test_a_renaming_of_the_workers_changes_no_verdict() -> None:
    """The search that takes worlds for one which differ in names alone finds what the plain one finds."""
    bounds = orders.Bounds(claims=1, crashes=0, rollbacks=0, errors=0, resends=0, unfilled=1, stores=0)
    plain, folded = (explore(orders.OrderProtocol(bounds=bounds, symmetric=each)) for each in (False, True))
    assert (plain.violation, folded.violation) == (None, None)
    assert folded.states < plain.states
    rules = orders.RULES - {"claim", "ids"}
    plain, folded = (explore(orders.OrderProtocol(rules, bounds, symmetric=each)) for each in (False, True))
    assert (plain.violation, len(plain.path)) == (folded.violation, len(folded.path))
    assert plain.violation is not None


@pytest.mark.parametrize("is_sound", [True, False])
def test_the_command_ends_in_one_line_of_figures(
    is_sound: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "FULL", HELD[:1])
    monkeypatch.setattr(command, "protocol", lambda _: (HELD if is_sound else CAUGHT)[0].model())
    monkeypatch.setattr(command, "named", str)
    monkeypatch.setattr(command, "CAUGHT", CAUGHT[:2])
    monkeypatch.setattr(command, "HELD", HELD[:1])
    assert command.main() == (0 if is_sound else 1)
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"{int(not is_sound)} faults, 17 rules, 2 of 2 removals caught, 1 of 1 second nets held" in last
