"""Where an account at rest might be forgotten: each time the full scan, in which all are awake, tells what must come of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest

from services.contracts.records import Record
from services.engine.bulk_boxes import BulkBoxes
from services.engine.effects import Alarm, Effect, Emit
from services.engine.engine import Engine
from services.engine.settings import Settings

PERPETUAL = {
    "instrument": "X", "kind": "perpetual", "contract": "linear", "underlying": "X", "settlement_asset": "USDT",
    "margin_tiers": [{"notional_floor": "0", "maintenance_margin_rate": "0.01"}],
}  # fmt: skip


class Log:
    """Records in the making, one a call."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._offsets: Counter[str] = Counter()

    def put(self, topic: str, **value: Any) -> Log:
        time_ms = 1_000 * len(self.records)
        raw = orjson.dumps({"ts_ms": time_ms} | value)
        self.records.append(
            Record(topic=topic, partition=0, offset=self._offsets[topic], timestamp_ms=time_ms, key=None, value=raw)
        )
        self._offsets[topic] += 1
        return self

    def account(self, name: str = "a", mode: str = "cross") -> Log:
        return self.put("accounts", account=name, margin_mode=mode, valuation_asset="USDT")

    def transfer(self, amount: str, asset: str = "USDT", account: str = "a", **more: Any) -> Log:
        value = {"transfer_id": f"t{len(self.records)}", "account": account, "asset": asset, "amount": amount}
        return self.put("transfers", **value, **({"reason": "adjustment"} | more))

    def mark(self, price: str) -> Log:
        return self.put("prices", instrument="X", mark_price=price)


def engines(**settings: Any) -> tuple[Engine, Engine]:
    """One whose accounts rest as soon as they may, and one whose accounts never do."""
    return Engine(Settings(**settings), most_awake=0), Engine(Settings(**settings), search="full_scan")


def play(engine: Engine, log: Log) -> list[Effect]:
    return [effect for record in log.records for effect in engine.apply(record)]


def at_rest(engine: Engine) -> int:
    return len(engine._context.accounts.packed)


def test_cash_alone_is_told_that_it_counts_in_full_from_now_on() -> None:
    """Its requirement, all of it of the initial weights, is gone: the rung that it rested on is wrong."""
    weights = [{"floor": "0", "weight": "0"}]
    log = Log().put("collateral", asset="USDT", initial_weight_tiers=weights).account().transfer("100")
    resting, scan = engines()
    assert play(resting, log) == play(scan, log)
    assert at_rest(resting) == 1
    change = log.put("collateral", asset="USDT").records[-1]
    told = resting.apply(change)
    assert told == scan.apply(change)
    assert [each.message.status for each in told if isinstance(each, Emit)] == ["healthy"]  # type: ignore[union-attr]  # a change of status


def test_who_is_liquidatable_stays_awake_though_no_price_moves_it() -> None:
    """A debt and a stablecoin at par: nothing can be closed or converted, but gates and halts concern it."""
    log = Log().put("collateral", asset="USDC").account().transfer("-100").transfer("50", asset="USDC")
    for engine in engines():
        play(engine, log)
        assert at_rest(engine) == 0
        assert engine.open_gate(0) == []
        assert engine.overlooked(2) == []


def test_a_crowd_that_woke_rests_again_with_the_event_that_woke_it() -> None:
    log = Log().put("instruments", **PERPETUAL).mark("100")
    for number in range(40):
        name = f"a{number}"
        log.account(name).transfer("30", account=name)
        log.put("fills", fill_id=name, account=name, instrument="X", side="buy", quantity="1", price="100")
    resting, _ = engines(gap_guard="all")  # under the guard no box is drawn without waking
    play(resting, log.mark("100.1"))
    assert at_rest(resting) == 40
    play(resting, Log().put("instruments", **PERPETUAL, taker_fee_rate="0.0001"))
    assert at_rest(resting) == 40


@pytest.mark.parametrize("moved", ["odd", "main"])
def test_rows_of_a_known_account_join_it(moved: str) -> None:
    """Records in a partition that is not the account's: its rows come back in two parts, and it is one account."""
    left, right = Log().account().transfer("100"), Log().account().transfer("5", bucket=moved)
    hashes, totals = set(), []
    for engine in engines():
        for partition, log in enumerate((left, right)):
            source = Engine(Settings())
            play(source, log)
            rows = [(field, row) for field, row in source.take_dirty(0).items() if row is not None]
            engine.restore(partition, rows)
        engine.timer(1)
        hashes.add(engine.state_hash())
        totals.append(engine.totals())
        assert len(set(engine.places())) == len(list(engine.places()))
    assert len(hashes) == 1
    assert totals[0] == totals[1]


def test_restored_accounts_that_hold_cash_or_nothing_rest_at_once() -> None:
    log = Log().account().transfer("100").account("b").transfer("5", account="b").transfer("-5", account="b")
    source, again = Engine(Settings()), Engine(Settings())
    play(source, log)
    assert {view.status for view in source.buckets()} == {"healthy", "closed"}
    again.restore(0, [(field, row) for field, row in source.take_dirty(0).items() if row is not None])
    assert at_rest(again) == 2
    assert again.state_hash() == source.state_hash()


def test_clearing_writes_no_row_of_an_account_without_doubt() -> None:
    resting, scan = engines()
    log = Log().account().transfer("100").account("b").transfer("7", account="b")
    for engine in (resting, scan):
        play(engine, log)
        engine.take_dirty(0)
        engine.apply(Log().put("controls", control_id="k", scope="all", target="*", action="clear").records[0])
        assert engine.take_dirty(0) == {}


def test_a_statement_that_agrees_makes_no_bucket() -> None:
    """It would be in no stored row: a bucket exists once a record touched it."""
    log = Log().account().transfer("100")
    log.put("account-statements", account="a", balances={"main": {"USDT": "100"}, "odd": {}}, positions={}, through={})
    for engine in engines():
        play(engine, log)
        assert list(engine.places()) == [("a", "main")]


def test_a_statement_that_waits_wakes_nobody() -> None:
    log = Log().account().transfer("100")
    ahead = {"transfers": 2}
    log.put("account-statements", account="a", balances={"main": {"USDT": "90"}}, positions={}, through=ahead)
    resting, scan = engines()
    assert play(resting, log) == play(scan, log)
    assert at_rest(resting) == 1
    later = log.transfer("1", account="b").records[-1]
    assert resting.apply(later) == scan.apply(later)
    assert resting._context.accounts.awake.keys() == {"b"}
    last = log.transfer("1", account="b").records[-1]
    told = resting.apply(last)
    assert told == scan.apply(last)
    assert [each.name for each in told if isinstance(each, Alarm)] == ["statement_differs", "bucket_dirty"]


def test_buckets_that_depend_on_a_price_are_counted_wherever_they_are() -> None:
    log = Log().put("instruments", **PERPETUAL).mark("100")
    for number in range(30):
        name = f"a{number}"
        log.account(name, "isolated")
        for side in ("long", "short") if number % 2 else ("long",):
            log.transfer("30", account=name, bucket=f"X:{side}")
            more = {"side": "buy" if side == "long" else "sell", "position_side": side}
            log.put("fills", fill_id=f"{name}{side}", account=name, instrument="X", quantity="1", price="100", **more)
    resting, scan = engines()
    play(resting, log.mark("100.1"))
    play(scan, log)
    assert at_rest(resting) == 30
    assert resting.marks_in_use(0) == scan.marks_in_use(0)
    assert scan.marks_in_use(0)["X"].buckets == 45


def test_a_halt_of_an_instrument_concerns_nobody_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes no number, and at rest nothing is to be decided: half a million holders are not drawn anew."""
    log = Log().put("instruments", **PERPETUAL).mark("100").account().transfer("30")
    log.put("fills", fill_id="f", account="a", instrument="X", side="buy", quantity="1", price="100").mark("100.1")
    resting, scan = engines()
    play(resting, log)
    play(scan, log)
    assert at_rest(resting) == 1
    monkeypatch.setattr(BulkBoxes, "draw", None)
    for action in ("halt", "resume"):
        halt = log.put("controls", control_id=action, scope="instrument", target="X", action=action).records[-1]
        assert resting.apply(halt) == scan.apply(halt)
        assert at_rest(resting) == 1
    monkeypatch.undo()
    fall = log.mark("60").records[-1]
    assert resting.apply(fall) == scan.apply(fall) != []


def test_the_audit_meets_everyone_while_accounts_come_and_go() -> None:
    log = Log()
    for number in range(20):
        log.account(f"a{number}").transfer("5", account=f"a{number}")
    resting, _ = engines()
    play(resting, log)
    names = resting._context.accounts.names()
    met = [next(names) for _ in range(10)]
    resting.apply(log.transfer("5", account="a3").records[-1])
    resting.apply(log.account("b").transfer("5", account="b").records[-1])
    assert {*met, *names} >= {f"a{number}" for number in range(20)}


@pytest.mark.parametrize("most_awake", [0, 2, 1_000])
def test_a_table_becomes_the_memory_by_what_differs_whoever_is_awake(most_awake: int) -> None:
    log = Log().put("instruments", **PERPETUAL).mark("100")
    for number in range(200):
        log.account(f"a{number}").transfer("50", account=f"a{number}")
    engine = Engine(Settings(), most_awake=most_awake)
    play(engine, log)
    memory = {field: row for field, row in engine.take_dirty(0).items() if row is not None}
    assert len(memory) == 400
    assert list(engine.differing(0, memory)) == [{}] * 5
    table = memory | {"a3|main": b"", "a7|": memory["a8|"], "a9|other": b"x", "b|main": b"x"}
    del table["a12|main"], table["a13|"]
    wanted: dict[str, bytes | None] = {"a9|other": None, "b|main": None}
    wanted |= {field: memory[field] for field in ("a3|main", "a7|", "a12|main", "a13|")}
    parts = engine.differing(0, table)
    found = next(parts)
    engine.apply(
        Log()
        .put("transfers", transfer_id="new", account="a150", asset="USDT", amount="1", reason="adjustment")
        .records[0]
    )
    for part in parts:
        found |= part
    assert {field: row for field, row in found.items() if not field.startswith("a150|")} == wanted
    table |= {field: row for field, row in (found | engine.take_dirty(0)).items() if row is not None}
    assert [row for row in engine.differing(0, table) if row] == [dict.fromkeys(["a9|other", "b|main"])]
