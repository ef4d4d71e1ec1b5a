"""A world for the worker in memory: log, producer, table, clock, and an engine of a few lines that decides from the level."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from services.adapters.ports import (
    Batch,
    Feed,
    Fenced,
    Flushed,
    FlushResult,
    LogRange,
    Outgoing,
    RolledBack,
    Sent,
    Snapshot,
    Stored,
    Unreachable,
)
from services.contracts.codec import decode, encode
from services.contracts.decimals import parse
from services.contracts.messages import AccountState, Claim, Default, Evidence, Order
from services.contracts.records import Record
from services.contracts.refusals import Reason, Refusal
from services.contracts.topics import ACCOUNT_TOPICS
from services.engine.effects import Cause, DeadLetter, Effect, Emit
from services.engine.pieces import Piece, Pieces
from services.liquidator.dispatch import TopicNames
from services.liquidator.outbox import Outbox
from services.liquidator.ownership import OwnershipSettings
from services.liquidator.standby import StandbyRules
from services.liquidator.throttle import Caps
from services.liquidator.worker import Worker, WorkerSettings

ORDERS = "liquidation-orders"
START_MS = 1_700_000_000_000
CAUSE = Cause("timer", 0, 0)


async def breathe(turns: int = 60) -> None:
    """Let everything that can run, run."""
    for _ in range(turns):
        await asyncio.sleep(0)


class FakeClock:
    """Time that stands until `advance`."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.worked_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        return START_MS + round((self.seconds - 1_000.0) * 1_000)

    def monotonic(self) -> float:
        return self.seconds

    def worked(self) -> float:
        return self.worked_s

    async def sleep(self, seconds: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.seconds + seconds, id(waiter), waiter))
        await waiter

    async def advance(self, seconds: float, step: float = 0.01) -> None:
        """Step by step, waking who is due."""
        end = self.seconds + seconds
        while self.seconds < end - 1e-9:
            self.jump(min(step, end - self.seconds))
            await breathe()

    def jump(self, seconds: float) -> None:
        """All at once, as after a stopped process: nobody ran in between."""
        self.seconds += seconds
        while self._sleepers and self._sleepers[0][0] <= self.seconds + 1e-9:
            waiter = heapq.heappop(self._sleepers)[2]
            if not waiter.done():
                waiter.set_result(None)


class FakeBroker:
    """Append-only logs. `failing` makes producers fail; "unknown" appends before it fails, "lost" does not."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.logs: dict[tuple[str, int], list[Record]] = {}
        self.begin: dict[tuple[str, int], int] = {}
        self.headers: dict[tuple[str, int, int], dict[str, bytes]] = {}
        self.failing: str | None = None
        self.holding = False
        self.held: list[tuple[Outgoing, asyncio.Future[int]]] = []
        self.producers = 0

    def log(self, topic: str, partition: int) -> list[Record]:
        return self.logs.setdefault((topic, partition), [])

    def append(self, topic: str, partition: int, value: bytes, key: bytes | None = None) -> int:
        log = self.log(topic, partition)
        record = Record(
            topic=topic, partition=partition, offset=len(log), timestamp_ms=self.clock.now_ms(), key=key, value=value
        )
        log.append(record)
        return record.offset

    def messages(self, topic: str, partition: int = 0) -> list[object]:
        return [decode(ORDERS if topic.startswith(ORDERS) else topic, r.value) for r in self.log(topic, partition)]

    def claims(self, partition: int = 0) -> list[Claim]:
        return [m for m in self.messages(ORDERS, partition) if isinstance(m, Claim)]

    def valid_orders(self, partition: int = 0, topic: str = ORDERS) -> list[Order]:
        """Those that the consumer acts on: the epoch is the newest claim before them, and the id is new."""
        epoch, seen, valid = -1, set(), []
        for offset, message in enumerate(self.messages(topic, partition)):
            if isinstance(message, Claim):
                epoch = offset
            elif isinstance(message, Order) and message.epoch == epoch and message.order_id not in seen:
                seen.add(message.order_id)
                valid.append(message)
        return valid

    def release(self) -> None:
        """Carry out what was held back."""
        self.holding = False
        held, self.held = self.held, []
        for outgoing, future in held:
            if not future.done():
                future.set_result(self._store(outgoing))

    def _store(self, outgoing: Outgoing) -> int:
        partition = outgoing.partition if outgoing.partition is not None else 0
        offset = self.append(outgoing.topic, partition, outgoing.value, outgoing.key)
        self.headers[outgoing.topic, partition, offset] = dict(outgoing.headers)
        return offset


class FakeProducer:
    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.open = False

    async def start(self) -> None:
        if self.broker.failing == "down":
            raise Unreachable("no broker")
        self.open = True
        self.broker.producers += 1

    async def send(self, outgoing: Sequence[Outgoing]) -> Sequence[Sent]:
        sent = []
        for number, item in enumerate(outgoing):
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            sent.append(Sent([number], future))
            if self.broker.holding:
                self.broker.held.append((item, future))
            elif self.broker.failing in ("lost", "unknown", "down"):
                if self.broker.failing == "unknown":
                    self.broker._store(item)
                future.set_exception(Unreachable("no acknowledgement"))
            else:
                future.set_result(self.broker._store(item))
        return sent

    async def close(self) -> None:
        self.open = False

    async def abandon(self) -> None:
        self.open = False
        self.broker.held.clear()


class FakeInput:
    """Delivers the account topics of started partitions when pumped."""

    def __init__(self, broker: FakeBroker, names: TopicNames) -> None:
        self.broker = broker
        self.names = names
        self.positions: dict[tuple[str, int], int] = {}
        self.started: set[int] = set()
        self.seeks: list[tuple[int, dict[str, int]]] = []
        self.commits: dict[int, dict[str, int]] = {}
        self.silent_since_ms: int | None = None

    async def ranges(self, partition: int) -> Mapping[str, LogRange]:
        return {
            topic: LogRange(
                self.broker.begin.get((topic, partition), 0),
                len(self.broker.log(self.names.physical(topic), partition)),
            )
            for topic in ACCOUNT_TOPICS
        }

    async def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        self.seeks.append((partition, dict(offsets)))
        self.positions.update({(topic, partition): at for topic, at in offsets.items()})
        self.started.add(partition)

    def feed(self, topic: str, partition: int) -> Feed | None:
        heard = self.silent_since_ms if self.silent_since_ms is not None else self.broker.clock.now_ms()
        return Feed(len(self.broker.log(self.names.physical(topic), partition)), heard)

    async def commit(self, partition: int, offsets: Mapping[str, int]) -> None:
        self.commits[partition] = dict(offsets)

    async def pump(self, worker: Worker, only: Iterable[str] = ACCOUNT_TOPICS) -> None:
        """Deliver everything that is unread, as one poll would."""
        for topic in only:
            for partition in sorted(self.started):
                at = self.positions[topic, partition]
                log = self.broker.log(self.names.physical(topic), partition)
                if at < len(log):
                    self.positions[topic, partition] = len(log)
                    records = [renamed(record, topic) for record in log[at:]]
                    await worker.fold(Batch(topic, partition, at, len(log), records))


def renamed(record: Record, topic: str) -> Record:
    return Record(
        topic=topic, partition=record.partition, offset=record.offset, timestamp_ms=record.timestamp_ms, key=record.key,
        value=record.value,
    )  # fmt: skip


class FakeTable:
    """Compare and set, as the Redis function does it. `failing`: "away", or "reply_lost" once."""

    def __init__(self) -> None:
        self.epochs: dict[int, int] = {}
        self.claims: dict[int, int] = {}
        self.offsets: dict[int, dict[str, int]] = {}
        self.rows: dict[int, dict[str, bytes]] = {}
        self.failing: str | None = None
        self.flushes = 0

    async def load(self, partition: int) -> Stored:
        if self.failing == "away":
            raise Unreachable("no Redis")
        offsets = self.offsets.get(partition)
        rows = tuple(self.rows.get(partition, {}).items())
        return Stored(
            self.epochs.get(partition, -1),
            self.claims.get(partition, -1),
            None if offsets is None else dict(offsets),
            rows,
            "",
        )

    async def stored_offsets(self, partition: int) -> Mapping[str, int] | None:
        if self.failing == "away":
            raise Unreachable("no Redis")
        return self.offsets.get(partition)

    async def fence(self, partition: int, epoch: int) -> FlushResult:
        if self.failing == "away":
            raise Unreachable("no Redis")
        if epoch < self.epochs.get(partition, -1):
            return Fenced(self.epochs[partition])
        if partition in self.offsets:
            self.epochs[partition] = epoch
        return Flushed()

    async def put_aside(self, partition: int) -> None:
        for held in (self.epochs, self.claims, self.offsets, self.rows):
            held.pop(partition, None)

    async def flush(
        self, partition: int, epoch: int, expected: Mapping[str, int] | None, snapshot: Snapshot
    ) -> FlushResult:
        if self.failing == "away":
            raise Unreachable("no Redis")
        if epoch < self.epochs.get(partition, -1):
            return Fenced(self.epochs[partition])
        stored = self.offsets.get(partition, {})
        if stored != dict(expected or {}):
            done = stored == dict(snapshot.offsets) and self.epochs.get(partition) == epoch
            return Flushed() if done else RolledBack(stored)
        self.flushes += 1
        self.epochs[partition], self.claims[partition] = epoch, snapshot.claim
        self.offsets[partition] = dict(snapshot.offsets)
        rows = self.rows.setdefault(partition, {})
        for field, row in snapshot.rows.items():
            if row is None:
                rows.pop(field, None)
            else:
                rows[field] = row
        if self.failing == "reply_lost":
            self.failing = None
            raise Unreachable("the connection broke")
        return Flushed()


class FakeEngine:
    """Counts fills an account (the state), and orders a close for each account in `under` whose gate is open, once."""

    def __init__(self, partitions: int) -> None:
        self.fills: dict[str, int] = {}
        self.owner: dict[str, int] = {}
        self.under: dict[str, int] = {}
        self.gates = dict.fromkeys(range(partitions), False)
        self.epochs: dict[int, int] = {}
        self.issued: dict[str, str] = {}  # account -> "unconfirmed" or "confirmed"
        self.dirty: dict[int, set[str]] = {}
        self.calls: list[str] = []
        self.timers: list[int] = []
        self.missed: list[tuple[int, str, str]] = []  # what an audit finds
        self.changed: dict[str, dict[str, Any]] = {}  # account -> what is otherwise in its orders
        self.stops = 0  # so often the next event stops before it is over

    def apply(self, record: Record) -> list[Effect]:
        self.calls.append(f"{record.topic}@{record.offset}")
        cause = Cause(record.topic, record.partition, record.offset)
        if record.value == b"bad":
            refusal = Refusal(Reason.INVALID_JSON, "bad")
            return [DeadLetter(cause=cause, record=record, refusal=refusal)]
        if record.topic == ORDERS:
            self._read_back(record)
        elif record.topic == "fills":
            account = (record.key or b"").decode()
            self.fills[account] = self.fills.get(account, 0) + 1
            self.owner[account] = record.partition
            self.dirty.setdefault(record.partition, set()).add(account)
            if record.value == b"state":
                return [self._state(account, record.partition, cause)]
            if record.value == b"deficit":
                return [self._default(account, cause)]
        return self.decide()

    def _default(self, account: str, cause: Cause) -> Emit:
        message = Default(
            default_id="d", account=account, bucket="main", client="c", asset="USDT", deficit="1", insurance_pool=None,
            order_id="d", ts_ms=1,
        )  # fmt: skip
        return Emit(cause=cause, topic="defaults", key=account, partition=None, message=message)

    def _read_back(self, record: Record) -> None:
        message = decode(ORDERS, record.value)
        if isinstance(message, Claim):
            self.epochs[record.partition] = record.offset
        elif isinstance(message, Order) and message.epoch == self.epochs.get(record.partition):
            self.issued[message.account] = "confirmed"
            self.dirty.setdefault(record.partition, set()).add(message.account)

    def _state(self, account: str, partition: int, cause: Cause) -> Emit:
        message = AccountState(
            account=account, bucket="main", client="c", status="healthy", previous_status=None, valuation_asset="USDT",
            equity="1", initial_margin="0", maintenance_margin="0", free_margin="1", maintenance_excess="1", ts_ms=0,
        )  # fmt: skip
        return Emit(cause=cause, topic="account-states", key=f"{account}|main", partition=partition, message=message)

    def applying(self, records: Sequence[Record]) -> Pieces:
        effects: list[Effect] = []
        for number, record in enumerate(records, 1):
            effects += self.apply(record)
            if self.stops:
                return (yield from self._in_pieces(effects, number))
        return Piece(effects, len(records))

    def folding_prices(self, records: Sequence[Record]) -> Pieces:
        self.calls.append(f"fold_prices:{len(records)}")
        return (yield from self._in_pieces(self.decide(), len(records)))

    def at_time(self, time_ms: int) -> Pieces:
        self.timers.append(time_ms)
        return (yield from self._in_pieces(self.decide()))

    def _in_pieces(self, effects: list[Effect], records: int = 0) -> Pieces:
        """So many stops as were asked for, and what comes of it one by one, the last of it after the last stop."""
        stops, self.stops = self.stops, 0
        for number in range(stops):
            yield Piece(effects[number : number + 1], records)
        return Piece(effects[stops:], records)

    def decide(self) -> list[Effect]:
        found: list[Effect] = []
        for account, partition in sorted(self.under.items()):
            if self.gates[partition] and account not in self.issued:
                self.issued[account] = "unconfirmed"
                order = structs.replace(an_order(account, self.epochs[partition]), **self.changed.get(account, {}))
                found.append(Emit(cause=CAUSE, topic=ORDERS, key=account, partition=partition, message=order))
        return found

    def opening_gate(self, partition: int) -> Pieces:
        self.calls.append(f"open {partition}")
        self.gates[partition] = True
        return (yield from self._in_pieces(self.decide()))

    def shut_gate(self, partition: int) -> None:
        self.calls.append(f"shut {partition}")
        self.gates[partition] = False

    def take_dirty(self, partition: int) -> dict[str, bytes | None]:
        return {name: self._row(name) for name in self.dirty.pop(partition, set())}

    def _row(self, name: str) -> bytes:
        return f"{self.fills.get(name, 0)},{self.issued.get(name, '') == 'confirmed'}".encode()

    def forget_dirty(self, partition: int) -> None:
        self.dirty.pop(partition, None)

    def differing(self, partition: int, stored: dict[str, bytes]) -> Iterator[dict[str, bytes | None]]:
        memory = {name: self._row(name) for name, owner in self.owner.items() if owner == partition}
        for name, row in memory.items():
            yield {} if stored.get(name) == row else {name: row}
        yield dict.fromkeys(stored.keys() - memory.keys())

    def dirty_count(self, partition: int) -> int:
        return len(self.dirty.get(partition, ()))

    def restoring(self, partition: int, rows: Iterable[tuple[str, bytes]]) -> Pieces:
        self.calls.append(f"restore {partition}")
        yield from self._in_pieces([])
        for name, row in rows:
            fills, confirmed = row.decode().split(",")
            self.fills[name], self.owner[name] = int(fills), partition
            if confirmed == "True":
                self.issued[name] = "confirmed"
        return Piece([])

    def dropping(self, partition: int) -> Pieces:
        self.calls.append(f"drop {partition}")
        for name in [name for name, owner in self.owner.items() if owner == partition]:
            del self.fills[name], self.owner[name]
        for name in [name for name, owner in self.under.items() if owner == partition]:
            self.issued.pop(name, None)
        self.dirty.pop(partition, None)
        self.epochs.pop(partition, None)
        return (yield from self._in_pieces([]))

    def deciding_again(self, places: Sequence[tuple[str, str, str]]) -> Pieces:
        self.calls.append(f"again {' '.join(account for account, _, _ in places)}")
        for account, _, _ in places:
            if self.issued.get(account) == "unconfirmed":
                del self.issued[account]
        return (yield from self._in_pieces(self.decide()))

    def basis(self, order: Order) -> None:
        """It keeps no ledger: no second opinion."""

    def overlooked(self, accounts: int) -> list[tuple[int, str, str]]:
        found, self.missed = self.missed[:accounts], []
        return found

    def notional(self, order: Order) -> int:  # the port's
        return parse(order.quantity)

    def forgetting_unconfirmed(self, partition: int) -> Pieces:
        self.calls.append(f"forget {partition}")
        for name in [
            n for n, state in self.issued.items() if state == "unconfirmed" and self.under.get(n) == partition
        ]:
            del self.issued[name]
        return (yield from self._in_pieces([]))


def an_order(account: str, epoch: int) -> Order:
    return Order(
        order_id=f"order-of-{account}", epoch=epoch, account=account, client="c", bucket="main", instrument="BTC-PERP",
        position_side="net", side="sell", quantity="1", order_type="limit", time_in_force="ioc", limit_price="1",
        reduce_only=True, cancel_resting="instrument", block_opening=True, valid_until_ms=0, stage="full",
        trigger="maintenance_breach", attempt=1, position_quantity="1", mark_price="1", liquidation_price=None,
        bankruptcy_price=None, equity="0", maintenance_margin="1", projected_equity="0",
        projected_maintenance_margin="0", evidence=Evidence(), ts_ms=0,
    )  # fmt: skip


def a_claim(nonce: str = "theirs", instance: str = "w-2") -> bytes:
    return encode(Claim(instance=instance, nonce=nonce, ts_ms=0))


class NullMeter:
    """Counts alarms and events; forgets the rest."""

    def __init__(self) -> None:
        self.alarms: list[str] = []
        self.events: list[str] = []
        self.gates: dict[int, frozenset[str]] = {}

    def records(self, topic: str, count: int) -> None: ...
    def refused(self, reason: str) -> None: ...
    def order(self, trigger: str, stage: str, seconds: float, count: int) -> None: ...
    def deficit(self, asset: str, amount: float) -> None: ...
    def evaluated(self, seconds: float, marks: int) -> None: ...
    def decided(self, seconds: float) -> None: ...
    def acked(self, seconds: float, count: int) -> None: ...
    def flushed(self, partition: int, rows: int, seconds: float) -> None: ...
    def loop_gap(self, seconds: float) -> None: ...
    def loop_delay(self, seconds: float) -> None: ...
    def dropped(self, partition: int) -> None: ...

    def alarm(self, name: str) -> None:
        self.alarms.append(name)

    def gate(self, partition: int, reasons: frozenset[str]) -> None:
        self.gates[partition] = reasons

    def event(self, name: str) -> None:
        self.events.append(name)


class NullLog:
    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


class World:
    """One worker on a broker and a table, which several worlds may share."""

    def __init__(
        self, *, clock: FakeClock | None = None, broker: FakeBroker | None = None, table: FakeTable | None = None,
        instance: str = "w-1", shadow: bool = False, from_cut_topics: bool = False, max_unstored_rows: int = 1_000, caps: Caps | None = None,
        standby: StandbyRules | None = None,
    ) -> None:  # fmt: skip
        self.clock = clock or FakeClock()
        self.broker = broker or FakeBroker(self.clock)
        self.table = table or FakeTable()
        self.engine = FakeEngine(4)
        self.meter = NullMeter()
        self.failures: list[BaseException] = []
        names = TopicNames(shadow=shadow)
        self.input = FakeInput(self.broker, names)
        self.outbox = Outbox(lambda: FakeProducer(self.broker), self.clock, NullLog())
        nonces = iter(range(1_000_000))
        self.worker = Worker(
            WorkerSettings(
                ownership=OwnershipSettings(instance=instance, from_cut_topics=from_cut_topics), names=names, caps=caps or Caps(),
                max_unstored_rows=max_unstored_rows, standby=standby,
            ),
            engine=self.engine, table=self.table, outbox=self.outbox, clock=self.clock, meter=self.meter, log=NullLog(),
            new_nonce=lambda: f"{instance}-{next(nonces)}", fail=self.failures.append,
        )  # fmt: skip
        self.worker.attach(self.input)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *partitions: int) -> World:
        await self.outbox.connect()
        self._tasks = [asyncio.ensure_future(self.outbox.run()), asyncio.ensure_future(self.worker.run())]
        self.worker.broadcast_ready.set()
        if self.worker.stands_by:
            self.worker.stand_by(len(partitions))
        else:
            self.worker.assigned(frozenset(partitions))
        await breathe()
        return self

    async def live(self, *partitions: int) -> World:
        """Started, claimed and caught up."""
        await self.start(*partitions)
        await self.pump()
        assert all(self.engine.gates[p] for p in partitions)
        return self

    async def pump(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            await self.input.pump(self.worker)
            await breathe()

    async def run(self, seconds: float) -> None:
        """Time passes and records flow."""
        for _ in range(round(seconds / 0.05)):
            await self.clock.advance(0.05)
            await self.input.pump(self.worker)
            await breathe()

    async def die(self) -> None:
        """Nothing is stored, sent or said any more."""
        for task in self._tasks:
            task.cancel()
        for partition in list(self.worker.shards):
            self.worker._cancel(partition)
        await breathe()

    def fill(self, account: str, partition: int = 0, value: bytes = b"{}") -> int:
        return self.broker.append("fills", partition, value, account.encode())

    def price(self, offset: int = 0) -> Record:
        return Record(
            topic="prices", partition=0, offset=offset, timestamp_ms=self.clock.now_ms(), key=b"BTC-PERP", value=b"{}"
        )
