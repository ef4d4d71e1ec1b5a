"""Every order that a worker wrote is proved from its own evidence, in whatever order it read the topics."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from services.adapters.presets import load_presets
from services.contracts.codec import decode, encode
from services.contracts.messages import Order
from services.contracts.records import Record
from services.engine.settings import Settings
from services.replay.dockets import contents_of
from services.replay.reproof import Reproof, Verdict
from services.replay.verify import check
from tests.support.histories import make_history
from tests.support.worked import ORDERS, Worked

SEEDS = st.integers(0, 2**32)
SETTINGS, PRESETS = Settings(), load_presets()


def worked(seed: int, *, options: bool = False, steps: int = 80) -> list[Record]:
    history = make_history(random.Random(seed), steps=steps, options=options, classes=options)
    return Worked(history, seed, SETTINGS).log


def verdicts(log: list[Record]) -> list[Verdict]:
    reproof = Reproof(contents_of(log), SETTINGS, PRESETS)
    return [verdict for record in log for verdict in reproof.saw(record)] + list(reproof.finish())


def orders_of(log: list[Record]) -> list[tuple[int, Order]]:
    found = ((number, decode(ORDERS, record.value)) for number, record in enumerate(log) if record.topic == ORDERS)
    return [(number, order) for number, order in found if isinstance(order, Order)]


@given(SEEDS, st.booleans())
@settings(max_examples=8, deadline=None)
def test_each_order_is_proved_by_what_it_names(seed: int, options: bool) -> None:
    log = worked(seed, options=options)
    judged = verdicts(log)
    assert len(judged) == len(orders_of(log)), "every order is judged once"
    assert [verdict for verdict in judged if verdict.current and not verdict.holds] == []


@given(SEEDS)
@settings(max_examples=5, deadline=None)
def test_a_recording_that_begins_with_a_state_proves_what_follows(seed: int) -> None:
    worker = Worked(make_history(random.Random(seed), steps=80), seed, SETTINGS, start_after=50)
    assert worker.start is not None
    log, claims = worker.from_start, worker.start.claims
    reproof = Reproof(contents_of(log, claims), SETTINGS, PRESETS, worker.start)
    judged = [verdict for record in log for verdict in reproof.saw(record)] + list(reproof.finish())
    assert len(judged) == len(orders_of(log))
    failed = [verdict for verdict in judged if verdict.current and not verdict.holds]
    assert [verdict for verdict in failed if not decided_before(verdict)] == []


def decided_before(verdict: Verdict) -> bool:
    """On less than the state at the beginning holds, and written only after it."""
    return verdict.outcome == "evidence_missing" and all(
        text.startswith("the state without") for text in verdict.lacking
    )


def test_an_order_that_was_decided_before_the_state_was_taken_is_said_to_be_so() -> None:
    worker = Worked(make_history(random.Random(2062), steps=80), 2062, SETTINGS, start_after=50)
    assert worker.start is not None
    log, claims = worker.from_start, worker.start.claims
    reproof = Reproof(contents_of(log, claims), SETTINGS, PRESETS, worker.start)
    judged = [verdict for record in log for verdict in reproof.saw(record)] + list(reproof.finish())
    assert [verdict.lacking for verdict in judged if decided_before(verdict)] == [["the state without transfers[0]@6"]]


@given(SEEDS)
@settings(max_examples=3, deadline=None)
def test_the_reference_says_the_same(seed: int) -> None:
    log = worked(seed)
    for _, order in orders_of(log)[:3]:
        checked = check(order, log, SETTINGS, PRESETS)
        assert (checked.verified, checked.differences, checked.missing) == (True, (), ())


@given(SEEDS, st.data())
@settings(max_examples=4, deadline=None)
def test_a_number_that_was_changed_is_found(seed: int, data: st.DataObject) -> None:
    log = worked(seed)
    found = orders_of(log)
    if not found:
        return
    number, order = data.draw(st.sampled_from(found))
    forged = structs.replace(order, equity="123.25")
    log[number] = structs.replace(log[number], value=encode(forged))
    (verdict,) = (each for each in verdicts(log) if each.order == forged)
    assert verdict.outcome in ("differs", "not_decided"), (
        "the second where it is one that was sent again: nothing was due then"
    )
    assert verdict.outcome == "not_decided" or "equity" in {each.field for each in verdict.differences}
    assert not check(forged, log, SETTINGS, PRESETS).verified


def test_the_worked_recordings_hold_what_is_to_be_proved() -> None:
    """Orders, orders sent again and successors: else the properties above would say little."""
    outcomes = [verdict.outcome for seed in range(8) for verdict in verdicts(worked(seed))]
    assert outcomes.count("proved") > 30
    assert outcomes.count("sent_again") > 5
