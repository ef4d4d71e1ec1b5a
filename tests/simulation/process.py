"""One worker process: the real engine, worker and table over simulated parts; put together as build.py does it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from services.adapters.ports import Batch, Outgoing
from services.adapters.redis_table import RedisTable, TableSettings
from services.contracts.codec import decode
from services.contracts.identifiers import partition_of
from services.contracts.journal import JOURNAL
from services.contracts.messages import Order
from services.contracts.records import Record
from services.contracts.topics import BROADCAST_TOPICS
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.liquidator.engine_port import EnginePort
from services.liquidator.journal import JournalledEngine
from services.liquidator.outbox import Outbox
from services.liquidator.ownership import OwnershipSettings
from services.liquidator.shard import Shard
from services.liquidator.signs import session_name
from services.liquidator.standby import StandbyRules
from services.liquidator.turns import FORCED
from services.liquidator.worker import Worker, WorkerSettings
from tests.simulation.kafka import HEARTBEAT_S, POLL_S, SimInput, SimProducer, SimSnapshots
from tests.simulation.loop import Process, ProcessClock, VirtualLoop, true_ms
from tests.simulation.network import REQUEST_TIMEOUT_S, Link
from tests.simulation.oracle import Violation
from tests.simulation.redis import RedisClient
from tests.simulation.venue import ORDERS

if TYPE_CHECKING:
    from tests.simulation.world import World

LOOP_GAP_MS = 500
PIECES = (
    1,
    61,
    200,
    2_500,
)  # what a piece of an event may cost: one unit of work, one or a few reviews, or what is usual
WAITS_S = (*(0.0,) * 30, 0.002, 0.02, 0.06)  # between two pieces
STANDBY = "standby"  # the instance that stands by, in histories that have one
SILENCE_S = 0.8
ROWS_KEPT = 24  # so few that what a standby keeps is let go again and again
MALFUNCTIONS = {
    "order_exceeds_position",
    "order_not_justified",
    "attempts_without_effect",
    "reference_differs",
    "certificate_violated",
}
OLD_S = 1.0  # an account record that waits unread for so long shuts the gate, whatever the fetches do


class Silent:
    """Meter and log of a process: what happens goes to the trace of the world."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def info(self, event: str, **fields: object) -> None:
        self._world.trace(self._name, event, fields)

    warning = info

    def error(self, event: str, **fields: object) -> None:
        self.info(event, **fields)
        if fields.get("name") in MALFUNCTIONS:
            self._world.violated(Violation(f"{self._name} halts itself: {fields}"))

    def alarm(self, name: str) -> None:
        self._world.alarms[name] += 1

    def event(self, name: str) -> None:
        self._world.alarms[name] += 1
        if name == FORCED:
            self._world.violated(Violation(f"{self._name} asks the engine for what it could have waited for"))

    def gate(self, partition: int, reasons: frozenset[str]) -> None:
        self._world.trace(self._name, "gate", {"partition": partition, "shut": ",".join(sorted(reasons))})

    def __getattr__(self, name: str) -> Any:
        """Whatever else a meter is told is of no interest here."""
        return lambda *_: None


class NodeClock(ProcessClock):
    """The clock of a process which, where it only lets others run, is kept waiting by them; and where it may be killed or stopped."""

    def __init__(self, node: Node, loop: VirtualLoop) -> None:
        super().__init__(loop, node.process)
        self._node = node

    async def sleep(self, seconds: float) -> None:
        if not seconds:
            await self._node.point("piece")
            seconds = self._node.world.draw.choice(WAITS_S)
        await super().sleep(seconds)


class Node:
    """A process and the links that it has. It lives until it is killed; its successor is another one."""

    def __init__(self, world: World, instance: str, life: int) -> None:
        self.world = world
        self.instance = instance
        self.process = Process(f"{instance}.{life}")
        self.name = self.process.name
        loop, draw = world.loop, world.draw
        self.kafka = Link(loop, draw, world.weather, world.count)
        self.redis = Link(loop, draw, world.weather, world.count)
        self.coordinator_up = True
        self.stopped_at = self.resumed_at = 0.0  # when it stood still last, for long enough to be taken for dead
        clock, silent = NodeClock(self, loop), Silent(world, self.name)
        piece = draw.choice(PIECES)
        self.engine = Engine(SETTINGS_OF(world.broker.partitions), gates_open=False, piece=piece)
        client: Any = RedisClient(world.server, self.redis, self.point)
        self.table = RedisTable(client, TableSettings("rf:", "simulated"))
        self.input = SimInput(world.broker, self.kafka, self.process, self.point)
        self.outbox = Outbox(lambda: SimProducer(world.broker, self.kafka, self.point, self.watch), clock, silent)
        nonces = iter(range(1_000_000))
        self.session = session_name(instance, self.name)
        rules = StandbyRules(self.session, SILENCE_S) if instance == STANDBY else None
        self.worker = Worker(
            WORKER_SETTINGS(instance, rules), engine=self._journalled(clock) if world.standby else self.engine, table=self.table, outbox=self.outbox, clock=clock, meter=silent,
            log=silent, new_nonce=lambda: f"{self.name}-{next(nonces)}", fail=self.failed,
            snapshots=SimSnapshots(world.broker, self.kafka, self.point),
        )  # fmt: skip
        self.worker.attach(self.input)
        self.input.on_commit = world.committed
        self.input.deliver, self.input.fail = self.fold, self.failed

    def _journalled(self, clock: ProcessClock) -> EnginePort:
        partitions = self.world.broker.partitions
        partition = partition_of(self.session, partitions)
        return JournalledEngine(
            self.engine, self.session, SETTINGS_OF(partitions), clock,
            lambda shard, value: self.worker.journal(partition, self.session, shard, value),
        )  # fmt: skip

    # -- life ------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        belongs = self._stand_by() if self.instance == STANDBY else self._membership()
        for work in (self._main(), self.input.poll(), belongs):
            self.world.loop.start(self.process, self._guard(work))

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  # whatever ends a task of a process ends the process
            self.failed(error)

    async def _main(self) -> None:
        await self.point("start")
        while True:
            try:
                await self.outbox.connect()
                break
            except Exception as error:  # noqa: BLE001  # a real process would be started again
                self.world.trace(self.name, "connect", {"error": repr(error)})
        self.world.loop.start(self.process, self._guard(self.outbox.run()))
        self.world.loop.start(self.process, self._guard(self.worker.run()))
        self.world.loop.start(self.process, self._guard(self._broadcast()))

    async def _broadcast(self) -> None:
        """Reference data to their ends, then everything for ever; as BroadcastReader does it."""
        broker = self.world.broker
        positions = dict.fromkeys(BROADCAST_TOPICS, 0)
        positions["prices"] = max(0, broker.end("prices", 0) - 20)
        while True:
            await self.kafka.fetch("prices")
            records: list[Record] = []
            for topic in sorted(BROADCAST_TOPICS, key=lambda name: name == "prices"):
                log = broker.log(topic, 0)
                records += log[positions[topic] :]
                positions[topic] = len(log)
            if records:
                await self.worker.fold_broadcast(records)
            self.worker.broadcast_ready.set()
            await broker.beyond("prices", 0, positions["prices"])

    async def _membership(self) -> None:
        """Join, heartbeat, give up and join again when told to."""
        group, joined = self.world.group, False
        while True:
            await asyncio.sleep(self.kafka.latency())
            if not (self.kafka.up and self.coordinator_up) or (joined and group.heartbeat(self.name)):
                await asyncio.sleep(HEARTBEAT_S)
                continue
            if joined:
                await self.point("revoked:before")
                await self.worker.revoked()
                await self.point("revoked:after")
            mine = await group.join(self.name)
            await self.point("assigned:before")
            self.input.reset(mine)
            self.worker.assigned(mine)
            joined = True
            await self.point("assigned:after")

    async def _stand_by(self) -> None:
        """All partitions, without a group; and the journal, as StandbyInput reads it."""
        broker = self.world.broker
        partitions = range(broker.partitions)
        self.input.reset(frozenset(partitions))
        self.worker.stand_by(broker.partitions)
        positions = dict.fromkeys(partitions, 0)
        while True:
            await asyncio.sleep(POLL_S)
            await self.kafka.fetch(JOURNAL)
            for partition, position in positions.items():
                log = broker.log(JOURNAL, partition)
                self.worker.hear(partition, [record.value for record in log[position:]])
                positions[partition] = len(log)
                self.worker.listened(partition)

    def cut_coordinator(self) -> None:
        """The coordinator is another broker than those of the partitions: the group may lose a member that goes on working."""
        self.coordinator_up = False

    def restore_coordinator(self) -> None:
        self.coordinator_up = True

    async def fold(self, batch: Batch) -> None:
        await self.worker.fold(batch)

    def failed(self, error: BaseException) -> None:
        """The worker gave up. In a simulation that is a fault of the worker unless the log was really cut."""
        self.world.failed(self, error)

    async def point(self, name: str) -> None:
        """A place where this process may be killed or stopped."""
        if self.world.passes(self, name):
            await asyncio.sleep(0)  # killed or stopped here: what comes next happens never, or later

    # -- watching what it sends --------------------------------------------------------------------------------------------

    def watch(self, outgoing: Outgoing, entered: float) -> None:
        """An order leaves, which was handed over at `entered`: was it allowed to?"""
        if outgoing.topic != ORDERS:
            return
        message = decode(ORDERS, outgoing.value)
        if not isinstance(message, Order) or outgoing.partition is None:
            return
        shard = self.worker.shards.get(outgoing.partition)
        try:
            self._check_order(message, outgoing.partition, shard, entered)
        except Violation as violation:
            self.world.violated(violation)

    def _check_order(self, order: Order, partition: int, shard: Shard | None, entered: float) -> None:
        loop, broker, told = self.world.loop, self.world.broker, f"{self.name} sends order {order.order_id}"
        if shard is None:
            raise Violation(f"{told} of partition {partition}, which is not its own")
        if order.epoch < shard.claim:
            raise Violation(f"{told} under {order.epoch} after it read the claim at {shard.claim}")
        claims = [m for _, m in self.world.messages.read(ORDERS, partition, order.epoch, order.epoch + 1)]
        if getattr(claims[0], "nonce", "").rpartition("-")[0] != self.name:
            raise Violation(f"{told} under {order.epoch}, which is no claim of its own")
        asked, end = self.input.tails_asked.get(partition, (-1.0, 0))
        if entered < self.resumed_at:
            return  # it stood still inside the very call: nothing but the epoch can tell now
        if asked < self.resumed_at or (end > shard.next[ORDERS] and asked >= self.resumed_at > 0):
            raise Violation(f"{told} after it stood still, without having read the end of the orders")
        limit = true_ms(loop) - OLD_S * 1000
        for topic, position in shard.next.items():
            log = broker.log(topic, partition)
            if position < len(log) and log[position].timestamp_ms < limit:
                raise Violation(
                    f"{told} while {topic}@{position} waits unread for {true_ms(loop) - log[position].timestamp_ms} ms"
                )


def SETTINGS_OF(partitions: int) -> Settings:  # noqa: N802  # reads as the constant that it is but for the count
    return Settings(
        account_partitions=partitions, account_settle_ms=100, order_ttl_ms=800, clock_skew_ms=300, account_gap_ms=2_000, max_unfilled_ms=8_000,
    )  # fmt: skip


def WORKER_SETTINGS(instance: str, standby: StandbyRules | None = None) -> WorkerSettings:  # noqa: N802  # the same
    return WorkerSettings(
        ownership=OwnershipSettings(
            instance=instance, reclaim_ms=8_000, retry_fenced_ms=3_500, confirm_ms=int((REQUEST_TIMEOUT_S + 3.0) * 1000)
        ),
        standby=standby, max_unstored_rows=200_000 if standby is None else ROWS_KEPT, loop_gap_ms=LOOP_GAP_MS, release_ms=1_000, snapshot_ms=2_500,
    )  # fmt: skip
