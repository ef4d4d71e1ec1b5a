"""Examples that venues publish come out as published, in both implementations, on the conventions of the venue files."""

from __future__ import annotations

from collections import Counter

import pytest

from services.replay.choices import EngineName
from tests.script.published import Case, differences, published_cases, view_of

ENGINES = (EngineName.FAST, EngineName.REFERENCE)
CONTRACT_TYPES = {
    "linear perpetual", "inverse perpetual", "linear future", "inverse future", "linear option", "inverse option",
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES, ids=str)
@pytest.mark.parametrize("case", published_cases(), ids=lambda case: case.name)
def test_a_published_example(case: Case, engine: EngineName) -> None:
    found = differences(case, view_of(case, engine))
    assert not found, f"{case.terms['source']}\n" + "\n".join(found)


@pytest.mark.parametrize("case", published_cases(), ids=lambda case: case.name)
def test_both_implementations_print_the_same_view(case: Case) -> None:
    assert view_of(case, EngineName.FAST) == view_of(case, EngineName.REFERENCE)


def test_every_case_names_its_source_and_expects_something() -> None:
    bare = [case.name for case in published_cases() if not case.terms["source"] or not case.terms["expect"]]
    assert not bare
    names = Counter(case.name for case in published_cases())
    assert max(names.values()) == 1


def test_at_least_forty_cases_of_five_venues_and_every_contract_type() -> None:
    cases = published_cases()
    venues = Counter(case.terms["venue"] for case in cases if "venue" in case.terms)
    assert len(cases) >= 40
    assert len([venue for venue, count in venues.items() if count >= 4]) >= 5
    assert {case.terms["type"] for case in cases} >= CONTRACT_TYPES


def test_a_case_that_is_off_is_caught() -> None:
    case = next(case for case in published_cases() if case.name == "bybit/linear-pnl-long")
    wrong = Case(
        case.name, case.terms | {"expect": {"BTCUSDT": {"unrealised_pnl": ["101", "0.5"]}}, "liquidatable": True}
    )
    assert len(differences(wrong, view_of(wrong, EngineName.FAST))) == 2
