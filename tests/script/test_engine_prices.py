"""Which mark is believed: a dead feed liquidates nobody, a jump has to be confirmed, and a genuine crash is not held up."""

from __future__ import annotations

from typing import Any

from tests.support.script import Script

STALE = {"max_price_age_ms": 3_000}
JUMPY = {"max_price_move": "0.05"}


def jumped(**settings: Any) -> Script:
    """The usual long with a limit of 5 % a second; an unconfirmed tick at 905 lies outstanding."""
    script = Script(**settings).long(**JUMPY).mark("1000", source="x", index_price="1000").forget()
    return script.mark("905", source="x").check_effects("alarm price_unconfirmed")


def test_a_stale_mark_liquidates_nobody() -> None:
    """A withdrawal leaves 8 under 10 at a mark that is 4 s old: it may be 20 %·√4 off, so nothing is sold on it."""
    script = Script().long(**STALE).wait(4_000).transfer("-92", "withdrawal").wait(1_000)
    script.check_effects("healthy -> reduce_only")
    assert script.mark("1000").orders


def test_a_fresh_crash_liquidates_at_once() -> None:
    """Twin: the same numbers at a fresh mark."""
    assert Script().long(**STALE).mark("905").orders


def test_a_bucket_that_no_doubt_can_save_is_under_all_the_same_but_only_valid_marks_are_traded() -> None:
    """ETH's mark is stale: even 40 % higher its long does not save the bucket. BTC is closed, ETH is left."""
    script = Script().instrument().instrument("ETH-PERP", **STALE).account("cross")
    script.mark("1000").mark("100", "ETH-PERP").transfer("100", bucket=None).fill("buy", "1", "1000")
    script.fill("buy", "0.1", "100", instrument="ETH-PERP").wait(4_000).mark("880")
    assert {order.instrument for order in script.orders} == {"BTC-PERP"}


def test_an_unconfirmed_jump_liquidates_nobody_and_a_tick_back_ends_it() -> None:
    """One bad tick of one source: alarm, the old mark stays, and the next tick is believed without delay."""
    script = jumped().wait(100).mark("1001", source="x").wait(5_000).check_nothing()
    assert script.view().equity == "101"


def test_a_second_source_confirms_at_once() -> None:
    """A genuine crash that all see is liquidated with the second source's tick, without any waiting."""
    script = jumped().mark("906", source="y")
    assert [order.mark_price for order in script.orders] == ["906"]


def test_a_second_source_that_says_otherwise_confirms_nothing() -> None:
    """940 is a jump too, but not within 2 % of 905."""
    assert not jumped().mark("940", source="y").orders


def test_its_own_index_confirms_at_once() -> None:
    """The index fell with the mark: 905 against 906 is within the band."""
    script = Script().long(**JUMPY).mark("1000", index_price="1000").forget().mark("905", index_price="906")
    assert len(script.orders) == 1
    assert not script.alarms


def test_an_index_that_did_not_move_confirms_nothing() -> None:
    """A dead index that happens to be near: it must have changed since the last accepted tick to count."""
    script = Script().long(**JUMPY).mark("999", index_price="905").mark("905", index_price="905")
    assert not script.orders
    assert script.alarms == ["price_unconfirmed"]


def test_a_jump_that_holds_its_side_is_accepted_after_half_a_second() -> None:
    """Ticks stay on its side at half of it or more: `confirm_ms` after the first, by time alone, at the newest tick."""
    script = jumped().wait(300).mark("904", source="x").wait(199).check_nothing()
    script.wait(1)
    assert [order.mark_price for order in script.orders] == ["904"]
    assert script.alarms == ["price_unconfirmed"]


def test_silence_after_a_jump_confirms_nothing() -> None:
    """One tick of a sparse single source, then nothing: not after `confirm_ms`, only, alarmed, after `confirm_max_ms`."""
    script = jumped().wait(1_499).check_nothing().wait(1).check_reference()
    assert [order.mark_price for order in script.orders] == ["905"]
    assert script.alarms == ["price_unconfirmed", "price_accepted_unconfirmed"]


def test_a_lone_wick_of_a_sparse_source_liquidates_nobody() -> None:
    """Twin of the crash below: the next tick, 1.2 s later, is back. It was never believed."""
    script = jumped().wait(1_200).mark("999", source="x").wait(5_000).check_nothing().check_reference()
    assert script.view().equity == "99"


def test_the_second_tick_of_a_genuine_crash_is_enough_however_late_it_comes() -> None:
    """A sparse source: its next tick, 700 ms later, is on the same side, and the bucket is liquidated with it, without an alarm."""
    script = jumped().wait(700).mark("903", source="x").check_reference()
    assert [order.mark_price for order in script.orders] == ["903"]
    assert script.alarms == ["price_unconfirmed"]


def test_the_same_tick_delivered_twice_is_no_second_witness() -> None:
    """A producer's retry brings the first tick again, with its own time: that is not a tick since."""
    script = jumped()
    script.mark("905", source="x", ts_ms=script.now).wait(500).mark("905", source="x", ts_ms=script.now - 500)
    assert not script.check_reference().orders
    assert script.wait(100).mark("905", source="x").check_reference().orders


def test_a_jump_that_wavers_is_forced_after_a_second_and_a_half_with_an_alarm() -> None:
    """A tick at less than half the jump, and still outside the move: it did not hold. Then the newest is taken, alarmed."""
    script = Script().long(**JUMPY).mark("1000", source="x").forget().mark("850", source="x")
    script.wait(100).mark("940", source="x").mark("904", source="x").wait(1_399)
    assert not script.orders
    script.wait(1)
    assert [order.mark_price for order in script.orders] == ["904"]
    assert script.alarms == ["price_unconfirmed", "price_accepted_unconfirmed"]


def test_a_wavering_jump_without_a_fresh_tick_is_not_forced() -> None:
    """The feed died inside the jump: an old tick is no evidence, however long one waits."""
    script = Script().long(**JUMPY, max_price_age_ms=500).mark("1000", source="x").mark("850", source="x")
    script.wait(10).mark("940", source="x").wait(60_000)
    assert not script.orders
    assert script.bucket().status == "healthy"


def test_a_move_within_the_root_of_time_is_no_jump() -> None:
    """After 4 s twice the move is allowed: 9.5 % is believed at once."""
    script = Script().long(**JUMPY).wait(4_000).mark("905")
    assert len(script.orders) == 1


def test_exactly_the_allowed_move_is_no_jump() -> None:
    """5 % is allowed, 5.01 % is not."""
    assert not Script().long(**JUMPY).mark("1000").mark("950").alarms
    assert Script().long(**JUMPY).mark("1000").mark("949.9").alarms == ["price_unconfirmed"]


def test_a_price_from_the_future_is_not_believed() -> None:
    """More than 250 ms ahead of its record: alarm once, no liquidation on anything of it until a tick that is not."""
    script = Script().long()
    script.mark("905", ts_ms=script.now + 251).check_effects("alarm price_from_future")
    script.mark("905", ts_ms=script.now + 300).check_nothing()
    script.mark("905", ts_ms=script.now + 250)
    assert len(script.orders) == 1


def test_an_older_sequence_of_the_same_source_is_skipped_and_counted() -> None:
    """8 after 9, and 9 again: the later-written tick is the older price."""
    script = Script().long().mark("1000", source="x", sequence=9, source_epoch=1).forget()
    script.mark("905", source="x", sequence=8, source_epoch=1).mark("905", source="x", sequence=9, source_epoch=1)
    script.check_nothing()
    assert script.engine.stats.skipped_prices == 2
    script.mark("905", source="x", sequence=10, source_epoch=1)
    assert len(script.orders) == 1


def test_a_publisher_that_restarts_counts_anew_under_a_new_epoch() -> None:
    """Sequence 1 of epoch 2 comes after sequence 9 of epoch 1."""
    script = Script().long().mark("1000", source="x", sequence=9, source_epoch=1)
    script.mark("905", source="x", sequence=1, source_epoch=2)
    assert len(script.orders) == 1


def test_without_sequences_the_older_time_is_skipped_and_an_equal_one_is_not() -> None:
    script = Script().long().wait(1_000).mark("1000").forget()
    script.mark("905", ts_ms=script.now - 1).check_nothing()
    script.mark("905", ts_ms=script.now)
    assert len(script.orders) == 1


def test_more_price_ids_than_are_kept_are_refused() -> None:
    script = Script(max_prices=1).mark("1").check_nothing()
    script.mark("1", "OTHER").check_effects("refused prices too_many_prices")
    script.mark("2").check_nothing()


def test_a_first_tier_that_cannot_pay_its_own_close_alarms() -> None:
    """1 % of margin against 0.9 % of fee and 0.1 % of slippage."""
    Script().instrument(taker_fee_rate="0.009").check_effects("alarm cannot_pay_own_close")
    Script().instrument(taker_fee_rate="0.0089").check_nothing()
