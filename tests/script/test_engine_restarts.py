"""A process is lost at any moment: the stored rows and the log's tail bring back the same engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.script import Script, words

Words = Callable[[Script], Script]
PAST: dict[str, Words] = {
    "healthy": lambda s: s.long(),
    "order out": lambda s: s.under(),
    "half filled": lambda s: s.under().filled("0.03"),
    "sent again": lambda s: s.under().wait(3_000),
    "second attempt": lambda s: s.under().mark("905").answer("expired", "0"),
    "fill missing": lambda s: s.under().answer("filled"),
    "reserve doubt": lambda s: s.under().answer("filled").wait(6_000),
    "takeover": lambda s: s.long().mark("880"),
    "conflict": lambda s: s.long().transfer("1", transfer_id="x").transfer("2", transfer_id="x"),
    "undecodable": lambda s: s.long().put("fills", b"{", key="a-1"),
    "parked": lambda s: s.long().fill("sell", "1", "10", instrument="NEW"),
    "gap": lambda s: s.long().transfer("1", account_sequence=1).transfer("1", account_sequence=3),
    "old gap": lambda s: s.long().transfer("1", account_sequence=1).transfer("1", account_sequence=3).wait(6_000),
    "nobody's": lambda s: s.instrument().mark("1000").fill("buy", "1", "1009").transfer("10", bucket=None),
    "statement": lambda s: s.long().put(
        "account-statements", {"account": "a-1", "balances": {}, "positions": {}, "through": {"fills": 0}}
    ),
    "locked": lambda s: s.long().transfer("30", "lock"),
}  # fmt: skip


def future(script: Script) -> Script:
    """What a bucket goes through later: more of what it waits for, a fall, answers, silence."""
    script.wait(400).instrument("NEW").mark("10", "NEW").transfer("1", account_sequence=2).mark("906").wait(700)
    script.mark("904").wait(200)
    if script.orders:
        script.filled("0.01").answer("expired", "0.01")
    script.control("clear", "all", "*").wait(30_000).mark("950").wait(100).mark("890")
    return script.wait(8_000)


@pytest.mark.parametrize("past", PAST)
@pytest.mark.parametrize("saved", ["all", "nothing", "before"])
def test_after_a_restart_the_engine_is_the_one_that_never_crashed(past: str, saved: str) -> None:
    """Rows of everything, of nothing (the whole log is read again), or of the state before the last second's records."""
    calm, crashed = Script(), Script()
    for script in (calm, crashed):
        if saved == "before":
            script.account().save()
        PAST[past](script)
        script.wait(500).forget()
    if saved == "all":
        crashed.save()
    crashed.restart()
    assert crashed.engine.state_hash() == calm.engine.state_hash()
    assert [words(each) for each in future(crashed).effects] == [words(each) for each in future(calm).effects]
    assert crashed.engine.state_hash() == calm.engine.state_hash()
    assert list(crashed.engine.buckets()) == list(calm.engine.buckets())


def test_a_crash_between_deciding_and_writing_sends_the_same_order_id_once() -> None:
    """The rows hold no order that the log does not hold: after the restart it is decided again, under its old id."""
    script = Script(reads_back=False).under().save().restart()
    first, second = script.orders
    assert (first.order_id, first.quantity, first.limit_price) == (second.order_id, second.quantity, second.limit_price)


def test_a_crash_after_writing_sends_nothing_again() -> None:
    """Twin: the order was read back, so the restarted engine waits for its answer."""
    script = Script().under().save().restart().wait(100)
    assert len(script.orders) == 1
    script.filled().answer("filled").check_effects("liquidating -> reduce_only")


def test_rows_are_taken_once_and_only_of_what_changed() -> None:
    script = Script().long()
    assert set(script.engine.take_dirty(0)) == {"a-1|", "a-1|BTC-PERP"}
    assert script.mark("999").engine.take_dirty(0) == {}
    assert script.engine.dirty_count(0) == 0
    script.transfer("1", bucket=None)
    assert script.engine.dirty_count(0) == 2
    assert set(script.engine.take_dirty(0)) == {"a-1|", "a-1|main"}


def test_a_deficit_that_was_perhaps_never_written_is_reported_again_under_its_old_id() -> None:
    """A producer lost takeover and default together: both are decided anew, and the default's id is the same."""
    script = Script(reads_back=False).long().mark("880").producer_fails().forget().mark("879")
    script.check_effects("sell 1 at 900 takeover #1", "missing 21 USDT")
    script = Script(reads_back=False).long().mark("880").save().forget().restart()
    script.check_effects("sell 1 at 900 takeover #1", "missing 20 USDT")


def test_a_deficit_that_was_written_is_not_reported_twice() -> None:
    """Twin: the takeover was read back, with the rows saved or with only the log to read; its successor names no deficit."""
    for saved in (True, False):
        script = Script().long().mark("880")
        script = (script.save() if saved else script).restart().wait(300).forget()
        script.mark("870").answer("rejected").check_effects("sell 1 at 900 takeover #2")
