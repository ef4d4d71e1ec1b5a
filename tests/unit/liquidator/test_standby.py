"""Standing by: nothing is written while the owner lives, and nothing is lost or done twice when it falls silent."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from services.adapters.ports import Fenced, Refused, Snapshot, Stored
from services.contracts.journal import Gate, Input, JournalRecord, Timer, encode_journal
from services.contracts.topics import ACCOUNT_TOPICS
from services.liquidator.shard import Reason
from services.liquidator.standby import StandbyRules
from tests.unit.liquidator.fakes import ORDERS, World, a_claim, breathe


def alive(name: str, entry: Input = Timer(1)) -> bytes:  # noqa: B008  # immutable
    """What a world of that name would write to the journal: its claims have the nonces NAME-0, NAME-1 and so on."""
    return encode_journal(JournalRecord(session=f"{name}:{name}", number=0, ts_ms=0, inputs=[entry]))


class Pair:
    """An owner of shard 0 and a standby, on one broker and one table."""

    def __init__(self, **standby: int) -> None:
        self.owner = World(instance="w-1")
        shared = {"clock": self.owner.clock, "broker": self.owner.broker, "table": self.owner.table}
        self.standby = World(instance="w-2", standby=StandbyRules("w-2:w-2", 1.0), **shared, **standby)  # type: ignore[arg-type]  # told by name
        self.broker, self.table = self.owner.broker, self.owner.table
        self.lives = True

    async def start(self) -> Pair:
        await self.owner.live(0)
        await self.owner.run(0.2)
        await self.standby.start(0)
        self.standby.worker.hear(0, [alive("w-1", Gate(0, open=True))])  # its claim lies before what the table holds
        await self.run(0.5)
        return self

    async def run(self, seconds: float, *, heard: bool = True) -> None:
        """Time passes and records flow; a living owner writes to the journal each 100 ms, which is read if it can be `heard`."""
        for _ in range(round(seconds / 0.1)):
            await self.owner.clock.advance(0.1)
            if self.lives:
                await self.owner.input.pump(self.owner.worker)
            await self.standby.input.pump(self.standby.worker)
            if heard:
                self.standby.worker.hear(0, [alive("w-1")] if self.lives else [])
                self.standby.worker.listened(0)
            await breathe()

    async def kill(self) -> None:
        self.lives = False
        await self.owner.die()

    @property
    def stands(self) -> bool:
        return Reason.STANDBY in self.standby.worker.shards[0].reasons

    @property
    def claimants(self) -> list[str]:
        return [claim.instance for claim in self.broker.claims()]


async def test_it_folds_like_the_owner_and_writes_nothing() -> None:
    pair = await Pair().start()
    pair.standby.engine.under["a"] = 0
    flushes = []
    for value in (b"{}", b"state", b"bad", b"deficit"):
        pair.owner.fill("a", value=value)
        await pair.run(0.3)
        flushes.append(pair.table.flushes)
    assert pair.standby.engine.fills == pair.owner.engine.fills
    assert pair.standby.outbox.queued == pair.standby.outbox.in_flight == 0
    assert [len(pair.broker.log(topic, 0)) for topic in ("account-states", "dead-letters", "defaults")] == [1, 1, 1]
    assert pair.claimants == ["w-1"]
    assert pair.table.epochs[0] == pair.owner.worker.shards[0].fence
    assert pair.standby.meter.gates[0] >= {"standby"}


async def test_an_owner_that_lives_and_has_nothing_to_do_keeps_the_shard() -> None:
    pair = await Pair().start()
    await pair.run(5)
    assert pair.stands
    assert pair.claimants == ["w-1"]


async def test_a_silent_owner_is_replaced_within_a_little_more_than_the_silence() -> None:
    pair = await Pair().start()
    pair.standby.engine.under["a"] = 0
    pair.owner.fill("a")
    await pair.run(0.2)
    await pair.kill()
    await pair.run(0.9)
    assert pair.claimants == ["w-1"]
    await pair.run(0.5)
    assert pair.claimants == ["w-1", "w-2"]
    assert [order.account for order in pair.broker.valid_orders()] == ["a"]
    assert pair.standby.meter.events.count("taken_over") == 1
    assert pair.standby.engine.gates[0]


async def test_nobody_is_blamed_while_nothing_can_be_heard() -> None:
    pair = await Pair().start()
    await pair.run(5, heard=False)
    await pair.run(0.3)
    assert pair.stands
    assert pair.claimants == ["w-1"]


async def test_after_the_takeover_the_table_is_the_fold() -> None:
    pair = await Pair().start()
    for account in "abc":
        pair.owner.fill(account)
    await pair.run(0.4)
    pair.owner.fill("b")
    await pair.run(0.3)
    assert pair.table.offsets[0]["fills"] == 4
    await pair.kill()
    pair.owner.fill("c")  # never stored by the owner
    pair.owner.fill("d")
    await pair.run(2)
    assert pair.table.offsets[0]["fills"] == 6
    assert pair.table.rows[0] == {"a": b"1,False", "b": b"2,False", "c": b"2,False", "d": b"1,False"}
    assert pair.table.epochs[0] == pair.standby.worker.shards[0].fence
    assert pair.standby.meter.events.count("shard_reloaded") == 0


async def test_what_the_owner_did_not_write_any_more_is_written_after_the_takeover() -> None:
    pair = await Pair().start()
    await pair.kill()
    pair.owner.fill("a", value=b"state")
    pair.owner.fill("a", value=b"bad")
    await pair.run(2)
    assert len(pair.broker.log("account-states", 0)) == 1
    assert len(pair.broker.log("dead-letters", 0)) == 1


async def test_what_was_not_written_for_another_is_not_passed_by_the_table_before_it_is() -> None:
    """Between the claim and its reading nothing of it has left: a crash there would lose it, had the table gone on."""
    pair = await Pair().start()
    await pair.kill()
    pair.owner.fill("a", value=b"bad")
    worker, topics = pair.standby.worker, [topic for topic in ACCOUNT_TOPICS if topic != ORDERS]
    for _ in range(20):  # the claim is acknowledged, and not read yet
        await pair.owner.clock.advance(0.1)
        await pair.standby.input.pump(worker, only=topics)
        worker.listened(0)
        await breathe()
    assert pair.claimants == ["w-1", "w-2"]
    assert pair.broker.log("dead-letters", 0) == []
    assert pair.table.offsets[0]["fills"] == 0
    await pair.run(0.5)
    assert len(pair.broker.log("dead-letters", 0)) == 1
    assert pair.table.offsets[0]["fills"] == 1


@pytest.mark.parametrize("stored", [True, False])
async def test_what_an_owner_leaves_unwritten_for_long_is_kept_for_as_long(stored: bool) -> None:
    """It lives, but a topic of its does not answer: neither does it store what it could not write."""
    pair = await Pair().start()
    if not stored:
        pair.owner.worker._cancel(0)
    pair.owner.fill("a", value=b"state")
    await pair.run(0.3)
    pair.broker.log("account-states", 0).clear()
    await pair.run(10)
    await pair.kill()
    await pair.run(2)
    assert len(pair.broker.log("account-states", 0)) == (0 if stored else 1)


async def test_it_does_not_store_before_it_is_where_the_table_is() -> None:
    pair = await Pair().start()
    pair.owner.fill("a")
    await pair.run(0.3)
    pair.table.offsets[0]["fills"] = 3  # the owner read on, and what it read did not reach us yet
    await pair.kill()
    with patch.object(pair.table, "load", wraps=pair.table.load) as load:
        await pair.run(2)
    load.assert_not_called()  # that may be a hundred thousand rows, twenty times a second
    assert pair.claimants == ["w-1", "w-2"]
    assert pair.table.offsets[0]["fills"] == 3
    pair.owner.fill("a")
    pair.owner.fill("a")
    await pair.run(0.5)
    assert pair.table.offsets[0]["fills"] == 3
    assert pair.table.rows[0]["a"] == b"3,False"


async def test_whatever_the_table_holds_by_then_it_holds_the_memory_afterwards() -> None:
    """It lost writes; a row is of another's way through the prices, with the same facts; one is of an account that nobody knows."""
    pair = await Pair().start()
    for account in "abc":
        pair.owner.fill(account)
    await pair.run(0.4)
    pair.table.rows[0].pop("b")
    pair.table.rows[0] |= {"c": b"1,True", "x": b"1,False"}
    pair.table.offsets[0]["fills"] = 1
    await pair.kill()
    await pair.run(3)
    assert pair.table.rows[0] == {"a": b"1,False", "b": b"1,False", "c": b"1,False"}
    assert pair.table.offsets[0]["fills"] == 3
    assert "shard_reloaded" not in pair.standby.meter.events


async def test_an_owner_that_still_stores_is_shut_out_before_the_table_is_read() -> None:
    """A row that changed by a price alone has no offset that would tell of it."""
    pair = await Pair().start()
    pair.owner.fill("a")
    await pair.run(0.3)
    await pair.kill()
    load, late = pair.table.load, []

    async def load_and_be_overtaken(partition: int) -> Stored:
        stored = await load(partition)
        at = pair.table.offsets[0]
        late.append(await pair.table.flush(0, 0, at, Snapshot({"a": b"1,True"}, at, 0)))
        return stored

    with patch.object(pair.table, "load", load_and_be_overtaken):
        await pair.run(2)
    assert late == [Fenced(pair.table.epochs[0])]
    assert pair.table.rows[0] == {"a": b"1,False"}


async def test_a_table_that_must_not_be_put_aside_is_a_persons_to_mend() -> None:
    pair = await Pair().start()

    async def no_row_fits(_: int) -> Stored:
        raise Refused("is this the key that it was written with?")

    await pair.kill()
    pair.owner.fill("a")
    with patch.object(pair.table, "load", no_row_fits):
        await pair.run(2)
    assert Reason.REFUSED in pair.standby.worker.shards[0].reasons
    assert "shard_refused" in pair.standby.meter.alarms
    assert pair.standby.failures == []


async def test_what_changes_while_the_table_is_compared_is_stored_with_the_rest() -> None:
    pair = await Pair().start()
    for number in range(50):
        pair.owner.fill(f"a-{number}")
    await pair.run(0.4)
    pair.table.rows[0].clear()
    await pair.kill()
    differing = pair.standby.engine.differing

    def meanwhile(partition: int, stored: dict[str, bytes]) -> Iterator[dict[str, bytes | None]]:
        for number, part in enumerate(differing(partition, stored)):
            if number == 20:
                pair.standby.engine.apply(pair.broker.log("fills", 0)[0])  # as a fill that is folded between two parts
            yield part

    with patch.object(pair.standby.engine, "differing", meanwhile):
        await pair.run(2)
    assert pair.table.rows[0] == {f"a-{number}": b"2,False" if number == 0 else b"1,False" for number in range(50)}


async def test_the_owner_that_comes_back_is_given_way_to_and_no_one_flaps() -> None:
    pair = await Pair().start()
    pair.owner.fill("a")
    await pair.kill()
    await pair.run(2)
    assert not pair.stands
    pair.owner = World(instance="w-3", clock=pair.owner.clock, broker=pair.broker, table=pair.table)
    await pair.owner.start(0)
    for _ in range(40):
        await pair.owner.clock.advance(0.1)
        await pair.owner.input.pump(pair.owner.worker)
        await pair.standby.input.pump(pair.standby.worker)
        pair.standby.worker.hear(0, [alive("w-3")])
        pair.standby.worker.listened(0)
    assert pair.claimants == ["w-1", "w-2", "w-3"]
    assert pair.stands
    pair.owner.fill("a")
    pair.owner.fill("b")
    await pair.owner.run(0.3)
    await pair.owner.die()
    await pair.run(2)
    assert pair.claimants == ["w-1", "w-2", "w-3", "w-2"]
    assert pair.table.rows[0] == {"a": b"2,False", "b": b"1,False"}
    assert pair.standby.meter.events.count("shard_reloaded") == 0


async def test_a_lost_claim_of_a_standby_is_sent_again() -> None:
    pair = await Pair().start()
    await pair.kill()
    pair.broker.failing = "lost"
    await pair.run(1.5)
    assert pair.claimants == ["w-1"]
    pair.broker.failing = None
    await pair.run(1)
    assert pair.claimants == ["w-1", "w-2"]
    assert pair.standby.engine.gates[0]


async def test_nothing_piles_up_that_somebody_else_has_to_store() -> None:
    pair = await Pair().start()
    pair.owner.worker._cancel(0)  # the owner folds and does not store
    for number in range(100):
        pair.owner.fill(f"a-{number}")
        if number % 5 == 0:
            await pair.run(0.3)
    assert pair.standby.engine.dirty_count(0) + pair.standby.worker.shards[0].rows_kept < 30
    await pair.kill()
    await pair.run(2)
    assert len(pair.table.rows[0]) == 100
    assert "shard_reloaded" not in pair.standby.meter.events


async def test_it_is_ready_when_it_was_read_to_the_ends_and_not_before() -> None:
    pair = Pair()
    await pair.owner.live(0)
    pair.owner.fill("a")
    await pair.standby.start(0)
    assert "shard 0: recovering" in pair.standby.worker.readiness(1_000)
    await pair.run(0.5)
    assert not [reason for reason in pair.standby.worker.readiness(1_000) if reason.startswith("shard")]
    assert pair.standby.worker.standing == [0]


async def test_a_claim_of_ours_that_landed_late_is_followed_by_one_that_counts() -> None:
    pair = await Pair().start()
    await pair.kill()
    await pair.run(2)
    pair.broker.append(ORDERS, 0, a_claim("theirs", "w-9"))
    await pair.run(0.3)
    assert pair.stands
    pair.broker.append(ORDERS, 0, a_claim("w-2-0", "w-2"))
    await pair.run(0.5)
    assert not pair.stands
    assert pair.standby.engine.gates[0]


async def test_a_record_of_the_journal_that_cannot_be_read_is_no_sign_of_life_and_no_end() -> None:
    pair = await Pair().start()
    await pair.kill()
    for _ in range(20):
        await pair.run(0.1)
        pair.standby.worker.hear(0, [b"{", b""])
    assert pair.claimants == ["w-1", "w-2"]
    assert pair.standby.failures == []


async def test_what_the_owner_has_to_store_is_no_delay_of_the_standby() -> None:
    pair = await Pair().start()
    pair.owner.fill("a")
    await pair.run(0.3)
    shard = pair.standby.worker.shards[0]
    assert shard.has_news
    assert not shard.waits_for_store
    await pair.kill()
    await pair.run(2)
    assert shard.rows_kept == 0
    assert not shard.has_news
