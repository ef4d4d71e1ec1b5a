"""Write-behind: what was folded goes to the table with the offsets that it is the fold of, in one step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from services.adapters.ports import (
    AccountInput,
    Clock,
    Corrupt,
    Fenced,
    Flushed,
    Logger,
    Meter,
    Refused,
    RolledBack,
    Snapshot,
    Stored,
    Table,
    Unreachable,
)
from services.liquidator.shard import Shard
from services.liquidator.turns import Turns

BACKOFF_S: Final = 0.25
COMMIT_EVERY_S: Final = 1.0


class Storage:
    """Stores shards. A snapshot once taken is stored before the next one is taken, however many attempts it needs: taking it
    emptied the engine's set of changed rows."""

    def __init__(
        self,
        *,
        engine: Turns,
        table: Table,
        load: Callable[[int], Awaitable[Stored]],
        account_input: AccountInput,
        clock: Clock,
        meter: Meter,
        log: Logger,
        interval_s: float,
        last_number: Callable[[], int],
        on_fenced: Callable[[Shard, int], None],
        on_rolled_back: Callable[[Shard], None],
        on_refused: Callable[[Shard, str], None],
    ) -> None:
        self._engine = engine
        self._table = table
        self._load = load
        self._input = account_input
        self._clock = clock
        self._meter = meter
        self._log = log
        self._interval_s = interval_s
        self._last_number = last_number
        self._on_fenced = on_fenced
        self._on_rolled_back = on_rolled_back
        self._on_refused = on_refused
        self._committed: dict[int, float] = {}

    async def keep(self, shard: Shard) -> None:
        """Store the shard again and again until cancelled. Redis being away delays this and nothing else."""
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self.store(shard)
            except Unreachable as error:
                self._meter.event("store_unreachable")
                self._log.warning("store_unreachable", partition=shard.partition, error=str(error))
                await self._clock.sleep(BACKOFF_S)
            else:
                await self._show_progress(shard)

    async def store(self, shard: Shard) -> None:
        """Store what is new, once.

        Raises:
            Unreachable: no answer; the next call finds out what happened.
        """
        async with shard.storing:
            if shard.may_store and shard.is_strange and not await self._compare(shard):
                return
            pending = await self._take(shard) if shard.may_store else None
            if pending is None:
                if shard.may_store:
                    shard.stored_at = self._clock.monotonic()  # nothing waits: the lag counts from the oldest that does
                return
            await shard.settled(shard.barrier)
            if shard.may_store and shard.pending is pending:
                await self._store_pending(shard, pending)

    async def _take(self, shard: Shard) -> Snapshot | None:
        """The snapshot to store: the one that could not be stored yet, or a new one if there is anything new."""
        if shard.pending is None and (shard.has_news or self._engine.dirty_count(shard.partition)):
            async with self._engine.turn():  # rows and offsets of one moment, at which nothing is half done
                if shard.may_store and not shard.is_strange:
                    rows = self._engine.take_dirty(shard.partition)
                    shard.pending = Snapshot(rows, dict(shard.next), shard.claim)
                    shard.barrier = self._last_number()
        return shard.pending

    async def _compare(self, shard: Shard) -> bool:
        """After another owner: what to store is all in which the table differs from the memory, however that came about.

        It need not be what was folded since: statuses follow from the order in which prices and facts were read, and the owner read
        them in another.
        """
        assert shard.fence is not None, "who may store knows its epoch"
        if not await self._has_reached(shard):
            return False
        # Else the other may store what no offset tells of.
        result = await self._table.fence(shard.partition, shard.fence)
        if isinstance(result, Fenced):
            self._fenced(shard, result)
        if not isinstance(result, Flushed):
            return False
        try:
            stored = await self._load(shard.partition)
        except Refused as error:
            self._on_refused(shard, str(error))
            return False
        if not _may_store_on(shard, stored.offsets):
            return False
        # All is compared from here on, and what changes meanwhile is noted again.
        self._engine.forget_dirty(shard.partition)
        rows: dict[str, bytes | None] = {}
        for differing in self._engine.differing(shard.partition, dict(stored.rows)):
            rows |= differing
            await asyncio.sleep(0)
            if not shard.may_store:
                return False
        async with self._engine.turn():
            if not shard.may_store:
                return False
            rows |= self._engine.take_dirty(shard.partition)
            shard.durable, shard.pending = stored.offsets, Snapshot(rows, dict(shard.next), shard.claim)
            shard.barrier = self._last_number()
        return True

    async def _has_reached(self, shard: Shard) -> bool:
        """Asked before all of it is read, again and again while it is ahead of us."""
        try:
            return _may_store_on(shard, await self._table.stored_offsets(shard.partition))
        except Corrupt:
            return True  # whoever reads all of it puts it aside

    async def _store_pending(self, shard: Shard, pending: Snapshot) -> None:
        assert shard.fence is not None
        started, others = self._clock.monotonic(), shard.others
        result = await self._table.flush(shard.partition, shard.fence, shard.durable, pending)
        match result:
            case Flushed():
                shard.durable, shard.pending = pending.offsets, None
                shard.compared = others
                shard.stored_at = self._clock.monotonic()
                self._meter.flushed(shard.partition, len(pending.rows), shard.stored_at - started)
            case Fenced():
                self._fenced(shard, result)
            case RolledBack() if shard.is_strange or dict(result.stored) == dict(pending.offsets):
                shard.is_anothers()  # another stored once more, perhaps as much as we were about to: on top of that
            case RolledBack():
                self._log.warning("store_rolled_back", partition=shard.partition, stored=dict(result.stored))
                self._on_rolled_back(shard)

    def _fenced(self, shard: Shard, result: Fenced) -> None:
        self._log.warning(
            "store_fenced", partition=shard.partition, stored_epoch=result.stored_epoch, epoch=shard.fence
        )
        self._on_fenced(shard, result.stored_epoch)

    async def _show_progress(self, shard: Shard) -> None:
        """Group offsets trail the durable ones, for lag dashboards only."""
        now = self._clock.monotonic()
        if shard.durable is None or now - self._committed.get(shard.partition, -COMMIT_EVERY_S) < COMMIT_EVERY_S:
            return
        self._committed[shard.partition] = now
        await self._input.commit(shard.partition, shard.durable)


def _may_store_on(shard: Shard, stored: Mapping[str, int] | None) -> bool:
    """Whether a table at these offsets is not ahead of us: else more has to be folded first."""
    return shard.may_store and all(shard.next.get(topic, 0) >= at for topic, at in (stored or {}).items())
