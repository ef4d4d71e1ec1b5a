"""Rows put together by account as bytes, and what is seen of them at a glance, against the rows themselves."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.decimals import to_text
from services.engine import glance, restoring
from services.engine.engine import Engine
from services.engine.glance import glances, newest_seen
from services.engine.resting import Resting, decode_resting, encode_resting, may_rest
from services.engine.rows import VERSION, AccountRow, BucketRow, account_row, bucket_row, encode_account, encode_bucket
from services.engine.settings import Settings
from services.engine.sheaf import Sheaf
from services.engine.state import Account, Bucket, Position
from tests.support.histories import Drive, make_history

MOST_BUCKETS = 40  # more than fit a short map


def accounts_of_histories() -> Iterator[Account]:
    """Accounts with open orders, doubts and gaps among them."""
    for seed in range(12):
        engine = Engine(Settings(), {})
        Drive(engine, answers_seed=None).play(make_history(random.Random(seed), 250))
        yield from engine._context.accounts.everyone()


def rows_of(account: Account) -> list[tuple[str, bytes]]:
    held = [(f"{account.account}|{name}", encode_bucket(bucket)) for name, bucket in account.buckets.items()]
    return [(f"{account.account}|", encode_account(account)), *held]


@pytest.mark.parametrize("seed", range(4))
def test_rows_in_any_order_are_the_account_that_was_encoded(seed: int) -> None:
    dice = random.Random(seed)
    expected: dict[str, Resting] = {}
    rows: list[tuple[str, bytes]] = []
    for number in range(60):
        account = Account(f"ä{number}", 7, known=True, valuation_asset="USDT")
        names = [f"b{nth}" for nth in range(dice.choice((0, 1, 1, 1, 2, 15, 16, MOST_BUCKETS)))]
        account.buckets = {name: Bucket(name, {"USDT": dice.getrandbits(90) - 2**89}) for name in names}
        buckets = {name: bucket_row(bucket) for name, bucket in account.buckets.items()}
        expected[account.account] = Resting(7, account_row(account), buckets)
        rows += rows_of(account)
    dice.shuffle(rows)
    sheaf = Sheaf(7)
    for at in range(0, len(rows), 50):
        sheaf.add(rows[at : at + 50])
    found = [each for part in iter(lambda: sheaf.take(7), []) for each in part]
    assert {name: decode_resting(body) for name, body in found} == expected
    assert not list(sheaf.orphans())
    for name, body in found:
        if len(expected[name].buckets) <= 1:
            assert body == encode_resting(expected[name]), "what rests is what would be packed, byte for byte"


def test_buckets_whose_account_has_no_row_are_left() -> None:
    account = Account("a", 0, buckets={name: Bucket(name, {"X": 1}) for name in ("main", "side")})
    sheaf = Sheaf(0)
    sheaf.add(rows_of(account)[1:])
    assert sheaf.take(5) == []
    assert list(sheaf.orphans()) == [("a", {name: bucket_row(each) for name, each in account.buckets.items()})]
    assert list(sheaf.orphans()) == []


def test_a_glance_sees_what_the_rows_say() -> None:
    accounts = list(accounts_of_histories())
    bodies = [
        encode_resting(Resting(1, account_row(a), {n: bucket_row(b) for n, b in a.buckets.items()})) for a in accounts
    ]
    seen = [each for part in glances(bodies) for each in part]
    verdicts = []
    for account, found in zip(accounts, seen, strict=True):
        verdicts.append(may_rest(found.account, found.buckets.values()))
        assert verdicts[-1] == may_rest(account, account.buckets.values())
        for name in ("known", "segregation", "margin_mode", "valuation_asset", "sequence_gap_since_ms", "touched_ms"):
            assert getattr(found.account, name) == getattr(account, name)
        assert newest_seen([found]) == {topic: offset for topic, (_, offset) in account.seen.items()}
        for name, bucket in account.buckets.items():
            row, held = bucket_row(bucket), found.buckets[name]
            assert (held.balances, held.locked, held.status) == (row.balances, row.locked, row.status)
            assert {key: each.quantity for key, each in held.positions.items()} == {
                key: float(quantity) for key, (quantity, _) in row.positions.items()
            }
    assert set(verdicts) == {True, False}


@given(st.integers(-(10**39), 10**39))
def test_a_quantity_seen_at_a_glance_is_the_nearest_float(quantity: int) -> None:
    text = to_text(quantity)
    raw = msgspec.msgpack.encode([text, "0"])
    found = msgspec.msgpack.Decoder(glance.Holding, strict=False).decode(raw)
    assert found.quantity == float(text)


def test_rows_of_another_version_are_refused_wherever_they_are() -> None:
    account = Account("a", 0, known=True, valuation_asset="X", buckets={"main": Bucket("main", {"X": 5})})
    own, held = account_row(account), bucket_row(account.buckets["main"])
    encode = msgspec.msgpack.encode
    newer: list[AccountRow | BucketRow] = [msgspec.structs.replace(row, version=VERSION + 1) for row in (own, held)]
    for rows in (
        [("a|", encode(newer[0])), ("a|main", encode(held))],
        [("a|", encode(own)), ("a|main", encode(newer[1]))],
        [("a|main", encode(newer[1]))],
    ):
        with pytest.raises(ValueError, match=f"row of version {VERSION + 1}, this build reads {VERSION}"):
            Engine(Settings()).restore(0, rows)


def test_a_row_that_is_none_is_refused() -> None:
    position = {("I", "net"): Position(5, 7)}
    rows = rows_of(Account("a", 0, known=True, buckets={"main": Bucket("main", {"X": 5}, positions=position)}))
    for nth, (field, row) in enumerate(rows):
        for wrong in (row[:-1], row + b"\x00", b"", rows[1 - nth][1]):
            damaged = [*rows[:nth], (field, wrong), *rows[nth + 1 :]]
            with pytest.raises(msgspec.DecodeError):
                Engine(Settings()).restore(0, damaged)


@pytest.mark.parametrize("at_once", [1, 3])
def test_accounts_come_back_alike_in_parts_of_any_size(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    engine = Engine(Settings(), {})
    Drive(engine, answers_seed=None).play(make_history(random.Random(6), 300))
    rows = [(field, row) for field, row in engine.take_dirty(0).items() if row is not None]
    whole, parts = Engine(Settings(), {}), Engine(Settings(), {})
    whole.restore(0, rows)
    for module, name in ((restoring, "AT_ONCE"), (restoring, "ROWS_AT_ONCE"), (glance, "AT_ONCE")):
        monkeypatch.setattr(module, name, at_once)
    parts.restore(0, rows)
    assert parts.state_hash() == whole.state_hash() == engine.state_hash()
    assert parts.totals() == whole.totals() == engine.totals()
    assert parts.census.statuses == whole.census.statuses
    assert parts.timer(10**13) == whole.timer(10**13)
