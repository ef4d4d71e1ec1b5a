"""Named causes: each rests on something that was recorded, the strongest first."""

from __future__ import annotations

from typing import Any

import pytest

from services.contracts.journal import Gate, JournalRecord, encode_journal
from services.contracts.messages import Claim, Control, Evidence, Fill, Order
from services.contracts.records import Record
from services.engine.effects import Alarm, AlarmName
from services.engine.effects import Cause as Causing
from services.replay.explain import Cause, Circumstances, by_evidence, same_decision
from tests.unit.replay.fakes import instrument, of, order, price, record

NOW = 100_000


def decided(**evidence: Any) -> Order:
    return order(evidence=Evidence(**evidence), ts_ms=NOW)


def around(*records: Record) -> Circumstances:
    """What was recorded, with an end far away."""
    seen = Circumstances({"a-1"}, 1_500)
    for each in (*records, of(price("1", "ETH-PERP"), time_ms=NOW + 60_000)):
        seen.saw(each)
    return seen


@pytest.mark.parametrize(
    ("ours", "theirs", "cause"),
    [
        ({"instruments": [0, 1], "fills": [0, 5]}, {"instruments": [0, 2], "fills": [0, 6]}, Cause.PARAMETER_VERSION),
        ({"risk_parameters": [0, 3]}, {"risk_parameters": [0, 2]}, Cause.PARAMETER_VERSION),
        ({"fills": [0, 5]}, {"fills": [0, 6]}, Cause.LATE_FILL),
        (
            {"order_events": [0, 5], "prices": {"X": [0, 1]}},
            {"order_events": [0, 4], "prices": {"X": [0, 2]}},
            Cause.LATE_FILL,
        ),
        ({"prices": {"X": [0, 1]}}, {"prices": {"X": [0, 2]}}, Cause.ANOTHER_TICK),
    ],
)
def test_the_evidence_of_both_says_what_one_had_not_read(
    ours: dict[str, object], theirs: dict[str, object], cause: Cause
) -> None:
    reason = by_evidence(decided(**ours), decided(**theirs))
    assert reason is not None
    assert reason.cause is cause


def test_equal_evidence_explains_nothing() -> None:
    assert by_evidence(decided(fills=[0, 5]), decided(fills=[0, 5])) is None


def test_when_and_by_whom_is_no_other_decision() -> None:
    assert same_decision(order(), order(epoch=9, ts_ms=5, valid_until_ms=7, evidence=Evidence(fills=[0, 1])))
    assert not same_decision(order(), order(quantity="1"))


def test_an_order_under_an_old_epoch_is_fenced() -> None:
    assert around().recorded_only(decided(), current=False, unread=["fills[0]@1"], crossed="").cause is Cause.FENCED


def test_what_the_worker_had_not_read_or_knew_together_comes_next() -> None:
    told = around()
    assert told.recorded_only(decided(), current=True, unread=["fills[0]@1"], crossed="x").cause is Cause.LATE_FILL
    assert told.recorded_only(decided(), current=True, unread=[], crossed="x").cause is Cause.ANOTHER_TICK
    assert told.recorded_only(decided(), current=True, unread=[], crossed="").cause is Cause.UNKNOWN


def test_a_shard_that_nobody_had_claimed_was_shut() -> None:
    claim = record("liquidation-orders", Claim(instance="w-1", nonce="n", ts_ms=0), time_ms=NOW + 10)
    assert around(claim).replay_only(decided(), 0, None).cause is Cause.GATE_SHUT
    assert around(claim).replay_only(decided(), 1, None).cause is Cause.UNKNOWN, "another shard"


@pytest.mark.parametrize(("opened", "cause"), [(False, Cause.GATE_SHUT), (True, Cause.UNKNOWN)])
def test_the_journal_tells_of_gates(opened: bool, cause: Cause) -> None:
    told = JournalRecord(session="s", number=0, ts_ms=NOW - 5, inputs=[Gate(0, opened)])
    assert around(record("journal", encode_journal(told), time_ms=NOW)).replay_only(decided(), 0, None).cause is cause


def test_a_journal_of_another_version_tells_nothing() -> None:
    assert around(record("journal", b"{}", time_ms=NOW)).replay_only(decided(), 0, None).cause is Cause.UNKNOWN


def test_a_doubtful_price_explains_what_rests_on_it() -> None:
    told = around()
    told.alarmed(
        Alarm(
            cause=Causing("prices", 0, 0), name=AlarmName.PRICE_UNCONFIRMED, account="", bucket="", instrument="X", detail="", ts_ms=NOW - 900
        )
    )  # fmt: skip
    assert told.replay_only(decided(prices={"X": [0, 1]}), 0, None).cause is Cause.PRICE_GRADE
    assert told.replay_only(decided(prices={"Y": [0, 1]}), 0, None).cause is Cause.UNKNOWN


def test_a_silence_longer_than_a_price_may_be_old_explains_too() -> None:
    def tick(at: int) -> Record:
        made = of(price("1", "X"), time_ms=at)
        return Record(topic="prices", partition=0, offset=at, timestamp_ms=at, key=b"X", value=made.value)

    told = around(of(instrument("X", max_price_age_ms=5_000)), tick(NOW - 9_000), tick(NOW + 100))
    assert (
        told.recorded_only(decided(prices={"X": [0, 1]}), current=True, unread=[], crossed="").cause
        is Cause.PRICE_GRADE
    )


def test_a_halt_nearby_is_another_version_of_the_parameters() -> None:
    halt = Control(control_id="c", scope="instrument", target="X", action="halt", ts_ms=0)
    assert (
        around(record("controls", halt, time_ms=NOW + 300)).replay_only(decided(), 0, None).cause
        is Cause.PARAMETER_VERSION
    )


def test_a_record_of_the_account_nearby_may_have_been_read_in_either_order() -> None:
    fill = Fill(fill_id="f", account="a-1", instrument="X", side="buy", quantity="1", price="1", ts_ms=0)
    raw = record("fills", fill, time_ms=NOW - 200)
    own = Record(topic="fills", partition=0, offset=3, timestamp_ms=NOW - 200, key=b"a-1", value=raw.value)
    assert around(own).replay_only(decided(), 0, None).cause is Cause.LATE_FILL


def test_a_short_breach_and_the_end_of_the_recording_explain_what_only_the_replay_has() -> None:
    assert around().replay_only(decided(), 0, "for 20 ms").cause is Cause.ANOTHER_TICK
    ended = Circumstances(set(), 1_500)
    ended.saw(of(price("1"), time_ms=NOW + 10))
    assert ended.replay_only(decided(), 0, None).cause is Cause.END_OF_RECORDING
