"""Owning a shard: take it over, claim it in the log, notice that somebody else did, give it up.

The log decides: the newest claim in `liquidation-orders`[p] owns p. Being given p by the consumer group only says who should claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from services.adapters.ports import AccountInput, Clock, Logger, Refused, Snapshot, Stored, Unreachable
from services.contracts.journal import known_claim
from services.contracts.messages import Claim
from services.contracts.records import Record
from services.liquidator.dispatch import Alarms, Dispatch
from services.liquidator.gates import Gates
from services.liquidator.recovery import Recovery, choose_start
from services.liquidator.shard import ORDERS, Reason, Shard
from services.liquidator.standby import Standby
from services.liquidator.turns import Turns

FIRST_BACKOFF_S: Final = 0.1
LAST_BACKOFF_S: Final = 5.0
NONCES_KEPT: Final = 64
# Shards: all their rows are in memory twice for a moment, and one is fetched while another is taken in.
STARTED_AT_ONCE: Final = 2


@dataclass(frozen=True)
class OwnershipSettings:
    """Durations in milliseconds."""

    instance: str
    reclaim_ms: int = 60_000  # a valid claim must stay inside the topic's retention
    retry_fenced_ms: int = 8_000  # longer than a session: whoever lost the group membership is gone by then
    from_cut_topics: bool = False  # what retention took away is in openings: start at the beginning of what is there
    confirm_ms: int = 20_000  # an order or claim not read back by then is unknown


class Ownership:
    """The claims of the shards that the group gave to this worker."""

    def __init__(
        self,
        settings: OwnershipSettings,
        *,
        engine: Turns,
        recovery: Recovery,
        account_input: AccountInput,
        gates: Gates,
        dispatch: Dispatch,
        alarms: Alarms,
        clock: Clock,
        log: Logger,
        new_nonce: Callable[[], str],
        spawn: Callable[[int, Coroutine[Any, Any, None]], None],
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._recovery = recovery
        self._input = account_input
        self._gates = gates
        self._dispatch = dispatch
        self._alarms = alarms
        self._clock = clock
        self._log = log
        self._new_nonce = new_nonce
        self._spawn = spawn
        self._starting = asyncio.Semaphore(STARTED_AT_ONCE)
        self.standby: Standby | None = None

    # -- taking over ---------------------------------------------------------------------------------------------------

    async def take_over(self, shard: Shard) -> None:
        """Load what the table has (unless the shard is in memory), have the topics read on from there, and claim."""
        backoff = FIRST_BACKOFF_S
        while True:
            try:
                await self._start(shard)
                _stop_if_cancelled()
            except Unreachable as error:
                _stop_if_cancelled()
                self._log.warning("shard_waits", partition=shard.partition, error=str(error))
                await self._clock.sleep(backoff)
                backoff = min(backoff * 2, LAST_BACKOFF_S)
            except Refused as error:
                self.refuse(shard, str(error))
                return
            else:
                if Reason.STANDBY in shard.reasons:
                    self.stood_still(shard)  # it is ready once it was read to the ends of now
                else:
                    self.claim(shard)
                return

    async def _start(self, shard: Shard) -> None:
        if not shard.loaded:
            await self._input.ranges(shard.partition)  # a partition of which no broker answers holds no place of others
            async with self._starting:
                await self._load(shard)
        await self._input.seek(shard.partition, shard.next)

    async def _load(self, shard: Shard) -> None:
        stored = await self._recovery.load(shard.partition, is_ours=Reason.STANDBY not in shard.reasons)
        ranges = await self._input.ranges(shard.partition)
        lost = stored.offsets is None or any(stored.offsets.get(t, 0) < log.begin for t, log in ranges.items())
        snapshot = await self._recovery.snapshot(shard.partition) if lost else None
        chosen, offsets = choose_start(
            shard.partition, stored, snapshot, ranges, from_cut_topics=self._settings.from_cut_topics
        )
        async with self._engine.turn():
            _stop_if_cancelled()
            if not shard.loaded:  # else a takeover before this one, cancelled, came to its end nevertheless
                await self._restore(shard, chosen, offsets, None if chosen is stored else stored)

    async def _restore(self, shard: Shard, chosen: Stored, offsets: dict[str, int], instead_of: Stored | None) -> None:
        """Take over what was chosen, `instead_of` what the table holds if that is something else."""
        # The claim that the stored orders were checked against lies before the stored offsets: fold it again, by its place.
        claim = known_claim(shard.partition, chosen.claim) if chosen.claim >= 0 else None
        self._engine.shut_gate(shard.partition)
        await self._engine.restore(
            shard.partition, chosen.rows, claim, lambda: self._restored(shard, chosen, offsets, instead_of)
        )

    def _restored(self, shard: Shard, chosen: Stored, offsets: dict[str, int], instead_of: Stored | None) -> None:
        assert not shard.loaded, "two takeovers of one shard at once"
        shard.claim = chosen.claim
        shard.durable = chosen.offsets
        shard.next = offsets
        if instead_of is not None:
            self._alarms.sound("restored_from_snapshot", partition=shard.partition, rows=len(chosen.rows))
            # The table gets all of it back before anything else, in place of what it holds now.
            shard.durable = instead_of.offsets
            shard.pending = Snapshot(dict(chosen.rows), dict(offsets), chosen.claim)
        shard.loaded = True
        self._log.info(
            "shard_restored", partition=shard.partition, rows=len(chosen.rows), epoch=chosen.epoch, offsets=offsets
        )

    def refuse(self, shard: Shard, why: str) -> None:
        """Leave the shard undecided until a person has acted; the other shards go on."""
        self._gates.shut(shard, Reason.REFUSED)
        self._alarms.sound("shard_refused", partition=shard.partition, detail=why)

    # -- claims --------------------------------------------------------------------------------------------------------

    def claim(self, shard: Shard) -> None:
        """Append a claim. Nothing is decided until it was read back: an order between the two would not count."""
        self._gates.shut(shard, Reason.CLAIM)
        if self.standby is not None and Reason.STANDBY in shard.reasons:
            self.standby.step_up(shard)
        if Reason.RECOVERING in shard.reasons:
            shard.targets = None
            shard.asks += 1
        nonce = self._new_nonce()
        shard.awaited = nonce
        shard.nonces = [*shard.nonces[1 - NONCES_KEPT :], nonce]
        shard.claimed_at = self._clock.monotonic()
        claim = Claim(instance=self._settings.instance, nonce=nonce, ts_ms=self._clock.now_ms())
        self._dispatch.claim(shard, claim)

    def claim_acked(self, shard: Shard, nonce: str, offset: int) -> None:
        """The broker has our claim: from here on the table may be written with it, and the ends of the topics can be asked."""
        if nonce in shard.nonces and offset > (shard.fence if shard.fence is not None else -1):
            shard.fence = offset
        is_newest = shard.nonces[-1:] == [nonce]  # else another is on its way, perhaps of a shard begun anew
        if shard.targets is None and is_newest:
            self._spawn(shard.partition, self._learn_targets(shard, shard.asks))

    async def _learn_targets(self, shard: Shard, asks: int) -> None:
        """The ends that the account topics have now, after the claim."""
        ends = await self._ends(shard)
        if asks == shard.asks:  # else they were asked for before the claim that counts
            shard.targets = ends
            self.progressed(shard)

    async def _ends(self, shard: Shard) -> dict[str, int]:
        while True:
            try:
                ranges = await self._input.ranges(shard.partition)
            except Unreachable as error:
                self._log.warning("ends_unknown", partition=shard.partition, error=str(error))
                await self._clock.sleep(LAST_BACKOFF_S / 10)
            else:
                return {topic: found.end for topic, found in ranges.items()}

    async def fold_claim(self, shard: Shard, record: Record, claim: Claim) -> None:
        """Inside a turn: read a claim. One that nobody here waits for stops the shard before the engine takes its epoch."""
        awaited = claim.nonce == shard.awaited
        unexpected = not awaited and shard.awaited is None
        if unexpected:
            self._gates.shut(shard, Reason.CLAIM)
        await self._engine.apply_one(record, lambda: self._claim_read(shard, record, claim, unexpected=unexpected))

    def _claim_read(self, shard: Shard, record: Record, claim: Claim, *, unexpected: bool) -> None:
        shard.claim = record.offset
        shard.next[ORDERS] = record.offset + 1
        if self.standby is not None:
            self.standby.signs.claimed(shard.partition, claim)
        if claim.nonce not in shard.nonces:
            shard.is_anothers()
            self._decided_by_another(shard, record.offset)
        if claim.nonce == shard.awaited:
            self._own_claim_read(shard, record.offset)
            if self.standby is not None:
                self._dispatch.carry_out(self.standby.release(shard))
        elif unexpected and claim.nonce in shard.nonces:
            self.claim(shard)  # a ghost of ours, landed late: its epoch replaced the one that we send under
        elif unexpected:
            self._claimed_by_another(shard, record.offset, claim)

    def _claimed_by_another(self, shard: Shard, epoch: int, claim: Claim) -> None:
        stood_by = Reason.STANDBY in shard.reasons
        self.fenced(shard, epoch)
        if self.standby is not None:
            self.standby.step_back(shard)
        if not stood_by:
            self._log.warning("claimed_by_another", partition=shard.partition, instance=claim.instance, epoch=epoch)

    def _decided_by_another(self, shard: Shard, epoch: int) -> None:
        """Before we decide again, everything is read that the account topics hold after our next claim (or the one on its way)."""
        ours_is_newer = shard.fence is not None and shard.fence > epoch
        if ours_is_newer and Reason.RECOVERING in shard.reasons:
            return  # an old claim, read on the way: the ends that we are reading to were asked for after ours
        self._gates.shut(shard, Reason.RECOVERING)
        shard.targets = None
        if ours_is_newer:
            self._spawn(shard.partition, self._learn_targets(shard, shard.asks))

    def _own_claim_read(self, shard: Shard, offset: int) -> None:
        """All that was sent under earlier epochs has been read, or will never count."""
        shard.awaited = None
        shard.fence = offset
        self._engine.forget_unconfirmed(shard.partition)
        shard.outstanding.clear()
        shard.progress.set()

    def fenced(self, shard: Shard, epoch: int) -> None:
        """Somebody else owns the shard. Only the group giving it to us again, or its silence, makes us claim once more."""
        self._gates.shut(shard, Reason.FENCED)
        shard.is_anothers()
        shard.rival = max(shard.rival, epoch)
        shard.fenced_at = self._clock.monotonic()

    def lost(self, shard: Shard) -> None:
        """The fate of an order or claim is unknown: claim again, which makes it either read or void.

        Not where somebody else owns the shard: what is unknown of ours is void by their claim, and only their silence is a reason.
        """
        if Reason.FENCED in shard.reasons:
            shard.awaited = None
            return
        if shard.loaded and not shard.reasons & {Reason.REVOKED, Reason.STANDBY}:
            self.claim(shard)

    # -- progress ------------------------------------------------------------------------------------------------------

    def progressed(self, shard: Shard) -> None:
        """Something was folded or learnt: lift every reason that no longer holds."""
        if not shard.loaded:
            return
        done: list[Reason] = []
        if shard.holds_claim:
            done += (Reason.CLAIM, Reason.FENCED)
            if shard.caught_up:
                done.append(Reason.RECOVERING)
        if Reason.LOOP_GAP in shard.reasons and shard.has_read_tail:
            shard.tail = None
            done.append(Reason.LOOP_GAP)
            if shard.outstanding and shard.holds_claim:
                self.claim(shard)  # orders were held back or are still on their way: settle them before deciding again
                done = [reason for reason in done if reason is not Reason.CLAIM]
        self._gates.lift(shard, *done)

    def stood_still(self, shard: Shard) -> None:
        """After a pause of this process the shard may be somebody else's, and its accounts are not what they were: read every
        account topic to its end before sending."""
        self._gates.shut(shard, Reason.LOOP_GAP)
        shard.tail = None
        shard.gaps += 1
        self._spawn(shard.partition, self._learn_tail(shard, shard.gaps))

    async def _learn_tail(self, shard: Shard, gap: int) -> None:
        ends = await self._ends(shard)
        async with self._engine.turn():  # an event that was half done then decides nothing more that could be sent now
            if gap == shard.gaps:  # after another pause this answer is too old
                shard.tail = ends
                self.progressed(shard)

    async def read_again(self, shard: Shard) -> None:
        """Records wait and none arrives: whatever lost them on the way, ask for them once more."""
        self._log.warning("read_again", partition=shard.partition, offsets=dict(shard.next))
        try:
            await self._input.seek(shard.partition, shard.next)
        except Unreachable as error:
            self._log.warning("shard_waits", partition=shard.partition, error=str(error))

    def look_after(self, shard: Shard) -> None:
        """What time alone makes due: claim again every minute, after long silence of a rival, or when an answer is overdue."""
        if not shard.loaded or shard.reasons & {Reason.REVOKED, Reason.REFUSED, Reason.STANDBY}:
            return
        if shard.awaited is not None:
            return  # an append that fails is reported by the outbox, one that does not is read back
        now = self._clock.monotonic()
        since_claim = now - shard.claimed_at
        if Reason.FENCED in shard.reasons:
            due = now - shard.fenced_at > self._settings.retry_fenced_ms / 1000
        else:
            oldest = min((at for _, at in shard.outstanding.values()), default=now)
            due = since_claim > self._settings.reclaim_ms / 1000 or now - oldest > self._settings.confirm_ms / 1000
        if due:
            self.claim(shard)


def _stop_if_cancelled() -> None:
    """Libraries lose a cancellation that comes together with an answer or an error. Whoever was cancelled must not go on: another task
    takes the shard over by then, and what both restore is restored twice.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
