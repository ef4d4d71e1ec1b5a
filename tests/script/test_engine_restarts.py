"""A process is lost at any moment: the stored rows and the log's tail bring back the same engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.contracts.messages import Default
from services.engine.effects import Alarm, Emit
from services.engine.rows import BucketRow, decode_row
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


def test_a_deficit_is_told_of_a_takeover_that_was_written_and_of_no_other() -> None:
    """A producer lost the takeover: it is decided anew at another mark, under the same id. What is missing is what the log's order says."""
    script = Script(reads_back=False).long().mark("880").producer_fails().forget().mark("879")
    script.check_effects("sell 1 at 900 takeover #1")
    script.read_back().check_effects("missing 21 USDT")
    script = Script(reads_back=False).long().mark("880").save().forget().restart()
    script.check_effects("sell 1 at 900 takeover #1").read_back().check_effects("missing 20 USDT")


@pytest.mark.parametrize("saved", [True, False])
def test_a_process_lost_between_a_takeover_and_its_deficit_tells_it_after_the_restart(saved: bool) -> None:
    """The order is in the log, perhaps nothing else: whoever reads it again tells the same under the same id."""
    script = Script().long()
    script = (script.save() if saved else script).mark("880")
    (told,) = [each.message for each in script.effects if isinstance(each, Emit) and isinstance(each.message, Default)]
    again = [each.message for each in script.restart().caught_up if isinstance(each, Emit)]
    assert told in again
    assert not [each for each in again if isinstance(each, Default) and each != told]
    assert told.default_id == script.orders[0].order_id


def test_of_several_takeovers_at_once_one_tells_what_is_missing() -> None:
    """Two legs of a cross bucket go to the pool together: the hole is one, also when all is read from the beginning."""
    script = Script().instrument().instrument("ETH-PERP").account("cross").mark("1000").mark("1000", "ETH-PERP")
    script.transfer("100", bucket=None).fill("buy", "1", "1000").fill("buy", "1", "1000", instrument="ETH-PERP").wait(
        1_000
    )
    script.mark("800").check_reference()
    for order in list(script.orders):
        script.filled(order=order).answer("filled", order=order)
    assert [order.stage for order in script.orders] == ["takeover", "takeover"]
    for effects in (script.effects, script.restart().caught_up):
        assert sum(isinstance(each, Emit) and isinstance(each.message, Default) for each in effects) == 1


def test_a_deficit_that_was_written_is_not_reported_twice() -> None:
    """Twin: the takeover was read back, with the rows saved or with only the log to read; its successor names no deficit."""
    for saved in (True, False):
        script = Script().long().mark("880")
        script = (script.save() if saved else script).restart().wait(300).forget()
        script.mark("870").answer("rejected").check_effects("sell 1 at 900 takeover #2")


def test_that_a_distress_ended_is_stored_though_the_gate_opened_only_later() -> None:
    """The rows of before must not hide the deficit of the next distress."""
    script = Script().long().mark("880").save()
    script.engine.shut_gate(0)
    script.transfer("500").answer("expired").save()
    script.engine.open_gate(0)
    assert not script.bucket().defaulted
    row = decode_row(script.engine.take_dirty(0)["a-1|BTC-PERP"] or b"")
    assert isinstance(row, BucketRow)
    assert not row.defaulted


def statement(script: Script, quantity: str) -> Script:
    """The venue's word at all that was read; the usual long paid 1000 of its 100."""
    return script.put("account-statements", {
        "account": "a-1", "balances": {"BTC-PERP": {"USDT": "-900"}}, "positions": {"BTC-PERP": {"BTC-PERP": quantity}},
        "through": {"fills": 0, "transfers": 0},
    })  # fmt: skip


@pytest.mark.parametrize(("quantity", "alarms"), [("1", []), ("2", ["statement_differs", "bucket_dirty"])])
def test_after_a_restart_statements_do_not_wait_for_topics_that_are_quiet(quantity: str, alarms: list[str]) -> None:
    """What the rows saw was read: nothing new of it has to come before the ledger is compared."""
    script = statement(Script().long().save().restart().forget(), quantity)
    assert script.alarms == alarms


def test_a_shard_that_comes_back_older_is_not_compared_before_it_is_read_again() -> None:
    """It was given up and is read from its beginning, statements first: that they differ until the rest is read is no doubt."""
    script = statement(Script().long(), "1")
    log = {each.topic: each for each in script._log}
    script.engine.drop(0)
    script.engine.restore(0, [])
    order = ["account-statements", "accounts", "transfers", "fills"]
    told = [effect for topic in order for effect in script.engine.apply(log[topic])]
    assert not any(isinstance(effect, Alarm) for effect in told)
    assert script.bucket().doubts == {}
