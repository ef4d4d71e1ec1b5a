"""The worker: everything that happens to it, in one thread, over ports. No Kafka, Redis or clock of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec

from services.adapters.ports import AccountInput, Batch, Clock, Logger, Meter, SnapshotLog, Table, Unreachable
from services.adapters.tracing import NoTracing
from services.contracts.journal import decode_journal
from services.contracts.records import Record
from services.engine.pieces import Piece
from services.liquidator.brakes import Brakes
from services.liquidator.dispatch import Alarms, Arrival, Dispatch, TopicNames
from services.liquidator.engine_port import EnginePort
from services.liquidator.gates import Gates
from services.liquidator.guard import Guard
from services.liquidator.lag import LagOfTopic
from services.liquidator.order_watch import OrderWatch
from services.liquidator.outbox import Item, Kind, Outbox
from services.liquidator.ownership import Ownership, OwnershipSettings
from services.liquidator.reading import Reading
from services.liquidator.recovery import Recovery
from services.liquidator.second_opinion import SecondOpinion
from services.liquidator.shard import HOLD_ORDERS, ORDERS, Reason, Shard, why_not_ready
from services.liquidator.signs import Signs
from services.liquidator.standby import Standby, StandbyRules
from services.liquidator.steady import SteadyClock
from services.liquidator.storage import Storage
from services.liquidator.throttle import Caps
from services.liquidator.turns import Turns

PRICES: Final = "prices"
TICK_S: Final = 0.05
TIMER_MS: Final = 100
WATCHED_S: Final = 0.02  # prices are not decided on by gates older than this
CHUNK: Final = 500  # records that are offered to the engine at a time


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Durations in milliseconds."""

    ownership: OwnershipSettings
    names: TopicNames = field(default_factory=TopicNames)
    flush_ms: int = 50
    max_account_lag_ms: int = 200
    conflate_after_ms: int = 250
    loop_gap_ms: int = 500
    max_unstored_rows: int = 200_000  # of one shard; with more the gate shuts until they are stored
    snapshot_ms: int = 300_000  # a copy of each shard for the topic `snapshots`
    stuck_ms: int = 5_000  # account records that wait for so long without one being read are asked for again
    caps: Caps = field(default_factory=Caps)  # of one shard
    max_held_ms: int = 1_000  # an order that a cap holds back for longer alarms
    max_futile_attempts: int = 50
    recompute_every: int = 32  # orders: one of so many is computed again by the reference
    standby: StandbyRules | None = (
        None  # given: the worker stands by, and owns a shard only after its owner fell silent
    )
    release_ms: int = 2_000  # to settle and store on revocation; must be well inside the session


class Worker:
    """Feeds the engine and carries out its effects for the shards that the group gives to it."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        engine: EnginePort,
        table: Table,
        outbox: Outbox,
        clock: Clock,
        meter: Meter,
        log: Logger,
        new_nonce: Callable[[], str],
        fail: Callable[[BaseException], None],
        orders: OrderWatch | None = None,
        snapshots: SnapshotLog | None = None,
    ) -> None:
        self._settings = settings
        self._table = table
        self._outbox = outbox
        self._snapshots = snapshots
        self._clock = clock = SteadyClock(clock)
        self._meter = meter
        self._log = log
        self._new_nonce = new_nonce
        self._fail = fail
        self.shards: dict[int, Shard] = {}
        self.lags: dict[tuple[str, int], LagOfTopic] = {}
        self.alarms = Alarms(clock, log, meter)
        self._orders = orders if orders is not None else OrderWatch(clock, NoTracing())
        self.broadcast_ready = asyncio.Event()
        self.newest_ms: dict[str, int] = {}  # broadcast topic -> broker time of its newest folded record
        self.last_pass = clock.monotonic()
        self._tasks: dict[int, set[asyncio.Task[None]]] = {}
        self._last_beat, self._last_worked = clock.monotonic(), clock.worked()
        self._last_timer_ms, self._is_timer_asked, self._is_release_asked = 0, False, False
        self._lags_watched = 0.0
        self._stopping = False
        self._was_assigned = False
        self._dispatch = Dispatch(
            names=settings.names, outbox=outbox, shards=self.shards, clock=clock, meter=meter, alarms=self.alarms,
            orders=self._orders,
        )  # fmt: skip
        self._engine = Turns(engine, clock, meter, fail)
        self._engine.carry_out = self._dispatch.carry_out
        self._gates = Gates(self._engine, meter)
        outbox.may_send = self._may_send
        outbox.on_acked = self._acked
        outbox.on_lost = self._lost

    def attach(self, account_input: AccountInput) -> None:
        """Connect to the account topics; they in turn call `assigned`, `revoked` and `fold`."""
        self._input = account_input
        self._recovery = Recovery(
            self._table, self._snapshots, interval_s=self._settings.snapshot_ms / 1000, clock=self._clock, meter=self._meter,
            logger=self._log,
        )  # fmt: skip
        self._ownership = Ownership(
            self._settings.ownership, engine=self._engine, recovery=self._recovery, account_input=account_input,
            gates=self._gates, dispatch=self._dispatch, alarms=self.alarms, clock=self._clock, log=self._log,
            new_nonce=self._new_nonce, spawn=self._spawn,
        )  # fmt: skip
        self._storage = Storage(
            engine=self._engine, table=self._table, load=self._recovery.load, account_input=account_input, clock=self._clock,
            meter=self._meter, log=self._log, interval_s=self._settings.flush_ms / 1000, last_number=lambda: self._dispatch.last_number,
            on_fenced=self._fenced_by_table, on_rolled_back=self._reload,
            on_refused=self._ownership.refuse,
        )  # fmt: skip
        self.brakes = Brakes(
            self._settings.caps, Guard(self._settings.max_futile_attempts), SecondOpinion(self._settings.recompute_every),
            self._settings.max_held_ms,
            engine=self._engine, gates=self._gates, claim=self._ownership.claim, alarms=self.alarms, meter=self._meter,
            clock=self._clock,
        )  # fmt: skip
        self._dispatch.may_go = self.brakes.may_go
        self._standby: Standby | None = None
        if (rules := self._settings.standby) is not None:
            self._standby = self._ownership.standby = Standby(
                rules, engine=self._engine, table=self._table, gates=self._gates,
                clock=self._clock, meter=self._meter, log=self._log, claim=self._ownership.claim, spawn=self._spawn,
            )  # fmt: skip
            self._dispatch.keeps_back = self._standby.keeps

    # -- standing by --------------------------------------------------------------------------------------------------------

    def stand_by(self, partitions: int) -> None:
        """Fold every shard beside its owner."""
        self._was_assigned = True
        for partition in range(partitions):
            self._begin(partition, standing=True)
        self._log.info("standing_by", partitions=partitions)

    def hear(self, partition: int, values: Sequence[bytes]) -> None:
        """Records of the journal: whoever wrote them lives."""
        now = self._clock.monotonic()
        for value in values:
            try:
                record = decode_journal(value)
            except msgspec.DecodeError as error:  # of another version: that is no sign of life, and no reason to end
                self._log.warning("journal_unreadable", partition=partition, error=str(error))
            else:
                self._signs.heard(record, partition, now)

    def listened(self, partition: int) -> None:
        """Nothing more waits in this partition of the journal."""
        self._signs.listened(partition, self._clock.monotonic())

    @property
    def _signs(self) -> Signs:
        assert self._standby is not None, "a worker that does not stand by hears nobody"
        return self._standby.signs

    @property
    def stands_by(self) -> bool:
        """Whether this worker belongs to no group, and owns only what its owner left."""
        return self._settings.standby is not None

    @property
    def standing(self) -> list[int]:
        """The shards that are folded beside their owners."""
        return sorted(shard.partition for shard in self.shards.values() if Reason.STANDBY in shard.reasons)

    # -- ownership: called by the group membership ------------------------------------------------------------------------

    def assigned(self, partitions: frozenset[int]) -> None:
        """These partitions are ours now. Those that were ours before keep their memory, and claim again."""
        self._was_assigned = True
        for partition in set(self.shards) - partitions:
            self._forget(self.shards[partition])
        for partition in sorted(partitions):
            shard = self.shards.get(partition)
            if shard is None:
                self._begin(partition)
            else:
                self._cancel(partition)
                self._engine.shut_gate(partition)
                shard.given_again()
                self._meter.gate(partition, frozenset(shard.reasons))
                self._run(shard)
        self._log.info("assigned", partitions=sorted(partitions))

    async def revoked(self) -> None:
        """Stop deciding on every shard, settle and store what can be within the time allowed, and keep the memory."""
        shards = list(self.shards.values())
        for shard in shards:
            self._gates.shut(shard, Reason.REVOKED)
        try:
            async with asyncio.timeout(self._settings.release_ms / 1000):
                # Orders are not read back while the group rebalances: such a shard is replayed from where it was stored.
                await asyncio.gather(*(self._storage.store(shard) for shard in shards if not shard.outstanding))
        except (TimeoutError, Unreachable) as error:
            self._log.warning("released_unstored", error=repr(error))
        for shard in shards:
            self._cancel(shard.partition)
        self._log.info("revoked", partitions=[shard.partition for shard in shards])

    def journal(self, partition: int, session: str, shard: int | None, value: bytes) -> None:
        """Append a record of the journal to `partition` of its topic; the store of `shard` waits until it is acknowledged."""
        self._dispatch.journal(None if shard is None else self.shards.get(shard), partition, session, value)

    def _begin(self, partition: int, *, standing: bool = False) -> None:
        shard = self.shards[partition] = Shard(partition)
        self.brakes.began(shard)
        if standing and self._standby is not None:
            self._standby.step_back(shard)
        self._engine.shut_gate(partition)
        self._meter.gate(partition, frozenset(shard.reasons))
        self._run(shard)

    def _run(self, shard: Shard) -> None:
        self._recovery.forget(shard.partition)
        self._spawn(shard.partition, self._take_over(shard))
        self._spawn(shard.partition, self._storage.keep(shard))
        self._spawn(shard.partition, self._recovery.keep(shard))

    async def _take_over(self, shard: Shard) -> None:
        """Reference data first: it is folded to its end before any account record is."""
        await self.broadcast_ready.wait()
        await self._ownership.take_over(shard)

    def _forget(self, shard: Shard) -> None:
        self._cancel(shard.partition)
        shard.given_up = True
        self._engine.shut_gate(shard.partition)
        self._engine.drop(shard.partition)
        self.brakes.forget(shard.partition)
        if self._standby is not None:
            self._standby.forget(shard)
        del self.shards[shard.partition]
        for key in [key for key in self.lags if key[1] == shard.partition]:
            del self.lags[key]
        self._meter.dropped(shard.partition)

    def _fenced_by_table(self, shard: Shard, epoch: int) -> None:
        self._ownership.fenced(shard, epoch)
        self._spawn(shard.partition, self._look_for_rival(shard, epoch))

    async def _look_for_rival(self, shard: Shard, epoch: int) -> None:
        """An epoch is the offset of a claim: one that the log does not reach is damage, and nobody's."""
        try:
            ranges = await self._input.ranges(shard.partition)
        except Unreachable as error:
            self._log.warning("ends_unknown", partition=shard.partition, error=str(error))
            return
        if epoch >= ranges[ORDERS].end:
            self._reload(shard)

    def _reload(self, shard: Shard) -> None:
        """The table holds something else than what we built on: forget the shard, and take it over again from there."""
        self._meter.event("shard_reloaded")
        self._forget(shard)
        self._begin(shard.partition, standing=Reason.STANDBY in shard.reasons)

    def _spawn(self, partition: int, work: Coroutine[Any, Any, None]) -> None:
        """Run beside, until done or until the shard goes. An unexpected error ends the worker: nothing is swallowed."""
        task = asyncio.ensure_future(work)
        tasks = self._tasks.setdefault(partition, set())
        tasks.add(task)

        def done(finished: asyncio.Task[None]) -> None:
            tasks.discard(finished)
            if not finished.cancelled() and (error := finished.exception()) is not None:
                self._fail(error)

        task.add_done_callback(done)

    def _cancel(self, partition: int) -> None:
        for task in self._tasks.pop(partition, set()):
            task.cancel()

    # -- records ----------------------------------------------------------------------------------------------------------

    async def fold(self, batch: Batch) -> None:
        """Fold one batch of an account topic; a batch that leaves a hole is asked for again."""
        if batch.topic != ORDERS:
            await self._outbox.room()  # claims and orders are read back in any case: without them nothing gets room
        self._beat()
        shard = self.shards.get(batch.partition)
        if shard is None or not shard.loaded or batch.end <= shard.next[batch.topic]:
            return
        if batch.start > shard.next[batch.topic]:
            self._log.warning(
                "hole",
                topic=batch.topic,
                partition=batch.partition,
                start=batch.start,
                expected=shard.next[batch.topic],
            )
            self._meter.event("hole")
            await self._input.seek(batch.partition, shard.next)
            return
        self._meter.records(batch.topic, len(batch.records))
        arrived = self._clock.monotonic()
        records = [record for record in batch.records if record.offset >= shard.next[batch.topic]]
        if batch.traceparents:
            self._orders.heard(records, batch.traceparents)
        done = 0
        while done < len(records):
            async with self._engine.turn():
                self._beat()
                if self.shards.get(batch.partition) is not shard or shard.next[batch.topic] > records[done].offset:
                    return  # taken away, or started over, while others had their turn
                reading = Reading(shard, batch.topic, records[done : done + CHUNK], arrived, batch.traceparents)
                done += await self._fold_some(reading)
        shard.next[batch.topic] = max(shard.next[batch.topic], batch.end)
        self._note_lag(shard, batch)
        self._ownership.progressed(shard)

    async def _fold_some(self, reading: Reading) -> int:
        """Inside a turn: the next records, as many as are soon done; how many those were."""
        claim = reading.until_claim() if reading.topic == ORDERS else None
        if claim is None:
            return await self._engine.apply(reading.records, partial(self._folded, reading))
        await self._ownership.fold_claim(reading.shard, reading.records[0], claim)
        return 1

    def _folded(self, reading: Reading, piece: Piece) -> None:
        """A piece of what is folded: the shard is there now, whoever waited for it."""
        for order_id in reading.begun(piece.records):
            if reading.shard.outstanding.pop(order_id, None) is not None:
                reading.shard.progress.set()
        self._dispatch.carry_out(piece.effects, reading.arrival(piece.records))

    def _note_lag(self, shard: Shard, batch: Batch) -> None:
        if batch.records:
            age_ms = max(0, self._clock.now_ms() - batch.records[-1].timestamp_ms)
            self._lag(batch.topic, shard.partition).folded(
                newest_ms=self._lag_now_ms() - age_ms,
                position=batch.end,
                feed=self._input.feed(batch.topic, batch.partition),
            )

    def _lag_now_ms(self) -> int:
        """The clock that lags are measured by: it never steps."""
        return round(self._clock.monotonic() * 1_000)

    def _lag(self, topic: str, partition: int) -> LagOfTopic:
        lag = self.lags.get((topic, partition))
        if lag is None:
            lag = self.lags[topic, partition] = LagOfTopic()
        return lag

    async def fold_broadcast(self, records: Sequence[Record]) -> None:
        """Fold one poll of the broadcast topics, reference records first. Old prices are folded to the newest marks at once."""
        self._beat()
        arrived = self._clock.monotonic()
        prices = [record for record in records if record.topic == PRICES]
        self._count(records)
        for record in records:
            if record.topic != PRICES:
                await self._fold_reference(record, arrived)
        while prices:
            async with self._engine.turn():
                self._beat()
                del prices[: await self._fold_prices(prices, arrived)]

    async def _fold_reference(self, record: Record, arrived: float) -> None:
        """One at a time: what orders are held against is learnt of it just before the engine decides by it."""
        async with self._engine.turn():
            self.brakes.learn([record])
            arrival = Arrival([record], arrived)
            await self._engine.apply([record], lambda piece: self._dispatch.carry_out(piece.effects, arrival))
            self.brakes.read([record], self.shards)

    async def _fold_prices(self, prices: Sequence[Record], arrived: float) -> int:
        """Inside a turn: the next of them, or all that are left where the next is old by now; how many those were."""
        if self._clock.monotonic() - self._lags_watched > WATCHED_S:
            self._watch_lags()
        self._clock.heard(prices[-1].timestamp_ms)
        now_ms = self._clock.now_ms()
        if not self.broadcast_ready.is_set() or now_ms - prices[0].timestamp_ms > self._settings.conflate_after_ms:
            self._timer()
            last = Arrival(prices, arrived)
            await self._engine.fold_prices(prices, lambda piece: self._dispatch.carry_out(piece.effects, last))
            self._evaluated(prices)
            return len(prices)
        chosen = prices[:CHUNK]
        count = await self._engine.apply(
            chosen,
            lambda piece: self._dispatch.carry_out(piece.effects, Arrival(chosen[: piece.records], arrived)),
        )
        self._evaluated(chosen[:count])
        return count

    def _count(self, records: Sequence[Record]) -> None:
        counts: dict[str, int] = {}
        for record in records:
            counts[record.topic] = counts.get(record.topic, 0) + 1
            self.newest_ms[record.topic] = max(record.timestamp_ms, self.newest_ms.get(record.topic, 0))
        for topic, count in counts.items():
            self._meter.records(topic, count)

    def _evaluated(self, prices: Sequence[Record]) -> None:
        """Count how long after the broker had them these marks were evaluated; not what was read to catch up at the start."""
        if not self.broadcast_ready.is_set():
            return
        now_ms = self._clock.now_ms()
        for timestamp_ms, count in Counter(record.timestamp_ms for record in prices).items():
            self._meter.evaluated(max(0, now_ms - timestamp_ms) / 1000, count)

    @property
    def newest_price_ms(self) -> int | None:
        """Broker time of the newest folded price record; None before the first."""
        return self.newest_ms.get(PRICES)

    # -- what was sent -----------------------------------------------------------------------------------------------------

    def _may_send(self, partition: int) -> bool:
        """Whether orders that were decided a moment ago may still go out: not after a pause, nor once the shard is lost."""
        self._beat()
        shard = self.shards.get(partition)
        return shard is not None and not shard.reasons & HOLD_ORDERS

    def _acked(self, items: Sequence[Item], first: int) -> None:
        now_ms, waits = self._clock.now_ms(), Counter[int]()
        for offset, item in enumerate(items, first):
            if item.kind is Kind.ORDER:
                self._orders.acknowledged(item.ident, offset)
                if item.caused_ms is not None:
                    waits[max(0, now_ms - item.caused_ms)] += 1
            shard = self.shards.get(item.shard) if item.shard is not None else None
            if shard is None:
                continue
            if item.kind is Kind.CLAIM:
                self._ownership.claim_acked(shard, item.ident, offset)
            elif shard.unacked.pop(item.number, item) is None:
                shard.progress.set()
        for waited_ms, count in waits.items():
            self._meter.acked(waited_ms / 1000, count)

    def _lost(self, partitions: frozenset[int]) -> None:
        for partition in sorted(partitions & set(self.shards)):
            self._meter.event("send_unknown")
            self._orders.unknown(self.shards[partition].outstanding)
            self._ownership.lost(self.shards[partition])

    # -- time -------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            due = self._clock.monotonic() + TICK_S
            await self._clock.sleep(TICK_S)
            self._meter.loop_delay(max(0.0, self._clock.monotonic() - due))
            self.tick()

    def tick(self) -> None:
        """What time alone makes due: timers of the engine, gates by lag, claims by age."""
        self._beat()
        self._watch_lags()  # before the timer decides: while the loop was busy, account records may have waited
        if self._clock.now_ms() - self._last_timer_ms >= TIMER_MS and not self._is_timer_asked:
            self._timer()
        for shard in list(self.shards.values()):
            if shard.loaded:
                self._watch_clock(shard)
                self._watch_store(shard)
                self._ownership.look_after(shard)
            if self._standby is not None:
                self._standby.look(shard)
        if not self._is_release_asked:
            self._is_release_asked = True
            self._engine.soon(self._release)

    def _release(self) -> None:
        """What the caps have room for now."""
        self._is_release_asked = False
        for shard in self.shards.values():
            if shard.loaded:
                self.brakes.tick(shard)

    def _timer(self) -> None:
        self._is_timer_asked = True
        self._engine.timer(self._timer_ms, self._timer_passed)

    def _timer_ms(self) -> int:
        """The time of a timer is the one at which its turn comes."""
        self._last_timer_ms = self._clock.now_ms()
        return self._last_timer_ms

    def _timer_passed(self) -> None:
        self._is_timer_asked, self.last_pass = False, self._clock.monotonic()  # no sooner: others need a turn
        self._engine.soon(lambda: self.brakes.audit(self.shards))

    def _watch_clock(self, shard: Shard) -> None:
        """Shut the gate while nobody knows what the time is: prices could be older than they look."""
        if self._clock.in_doubt and Reason.CLOCK not in shard.reasons:
            self.alarms.sound("clock_stepped", partition=shard.partition)
        (self._gates.shut if self._clock.in_doubt else self._gates.lift)(shard, Reason.CLOCK)

    def _watch_store(self, shard: Shard) -> None:
        """Decisions do not need the table; but what it lacks has to be read again after a restart, so that is bounded."""
        waiting = self._engine.dirty_count(shard.partition) + shard.rows_kept
        if Reason.STANDBY in shard.reasons:
            return  # bounded in another way, and somebody else's to store
        if waiting > self._settings.max_unstored_rows:
            self._gates.shut(shard, Reason.STORE_BEHIND)
        elif waiting <= self._settings.max_unstored_rows // 2:
            self._gates.lift(shard, Reason.STORE_BEHIND)

    def _watch_lags(self) -> None:
        self._lags_watched = self._clock.monotonic()
        for shard in list(self.shards.values()):
            if shard.loaded:
                self._watch_lag(shard)

    def _watch_lag(self, shard: Shard) -> None:
        """Shut the gate while an account record waits for too long, or the broker is silent about whether one does."""
        late, stuck, now_ms = False, False, self._lag_now_ms()
        for topic, position in shard.next.items():
            lag = self._lag(topic, shard.partition)
            lag.observe(position=position, feed=self._input.feed(topic, shard.partition), now_ms=now_ms)
            late = late or lag.ms > self._settings.max_account_lag_ms
            stuck = stuck or lag.stuck_ms > self._settings.stuck_ms
        if stuck:
            for topic in shard.next:
                self._lag(topic, shard.partition).asked_again()
            self._spawn(shard.partition, self._ownership.read_again(shard))
        (self._gates.shut if late else self._gates.lift)(shard, Reason.ACCOUNT_LAG)

    def _beat(self) -> None:
        """Notice that this process stood still: its shards may be somebody else's by now.

        A storm that we were computing all the while is no standing still: were its orders withheld and decided again, that would
        take as long once more, for ever. What a successor claimed meanwhile makes them void.
        """
        now, worked = self._clock.monotonic(), self._clock.worked()
        gap = now - self._last_beat - (worked - self._last_worked)
        self._last_beat, self._last_worked = now, worked
        if gap * 1000 <= self._settings.loop_gap_ms:
            return
        self._meter.loop_gap(gap)
        self._log.warning("stood_still", seconds=round(gap, 3))
        if self._standby is not None:
            self._signs.renew(now)  # neither did we hear anybody meanwhile
        for shard in list(self.shards.values()):
            if shard.loaded:
                self._ownership.stood_still(shard)

    # -- the end ----------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Stop deciding, let what was sent be acknowledged and read back, and store, within the time allowed."""
        self._stopping = True
        for shard in self.shards.values():
            self._gates.shut(shard, Reason.REVOKED)
        try:
            async with asyncio.timeout(self._settings.release_ms / 1000):
                await self._engine.rest()
                await self._outbox.idle()
                await asyncio.gather(*(shard.settled(self._dispatch.last_number) for shard in self.shards.values()))
        except TimeoutError:
            self._log.warning("stopped_unsettled")
        await self.revoked()

    def readiness(self, max_price_silence_ms: int) -> list[str]:
        """Why this worker is not ready: nothing, when every shard that it was given may decide and prices flow."""
        reasons = [
            f"shard {shard.partition}: {reason}"
            for shard in self.shards.values()
            for reason in sorted(why_not_ready(shard))
        ]
        if not self.broadcast_ready.is_set():
            reasons.append("broadcast topics are being read")
        elif self.newest_price_ms is None or self._clock.now_ms() - self.newest_price_ms > max_price_silence_ms:
            reasons.append("no fresh price")
        if not self._was_assigned:
            reasons.append("joining the group")
        if self._stopping:
            reasons.append("stopping")
        return reasons
