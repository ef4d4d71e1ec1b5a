"""Whose silence counts, and since when."""

from __future__ import annotations

from services.contracts.journal import Gate, Input, JournalRecord, Timer
from services.contracts.messages import Claim
from services.liquidator.signs import Signs, claimant, nonce_of, session_name

A, B = session_name("w-1", "aa"), session_name("w-2", "bb")


def written(session: str, *inputs: Input, ts_ms: int = 0) -> JournalRecord:
    return JournalRecord(session=session, number=0, ts_ms=ts_ms, inputs=list(inputs) or [Timer(1)])


def claim_of(session: str, number: int = 0) -> Claim:
    return Claim(instance=session.partition(":")[0], nonce=nonce_of(session, number), ts_ms=0)


def signs() -> Signs:
    return Signs("own:cc", 1.0)


def listen(to: Signs, *times: float, partition: int = 0) -> None:
    for time in times:
        to.listened(partition, time)


def test_a_claim_names_its_session() -> None:
    long = session_name("w" * 60, "0" * 32)
    assert claimant(Claim(instance="w" * 60, nonce=nonce_of(long, 123), ts_ms=0)) == long
    assert len(long) <= 64


def test_the_owner_is_who_opened_the_gate_last_until_a_claim_is_read() -> None:
    heard = signs()
    heard.heard(written(A, Gate(3, open=True), ts_ms=5), 0, 0.0)
    heard.heard(written(B, Gate(3, open=True), ts_ms=4), 1, 0.0)  # older, from another partition of the journal
    heard.heard(written(B, Gate(3, open=False), ts_ms=9), 1, 0.0)
    assert heard.owner(3) == A
    heard.claimed(3, claim_of(B))
    assert heard.owner(3) == B
    heard.heard(written(A, Gate(3, open=True), ts_ms=20), 0, 1.0)
    assert heard.owner(3) == B


def test_silence_is_counted_to_when_the_broker_said_that_nothing_waits() -> None:
    heard = signs()
    heard.claimed(0, claim_of(A))
    heard.heard(written(A), 0, 10.0)
    assert heard.silent_s(0) == 0.0
    listen(heard, 10.1, 10.5, 10.9)
    assert 0.85 < heard.silent_s(0) < 0.95
    heard.heard(written(A), 0, 11.0)
    assert heard.silent_s(0) == 0.0


def test_another_partition_of_the_journal_says_nothing_about_it() -> None:
    heard = signs()
    heard.claimed(0, claim_of(A))
    heard.heard(written(A), 0, 10.0)
    listen(heard, 10.3, 10.6, 20.0, partition=1)
    assert heard.silent_s(0) == 0.0


def test_after_a_time_without_the_brokers_word_owners_get_time_to_come_back() -> None:
    heard = signs()
    heard.claimed(0, claim_of(A))
    heard.heard(written(A), 0, 10.0)
    listen(heard, 10.1, 30.0, 30.4, 30.8, 31.2, 31.6, 32.0)
    assert heard.silent_s(0) == 0.0
    listen(heard, *(32.0 + 0.4 * step for step in range(1, 10)))
    assert heard.silent_s(0) > 1.0


def test_only_the_newest_claimant_falls_silent() -> None:
    heard = signs()
    heard.claimed(0, claim_of(A))
    heard.heard(written(A, Gate(0, open=True)), 0, 10.0)
    heard.heard(written(B), 0, 10.9)
    heard.claimed(0, claim_of(B))
    listen(heard, 11.0, 11.4)
    assert heard.silent_s(0) < 0.6


def test_neither_we_nor_one_that_was_never_heard_of_fall_silent() -> None:
    heard = signs()
    heard.claimed(0, Claim(instance="old", nonce="f" * 32, ts_ms=0))
    heard.claimed(1, claim_of("own:cc"))
    heard.heard(written("own:cc"), 0, 10.0)
    listen(heard, 10.4, 10.8, 11.2, 11.6)
    assert heard.silent_s(0) == heard.silent_s(1) == heard.silent_s(2) == 0.0
