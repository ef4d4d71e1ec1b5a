"""One history: a seed decides the size, the schedule and the faults; the oracle judges."""

from __future__ import annotations

import gc
import hashlib
import random
from collections import Counter, deque
from collections.abc import Container, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from services.adapters.redis_table import TAG_BYTES
from services.contracts.decimals import parse
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.rows import bucket_field, encode_account, encode_bucket
from tests.simulation.faults import Chaos
from tests.simulation.kafka import Broker, CutError, Group
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Weather
from tests.simulation.oracle import Fold, Messages, Violation, check_orders, check_rows
from tests.simulation.process import LOOP_GAP_MS, STANDBY, Node
from tests.simulation.redis import RedisServer
from tests.simulation.venue import Venue

HEAL_S = 45.0
STEP_S = 0.25
LAST_EVENTS = 80


@dataclass
class Outcome:
    """What a seed came to."""

    seed: int
    violation: str | None
    faults: Counter[str]
    alarms: Counter[str]
    simulated_s: float
    fills: int
    orders: int
    executed: int
    void: int
    digest: str
    events: list[str]


class World:
    """Everything of one history."""

    def __init__(self, seed: int, *, only: Container[str] | None = None, standby: bool = False) -> None:
        self.seed = seed
        self.standby = standby  # whether there is one: then all have a journal
        self.draw = draw = random.Random(seed)
        self.loop = VirtualLoop()
        self.weather = Weather()
        self.faults: Counter[str] = Counter()
        self.alarms: Counter[str] = Counter()
        self.hooks: Counter[str] = Counter()
        self.events: deque[tuple[float, str, str, Mapping[str, object]]] = deque(maxlen=LAST_EVENTS)
        self.violation: Violation | None = None
        self.broker = Broker(self.loop, draw, draw.choice((1, 2, 2)))
        self.messages = Messages(self.broker)
        self.server = RedisServer(self.loop)
        self.server.on_flush, self.server.on_aside = self._flushed, self.server_changed
        self.group = Group(self.broker)
        self.venue = Venue(self.loop, self.broker, draw, draw.randint(3, 7))
        self.nodes: dict[str, Node] = {}
        self.armed: list[tuple[str, int, str]] = []
        self._lives = count()
        self._folds: dict[int, Fold] = {}
        self._stored: dict[
            int, dict[str, int]
        ] = {}  # partition -> what the table holds, unless a fault changed it since
        self._epochs: dict[int, int] = {}
        self._furthest: dict[tuple[str, int], int] = {}  # the highest offset that was ever stored
        self.chaos = Chaos(self, draw, only)
        self.fault_s = draw.uniform(6, 14)

    # -- running ---------------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Faults, then healing, then the last judgement."""
        gc_was_on = gc.isenabled()
        gc.disable()  # finalisers would run at moments that the seed does not decide
        try:
            self._run()
        except Violation as violation:
            self.violated(violation)
        finally:
            outcome = self._outcome()
            self.loop.abandon()
            if gc_was_on:
                gc.enable()
        return outcome

    def _run(self) -> None:
        self.venue.open()
        self.venue.start()
        self.loop.later(0.0, self.group.watch)
        for number in range(self.draw.choice((2, 2, 3))):
            self.spawn(f"w-{number}")
        if self.standby:
            self.spawn(STANDBY)
        self._until(self.draw.uniform(1, 3))
        self.chaos.start()
        self._until(self.fault_s)
        self._heal()
        waited = 0.0
        while (why := self._why_not_healed()) is not None:
            if waited >= HEAL_S:
                raise Violation(f"not healed {HEAL_S:.0f} s after the last fault: {why}")
            self._until(STEP_S)
            waited += STEP_S
        self._judge()

    def _until(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            self.loop.run_until(min(end, self.loop.time() + STEP_S))
            if self.violation is not None:
                raise self.violation
            if errors := [error for error in self.loop.errors if "destroyed" not in error]:
                raise Violation(errors[0])

    def _heal(self) -> None:
        """No new fault; what is broken outside is repaired. From here on everything must come right by itself."""
        self.trace("chaos", "healing", {})
        self.chaos.active = False
        self.armed.clear()
        self.calm()
        self.venue.calm, self.venue.halted = True, False
        for node in self.alive():
            node.kafka.restore()
            node.redis.restore()
            node.restore_coordinator()
            node.process.wall_step_ms = 0
            self.go_on(node)
        self.loop.later(6.0, self._repair)

    def _repair(self) -> None:
        """Cuts that were drawn before the end of the faults may end after it."""
        for node in self.alive():
            node.kafka.restore()
            node.redis.restore()
            node.restore_coordinator()

    # -- processes ---------------------------------------------------------------------------------------------------------

    def spawn(self, instance: str) -> None:
        node = self.nodes[instance] = Node(self, instance, next(self._lives))
        self.trace(node.name, "starts", {})
        node.start()

    def alive(self) -> list[Node]:
        return [node for _, node in sorted(self.nodes.items()) if node.process.alive]

    def kill(self, node: Node) -> None:
        if not node.process.alive:
            return
        self.trace(node.name, "killed", {})
        node.process.alive = False
        delay = self.draw.expovariate(1 / 0.7) if self.chaos.active else 0.1
        self.loop.later(delay, self.spawn, node.instance)

    def stop(self, node: Node) -> None:
        """The process stands still for a while (SIGSTOP), or for so long that it is taken for dead."""
        if node.process.stopped or not node.process.alive:
            return
        self.trace(node.name, "stopped", {})
        node.process.stopped, node.stopped_at = True, self.loop.time()
        self.loop.later(
            self.draw.choice((0.3, 0.6, 1.5, 4.0, 6.0, 8.0)) * self.draw.uniform(0.8, 1.2), self.go_on, node
        )

    def go_on(self, node: Node) -> None:
        if node.process.stopped and node.process.alive:
            self.trace(node.name, "continued", {})
            if (
                self.loop.time() - node.stopped_at
            ) * 1000 > LOOP_GAP_MS + 100:  # a worker looks at its clock every 50 ms
                node.resumed_at = self.loop.time()
            self.loop.go_on(node.process)

    def passes(self, node: Node, hook: str) -> bool:
        """A process is at a hook: whether it is killed or stopped there."""
        self.hooks[hook] += 1
        for index, (wanted, skip, what) in enumerate(self.armed):
            if wanted == hook:
                if skip:
                    self.armed[index] = (wanted, skip - 1, what)
                    return False
                del self.armed[index]
                self.count(f"{what}@{hook}")
                (self.kill if what == "kill" else self.stop)(node)
                return True
        return False

    def failed(self, node: Node, error: BaseException) -> None:
        if isinstance(error, CutError):
            self.kill(node)
        else:
            self.violated(Violation(f"{node.name} ended itself: {error!r}"))
            node.process.alive = False

    # -- surroundings ------------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        self.weather.__dict__.update(Weather().__dict__)

    def kafka_away(self, *, away: bool) -> None:
        for node in self.alive():
            (node.kafka.cut if away else node.kafka.restore)()

    def redis_away(self, *, away: bool) -> None:
        for node in self.alive():
            (node.redis.cut if away else node.redis.restore)()

    def server_changed(self) -> None:
        """A fault of the server: what it stored before says nothing about what it stores next."""
        self._stored.clear()
        self._epochs.clear()

    def count(self, fault: str) -> None:
        self.faults[fault] += 1

    def trace(self, who: str, event: str, fields: Mapping[str, object]) -> None:
        held = {name: dict(value) if isinstance(value, dict) else value for name, value in fields.items()}
        self.events.append((self.loop.time() - 1_000.0, who, event, held))

    # -- judging -----------------------------------------------------------------------------------------------------------

    def violated(self, violation: Violation) -> None:
        if self.violation is None:
            self.trace("oracle", "violation", {"text": str(violation)})
            self.violation = violation

    def _flushed(self, meta: str, fields: Mapping[bytes, bytes], rows: Mapping[bytes, bytes]) -> None:
        """Every image that the table ever held is the fold of its own offsets, and offsets only grow."""
        partition = int(meta.partition("{p")[2].partition("}")[0])
        vector = {name.decode()[7:]: int(at) for name, at in fields.items() if name.startswith(b"offset:")}
        try:
            before = self._stored.get(partition, {})
            if back := [topic for topic, at in before.items() if vector[topic] < at]:
                raise Violation(f"the stored offsets of partition {partition} went back in {back}")
            epoch = int(fields[b"epoch"])
            if epoch < self._epochs.get(partition, -1):
                raise Violation(f"partition {partition} was stored under {epoch} after {self._epochs[partition]}")
            self._stored[partition], self._epochs[partition] = vector, epoch
            self._furthest |= {
                (t, partition): max(at, self._furthest.get((t, partition), 0)) for t, at in vector.items()
            }
            self._check_dead_letters(partition, vector)
            check_rows(self._fold_at(partition, vector), rows, self._damaged(partition, rows))
        except Violation as violation:
            self.violated(violation)

    def committed(self, partition: int, offsets: Mapping[str, int]) -> None:
        """The group is shown nothing that was never stored (I7)."""
        if ahead := [topic for topic, at in offsets.items() if at > self._furthest.get((topic, partition), 0)]:
            self.violated(
                Violation(f"the group offsets of partition {partition} are ahead of what was stored: {ahead}")
            )

    def _damaged(self, partition: int, rows: Mapping[bytes, bytes]) -> frozenset[bytes]:
        """Rows that a fault damaged and nobody wrote since: whoever loads them must notice, nobody else can."""
        table = next(iter(self.nodes.values())).table
        return frozenset(
            name for name, sealed in rows.items() if sealed[:16] != table._tag(partition, name, sealed[16:])
        )

    def _fold_at(self, partition: int, vector: Mapping[str, int]) -> Fold:
        fold = self._folds.get(partition)
        if fold is None or any(at > vector.get(topic, 0) for topic, at in fold.at.items()):
            fold = self._folds[partition] = Fold(self.messages, partition)
        return fold.advance(vector)

    def _check_dead_letters(self, partition: int, vector: Mapping[str, int]) -> None:
        for record in self.venue.poisons:
            if record.partition == partition and record.offset < vector["fills"]:
                wanted = ("offset", str(record.offset).encode())
                headers = [self.broker.headers[place] for place in self.broker.headers if place[0] == "dead-letters"]
                if not any(wanted in each and ("partition", str(partition).encode()) in each for each in headers):
                    raise Violation(
                        f"fills[{partition}]@{record.offset} is stored as read, and no dead letter was written"
                    )

    def _ends(self, partition: int) -> dict[str, int]:
        return {topic: self.broker.end(topic, partition) for topic in ACCOUNT_TOPICS}

    def _why_not_healed(self) -> str | None:
        for partition in range(self.broker.partitions):
            deciders = [
                n.name for n in self.alive() if (s := n.worker.shards.get(partition)) is not None and not s.reasons
            ]
            if len(deciders) != 1:
                states = {
                    n.name: sorted(s.reasons) for n in self.alive() if (s := n.worker.shards.get(partition)) is not None
                }
                return f"partition {partition} is decided by {deciders} of {states}"
            fields = self.server.data.get(f"rf:{{p{partition}}}:meta", {})
            stored = {name[7:]: at for name, at in fields.items() if name.startswith(b"offset:")}
            if stored != {topic.encode(): b"%d" % end for topic, end in self._ends(partition).items()}:
                return f"partition {partition} is stored at {stored} of {self._ends(partition)}"
            fold = self._fold_at(partition, self._ends(partition))
            if waiting := [order for order, state in fold.orders.items() if not (state.settled or state.terminal)]:
                return f"orders of partition {partition} are open: {waiting}"
            marks = {name: parse(f"{mark:.1f}") for name, mark in self.venue.marks.items()}
            for account, bucket in fold.buckets():
                equity, margin = fold.equity(account, bucket, marks)
                if margin and equity < margin:
                    return f"{account}/{bucket} is under water: equity {equity / 1e18}, margin {margin / 1e18}"
        return None

    def _judge(self) -> None:
        for partition in range(self.broker.partitions):
            rows = self.server.data.get(f"rf:{{p{partition}}}:buckets", {})
            check_rows(
                Fold(self.messages, partition).advance(self._ends(partition)), rows, self._damaged(partition, rows)
            )
            check_orders(self.messages, partition)
            self._check_memory(partition, rows)
        twice = [order_id for order_id, times in self.venue.executions.items() if times > 1]
        if twice:
            raise Violation(f"executed more than once: {twice}")

    def _check_memory(self, partition: int, rows: Mapping[bytes, bytes]) -> None:
        """Who decides would find in the table what it has in memory: also what follows from prices and their order, not only the fold."""
        node = next(n for n in self.alive() if (s := n.worker.shards.get(partition)) is not None and not s.reasons)
        unstored = {
            *node.engine.take_dirty(partition),
            *(p.rows if (p := node.worker.shards[partition].pending) else ()),
        }
        memory = {}
        for account in node.engine._context.accounts.of(partition):
            memory[f"{account.account}|"] = encode_account(account)
            memory |= {bucket_field(account.account, b.name): encode_bucket(b) for b in account.buckets.values()}
        unstored |= {name.decode() for name in self._damaged(partition, rows)}
        table = {name.decode(): sealed[TAG_BYTES:] for name, sealed in rows.items()}
        for field in sorted((memory.keys() | table.keys()) - unstored):
            if memory.get(field) != table.get(field):
                raise Violation(f"{field}: the table has {table.get(field)!r}, its owner {memory.get(field)!r}")

    def _outcome(self) -> Outcome:
        partitions = range(self.broker.partitions)
        digest = hashlib.blake2b(digest_size=8)
        for place in sorted(self.broker.logs):
            for record in self.broker.logs[place]:
                digest.update(record.value)
        return Outcome(
            self.seed, None if self.violation is None else str(self.violation), self.faults, self.alarms, self.loop.time() - 1_000.0,
            sum(self.broker.end("fills", p) for p in partitions),
            sum(b'"type":"order"' in r.value for p in partitions for r in self.broker.log("liquidation-orders", p)),
            len(self.venue.executions), self.venue.void, digest.hexdigest(), [_line(*event) for event in self.events],
        )  # fmt: skip


def _line(at: float, who: str, event: str, fields: Mapping[str, Any]) -> str:
    return f"{at:9.3f} {who:8} {event} {' '.join(f'{name}={value}' for name, value in fields.items())}"
