"""Facts in any order, twice, unreadable or not at all: what an account's bucket may be liquidated on."""

from __future__ import annotations

import pytest

from services.contracts.identifiers import partition_of
from tests.support.script import Script


def test_an_account_is_decided_only_when_it_has_settled() -> None:
    """A fill that breaches may have its deposit right behind it: 200 ms after the last record, and not earlier."""
    script = Script().instrument().account().mark("1000").fill("buy", "1", "1009").forget()
    script.wait(199).check_nothing()
    script.wait(1)
    assert [order.stage for order in script.orders] == ["takeover"]


def test_a_deposit_that_comes_within_the_settling_time_saves_the_bucket() -> None:
    """Twin: the deposit was on its way, and nothing is sold."""
    script = Script().instrument().account().mark("1000").fill("buy", "1", "1009").wait(150).transfer("100")
    script.wait(10_000)
    assert not script.orders


def test_our_own_fills_need_no_settling() -> None:
    """What our orders bring was expected: the next decision is at once."""
    script = Script().under().mark("905").filled().answer("filled")
    assert [order.attempt for order in script.orders] == [1, 2]


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_count_may_begin_anywhere_and_a_lower_number_opens_a_gap(first: int) -> None:
    """The contract names no first number: what lies before is in the opening records. But what turns up later did lie before."""
    script = Script().instrument().account().mark("1000")
    script.transfer("10", "opening", account_sequence=first + 5).fill("buy", "1", "1000.5", account_sequence=first + 6)
    assert len(script.orders) == 1
    script = Script().instrument().account().mark("1000").transfer("10", "opening", account_sequence=first + 5)
    script.transfer("1", account_sequence=first + 3).fill("buy", "1", "1000.5", account_sequence=first + 6)
    assert not script.orders
    script.transfer("-1", "fee", account_sequence=first + 4).check_reference()
    assert len(script.orders) == 1


def test_with_sequences_the_account_is_decided_at_once_and_never_inside_a_gap() -> None:
    """Contiguous numbers need no settling time; number 3 is missing, so nothing is decided on what 4 says."""
    script = Script().instrument().account().mark("1000").forget()
    script.transfer("10", account_sequence=1).fill("buy", "1", "1000.5", account_sequence=2)
    assert len(script.orders) == 1  # 9.5 under 10
    script = Script().instrument().account().mark("1000").forget()
    script.transfer("10", account_sequence=1).fill("buy", "1", "1000.5", account_sequence=3)
    script.wait(4_999)
    assert not script.orders
    script.transfer("50", account_sequence=2).wait(10_000)
    assert not script.orders
    assert not script.alarms


def test_a_gap_that_stays_open_alarms_and_its_end_takes_the_doubt_with_it() -> None:
    """After `account_gap_ms` the bucket is dirty and held; number 2 comes late, and what it says decides."""
    script = Script().instrument().account().mark("1000").transfer("10", account_sequence=1)
    script.fill("buy", "1", "1000.5", account_sequence=3).forget()
    script.wait(4_999).check_nothing()
    script.wait(1).check_effects("alarm sequence_gap", "alarm bucket_dirty", "reduce_only -> dirty")
    script.mark("990").check_nothing()  # 0 left: held all the same
    script.transfer("-1", "fee", account_sequence=2)
    assert [order.stage for order in script.orders] == ["takeover"]


def test_a_gap_can_be_cleared_by_an_operator() -> None:
    """Number 2 will never come: after a clear the count goes on from the last number seen."""
    script = Script().instrument().account().mark("1000").transfer("10", account_sequence=1)
    script.fill("buy", "1", "1000.5", account_sequence=3).wait(5_000).forget().control("clear", "account", "a-1")
    assert len(script.orders) == 1
    script.answer("expired").transfer("50", account_sequence=4).wait(10)
    assert not script.bucket().doubts


def test_a_fact_read_twice_counts_once() -> None:
    """Delivered again, byte for byte: skipped and counted, no doubt."""
    script = Script().instrument().account().mark("1000")
    for _ in range(2):
        script.transfer("100", transfer_id="t").fill("buy", "1", "1000", fill_id="f")
    assert (script.view().equity, script.engine.stats.duplicates) == ("100", 2)
    assert not script.bucket().doubts


@pytest.mark.parametrize("what", ["fill", "transfer"])
def test_one_id_with_two_contents_is_refused_and_its_bucket_held_while_others_go_on(what: str) -> None:
    """The second content is not applied: dead letter, dirty, no order. Another account's bucket is liquidated as ever."""
    script = Script().long().account(name="a-2")
    script.transfer("100", account="a-2").fill("buy", "1", "1000", account="a-2").wait(1_000).forget()
    if what == "fill":
        script.fill("buy", "1", "1000", fill_id="x").fill("buy", "2", "1000", fill_id="x")
        left, quantity = "100", "2"
    else:
        script.transfer("5", transfer_id="x").transfer("6", transfer_id="x")
        left, quantity = "105", "1"
    assert script.engine.stats.refused == {"id_conflict": 1}
    assert (script.view().equity, script.view().positions[0].quantity) == (left, quantity)
    assert script.bucket().status == "dirty"
    script.wait(1_000).mark("905")
    assert {order.account for order in script.orders} == {"a-2"}


def test_the_window_of_remembered_ids_is_bounded() -> None:
    """Beyond `duplicate_window` ids an old one is new again: the offset check of the shell is what holds there."""
    script = Script(duplicate_window=2).instrument().account()
    for number in (1, 2, 3, 1, 3):
        script.put("transfers", {
            "transfer_id": f"t{number}", "account": "a-1", "bucket": "BTC-PERP", "asset": "USDT", "amount": "1",
            "reason": "deposit",
        })  # fmt: skip
    assert script.view().equity == "4"


def test_a_fill_of_an_unknown_instrument_waits_for_it_and_the_bucket_is_incomplete_meanwhile() -> None:
    """Cross: what the parked fill is worth is unknown, so the bucket is neither valued nor liquidated until the instrument comes."""
    script = Script().instrument().account("cross").mark("1000").transfer("100", bucket=None)
    script.fill("buy", "1", "1000").wait(1_000).forget().fill("sell", "1", "1000", instrument="NEW")
    script.check_effects("alarm bucket_incomplete", "healthy -> incomplete")
    script.mark("800").wait(1_000).check_nothing()
    script.instrument("NEW").check_nothing()
    script.mark("1300", "NEW")
    assert {order.stage for order in script.orders} == {"takeover"}
    assert len(script.view("main").positions) == 2


def test_more_parked_fills_than_are_kept_are_refused_and_the_bucket_held() -> None:
    """The one too many is lost to the ledger: dead letter and doubt, also after the instrument came. An operator clears it."""
    script = Script(parked_fills=2).account().transfer("100", bucket="NEW")
    for _ in range(3):
        script.fill("buy", "1", "1000", instrument="NEW")
    assert script.engine.stats.refused == {"parked_overflow": 1}
    script.instrument("NEW").mark("900", "NEW").wait(1_000)
    assert script.view("NEW").positions[0].quantity == "2"
    assert (script.bucket("NEW").status, script.orders) == ("dirty", [])
    script.control("clear", "account", "a-1")
    assert [order.quantity for order in script.orders] == ["2"]


def test_an_account_nobody_described_becomes_provisional_and_its_record_replaces_that() -> None:
    """Cross in the asset first deposited, a second after its first record; the late record makes it isolated all the same."""
    script = Script().instrument().mark("1000").transfer("10", bucket=None).fill("buy", "1", "1000.5").forget()
    script.wait(999).check_nothing()
    assert [view.status for view in script.engine.buckets()] == ["incomplete"]
    script.wait(1).check_effects("sell 0.106 at 997.2 partial #1", "closed -> liquidating")
    assert (script.view("main").margin_mode, script.view("main").client) == ("cross", "a-1")
    script.account("isolated", client="c-9")
    assert (script.view("main").margin_mode, script.view("main").client) == ("isolated", "c-9")


def test_without_a_deposit_an_account_stays_unknown() -> None:
    """A fill alone says nothing about the valuation asset: not valued, not liquidated, however long."""
    script = Script().instrument().mark("1000").fill("buy", "1", "1000").wait(60_000).mark("500")
    assert not script.orders
    assert not list(script.engine.buckets())


def test_a_fill_before_its_account_waits_for_the_account_s_mode() -> None:
    """Which bucket a fill without one belongs to is known when the account is: isolated, the instrument's."""
    script = Script().instrument().mark("1000").fill("buy", "1", "1000").transfer("100").account()
    assert script.view().equity == "100"


def test_what_an_account_is_does_not_change_while_it_holds_something() -> None:
    script = Script().long().account("cross").check_effects("refused accounts immutable_changed")
    assert script.view().margin_mode == "isolated"


def test_a_record_in_a_wrong_partition_is_refused_and_folds_nothing() -> None:
    """Another client's default partitioner: the account's own partition would never see the rest."""
    right = partition_of("a-1", 8)
    script = Script(partitions=8).instrument().account().mark("1000").transfer("100").forget()
    script.fill("buy", "1", "1000", fill_id="f").forget()
    wrong = {
        "transfer_id": "w",
        "account": "a-1",
        "bucket": "BTC-PERP",
        "asset": "USDT",
        "amount": "5",
        "reason": "deposit",
    }
    script.put("transfers", wrong, partition=(right + 1) % 8).check_effects("refused transfers wrong_partition")
    assert (script.view().equity, script.bucket().status) == ("100", "healthy")


def test_an_undecodable_fill_makes_the_bucket_it_names_dirty_and_a_clear_heals_it() -> None:
    """A quantity of "x" is lost to the ledger. Held while it would be liquidated, until an operator settles it."""
    script = Script().long()
    broken = (
        b'{"fill_id":"f","account":"a-1","instrument":"BTC-PERP","side":"buy","quantity":"x","price":"1","ts_ms":1}'
    )
    script.put("fills", broken)
    script.check_effects("refused fills invalid_schema", "alarm bucket_dirty", "healthy -> dirty")
    script.mark("905").wait(1_000).check_nothing()
    script.control("clear", "account", "a-1", through={"fills": 1})
    assert [order.stage for order in script.orders] == ["partial"]


def test_a_clear_reaches_only_as_far_as_it_says() -> None:
    """The undecodable fill has offset 1: a clear through 0 leaves the doubt, one of another account too."""
    script = Script().long().put("fills", b"{", key="a-1").forget()
    script.control("clear", "account", "a-1", through={"fills": 0}).control("clear", "account", "a-2").check_nothing()
    script.control("clear", "all", "*").check_effects("dirty -> healthy")


def test_bytes_that_name_nobody_are_refused_and_doubt_nothing() -> None:
    script = Script().long().put("fills", b"\xff\x00").check_effects("refused fills invalid_json")
    assert script.bucket().status == "healthy"


@pytest.mark.parametrize(("reason", "more"), [("withdrawal", {}), ("move", {"to_bucket": "main"})])
def test_taking_what_is_locked_alarms_and_is_followed_all_the_same(reason: str, more: dict[str, str]) -> None:
    """60 of 100 are locked: taking 50 happened, so the ledger says so, and somebody must look."""
    script = Script().instrument().account().transfer("100").transfer("60", "lock").forget()
    script.transfer("40" if reason == "move" else "-40", reason, **more)
    assert script.alarms == []
    script.transfer("10" if reason == "move" else "-10", reason, **more)
    assert script.alarms == ["locked_withdrawn"]
    assert (script.view().balances, script.view().locked) == ({"USDT": "50"}, {"USDT": "60"})
    script.transfer("60", "unlock")
    assert script.view().locked == {}


def statement(script: Script, cash: str, quantity: str, fills: int = 0) -> Script:
    return script.put("account-statements", {
        "account": "a-1", "balances": {"BTC-PERP": {"USDT": cash}}, "positions": {"BTC-PERP": {"BTC-PERP": quantity}},
        "through": {"fills": fills, "transfers": 0},
    })  # fmt: skip


def test_a_statement_that_agrees_says_nothing_and_one_that_differs_makes_the_bucket_dirty() -> None:
    """The venue says -850 where the ledger has -900: one of them is wrong by 50."""
    script = statement(Script().long(), "-900", "1").check_nothing()
    statement(script, "-850", "1").check_effects("alarm statement_differs", "alarm bucket_dirty", "healthy -> dirty")


def test_a_dirty_bucket_is_liquidated_only_under_both_readings() -> None:
    """By the statement 50 more: at 905 only the ledger's reading is under, at 855 both are."""
    script = statement(Script().long(), "-850", "1").mark("905")
    assert not script.orders
    assert len(script.mark("855").orders) == 1


def test_a_statement_waits_for_the_fills_that_it_covers() -> None:
    """It speaks of fill 1, which is read after it: compared then, and it agrees."""
    script = statement(Script().long(), "-1899", "2", fills=1).check_nothing()
    script.fill("buy", "1", "999")
    assert not script.bucket().doubts


def test_a_statement_says_nothing_while_a_fill_of_the_account_waits_to_be_entered() -> None:
    """The venue's word holds the second instrument's fill, the ledger cannot yet: no doubt, neither now nor when it is entered."""
    script = Script().long().fill("buy", "1", "10", instrument="NEW", bucket="BTC-PERP")
    statement(script, "-910", "1", fills=1)
    assert script.instrument("NEW").mark("10", "NEW").wait(1_000).check_reference().alarms == ["bucket_incomplete"]
    assert not script.bucket().doubts


def test_what_open_futures_moved_through_the_balance_is_no_taking_of_locked_money() -> None:
    """Cash model: a long of 1 at 1000 leaves -900 of 100. Withdrawing 40 of the 100 is no breach where 60 are locked, 41 is."""
    for side in ("buy", "sell"):
        script = (
            Script().instrument().account().mark("1000").transfer("100").fill(side, "1", "1000").transfer("60", "lock")
        )
        assert not script.transfer("-40", "withdrawal").alarms
        assert script.transfer("-1", "withdrawal").alarms == ["locked_withdrawn"]
    assert not Script().long().transfer("-40", "withdrawal").alarms


def test_a_balance_of_exactly_nothing_is_a_balance_of_nothing() -> None:
    """1060 less 1000 for the contract less 60 withdrawn: the wallet is the 1000 that is locked, no less."""
    script = (
        Script().instrument().account().mark("1000").transfer("1060").fill("buy", "1", "1000").transfer("1000", "lock")
    )
    assert not script.transfer("-60", "withdrawal").alarms


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_inverse_position_s_coin_is_no_free_coin(side: str) -> None:
    """100 at 1000 brings or takes 0.1 coin beside the deposit of 1: 0.5 may go where 0.5 is locked, and no more."""
    script = Script().instrument(contract="inverse", settlement_asset="BTC").account(valuation_asset="BTC").mark("1000")
    script.transfer("1", asset="BTC").fill(side, "100", "1000").transfer("0.5", "lock", asset="BTC")
    assert not script.transfer("-0.5", "withdrawal", asset="BTC").alarms
    assert script.transfer("-0.01", "withdrawal", asset="BTC").alarms == ["locked_withdrawn"]
