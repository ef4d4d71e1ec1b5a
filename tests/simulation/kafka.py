"""Simulated Kafka: partition logs, an idempotent producer whose requests may be lost, late or unanswered, fetches, and a group."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from services.adapters.ports import Batch, Feed, Headers, LogRange, Outgoing, Sent, Unreachable
from services.contracts.records import Record
from services.contracts.topics import ACCOUNT_TOPICS
from tests.simulation.loop import Process, VirtualLoop, true_ms
from tests.simulation.network import REQUEST_TIMEOUT_S, Link

Place = tuple[str, int]
ORDERS = "liquidation-orders"
SESSION_S = 3.0
HEARTBEAT_S = 0.5
JOIN_S = 2.0
POLL_S = 0.1


class CutError(Exception):
    """What is to be read next is gone: a process ends itself, and its successor finds another place to start from."""


class Broker:
    """All logs. What was appended stays; `begin` is where retention has cut."""

    def __init__(self, loop: VirtualLoop, draw: random.Random, partitions: int) -> None:
        self.loop = loop
        self.draw = draw
        self.partitions = partitions
        self.logs: dict[Place, list[Record]] = {}
        self.headers: dict[tuple[str, int, int], Headers] = {}
        self.begin: dict[Place, int] = {}
        self._waiting: dict[Place, list[asyncio.Future[None]]] = {}
        self.on_append: list[Callable[[Record], None]] = []

    def log(self, topic: str, partition: int) -> list[Record]:
        return self.logs.setdefault((topic, partition), [])

    def end(self, topic: str, partition: int) -> int:
        return len(self.log(topic, partition))

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Headers = ()) -> int:
        log = self.log(topic, partition)
        record = Record(
            topic=topic, partition=partition, offset=len(log), timestamp_ms=true_ms(self.loop), key=key, value=value
        )
        log.append(record)
        if headers:
            self.headers[topic, partition, record.offset] = headers
        for waiter in self._waiting.pop((topic, partition), ()):
            if not waiter.done():
                waiter.set_result(None)
        for listener in self.on_append:
            listener(record)
        return record.offset

    async def beyond(self, topic: str, partition: int, offset: int) -> None:
        """Wait until the log goes on at `offset`."""
        while self.end(topic, partition) <= offset:
            waiter = self.loop.create_future()
            self._waiting.setdefault((topic, partition), []).append(waiter)
            await waiter


@dataclass(eq=False)
class Request:
    """Records of one producer for one partition, on their way together."""

    items: list[Outgoing]
    sent: Sent
    arrived: bool = False
    dropped: bool = False


class SimProducer:
    """`Producer`: in order within a partition, never twice; after the first error all that follows fails too."""

    def __init__(
        self,
        broker: Broker,
        link: Link,
        point: Callable[[str], Awaitable[None]],
        watch: Callable[[Outgoing, float], None],
    ) -> None:
        self._broker = broker
        self._link = link
        self._point = point
        self._watch = watch
        self._arrival: dict[Place, float] = {}
        self._requests: list[Request] = []
        self._broken = False
        self._counter = broker.draw.randrange(1000)

    async def start(self) -> None:
        await self._link.request(lambda: None, "start producer")

    async def send(self, outgoing: Sequence[Outgoing]) -> Sequence[Sent]:
        kind, entered = self._kind(outgoing), self._broker.loop.time()
        await self._point(f"{kind}:before")
        groups: dict[Place, tuple[list[Outgoing], list[int]]] = {}
        for number, item in enumerate(outgoing):
            self._watch(item, entered)
            partition = item.partition
            if partition is None:
                self._counter += 1
                partition = self._counter % self._broker.partitions
            items, which = groups.setdefault((item.topic, partition), ([], []))
            items.append(item)
            which.append(number)
        requests = [
            (place, Request(items, Sent(which, self._broker.loop.create_future())))
            for place, (items, which) in groups.items()
        ]
        for place, request in requests:
            self._launch(place, request)
        await self._point(f"{kind}:after")
        return [request.sent for _, request in requests]

    @staticmethod
    def _kind(outgoing: Sequence[Outgoing]) -> str:
        values = [item.value for item in outgoing if item.topic == ORDERS]
        if any(b'"type":"order"' in value for value in values):
            return "send_order"
        return "send_claim" if values else "send_other"

    def _launch(self, place: Place, request: Request) -> None:
        loop, draw, link = self._broker.loop, self._broker.draw, self._link
        self._requests = [each for each in self._requests if not each.arrived]
        self._requests.append(request)
        fate = link.fate()
        if self._broken or fate == "lost" or not link.up:
            # Retries of the client end at its time-out; what comes after in this partition cannot be appended before.
            self._broken = True
            request.dropped = True
            loop.later(REQUEST_TIMEOUT_S, self._fail, request)
            return
        when = max(self._arrival.get(place, 0.0), loop.time() + link.latency())
        if fate == "late":
            self._broken = True
            when += draw.uniform(0, 4 * REQUEST_TIMEOUT_S)
            loop.later(REQUEST_TIMEOUT_S, self._fail, request)
        elif fate == "unanswered":
            self._broken = True
            loop.later(REQUEST_TIMEOUT_S, self._fail, request)
        self._arrival[place] = when
        loop.later(when - loop.time(), self._arrive, place, request, fate)

    def _arrive(self, place: Place, request: Request, fate: str) -> None:
        if request.dropped:
            return
        request.arrived = True
        offsets = [self._broker.append(*place, item.key, item.value, item.headers) for item in request.items]
        if fate == "ok":
            self._broker.loop.later(self._link.latency(), self._answer, request, offsets[0])

    @staticmethod
    def _answer(request: Request, first: int) -> None:
        if not request.sent.first.done():
            request.sent.first.set_result(first)

    def _fail(self, request: Request) -> None:
        self._broken = True
        if not request.sent.first.done():
            request.sent.first.set_exception(Unreachable("no acknowledgement"))
            request.sent.first.exception()  # retrieved: a dead process asks for it no more

    async def close(self) -> None:
        await self._point("close")

    async def abandon(self) -> None:
        """What is on the network may still arrive; what was in the client's memory does not."""
        self._broken = True
        drop = False
        for request in self._requests:
            drop = drop or self._broker.draw.random() < 0.5
            if not request.arrived and drop:
                request.dropped = True


class SimInput:
    """`AccountInput`: fetches of each topic run by themselves; stale and torn deliveries happen."""

    def __init__(self, broker: Broker, link: Link, process: Process, point: Callable[[str], Awaitable[None]]) -> None:
        self._broker = broker
        self._link = link
        self._process = process
        self._point = point
        self.deliver: Callable[[Batch], Awaitable[None]]
        self.fail: Callable[[BaseException], None]
        self.rounds: dict[int, int] = {}
        self.assigned: frozenset[int] = frozenset()
        self.feeds: dict[Place, Feed] = {}
        self.on_commit: Callable[[int, Mapping[str, int]], None] = lambda *_: None
        self.tails_asked: dict[
            int, tuple[float, int]
        ] = {}  # partition -> when the orders' end was asked for, and the end
        self._tasks: set[asyncio.Task[None]] = set()

    def reset(self, partitions: frozenset[int]) -> None:
        """After a rebalance nothing is delivered until the owner seeks."""
        for partition in range(self._broker.partitions):
            self.rounds[partition] = self.rounds.get(partition, 0) + 1
        self.assigned = partitions
        self.feeds.clear()

    async def poll(self) -> None:
        """The broker's word on what is assigned, as long as the link holds."""
        while True:
            await asyncio.sleep(POLL_S * self._broker.draw.uniform(0.5, 1.2))
            if self._link.up:
                now = true_ms(self._broker.loop) + self._process.wall_step_ms
                for partition in self.assigned:
                    for topic in ACCOUNT_TOPICS:
                        self.feeds[topic, partition] = Feed(self._broker.end(topic, partition), now)

    async def ranges(self, partition: int) -> Mapping[str, LogRange]:
        await self._point("ranges:before")
        asked = self._broker.loop.time()
        found = await self._link.request(lambda: self._ranges_now(partition), "ends")
        self.tails_asked[partition] = (asked, found[ORDERS].end)
        await self._point("ranges:after")
        return found

    def _ranges_now(self, partition: int) -> dict[str, LogRange]:
        return {
            topic: LogRange(self._broker.begin.get((topic, partition), 0), self._broker.end(topic, partition))
            for topic in ACCOUNT_TOPICS
        }

    async def seek(self, partition: int, offsets: Mapping[str, int]) -> None:
        await self._point("seek:before")
        await asyncio.sleep(self._link.latency() / 10)
        if partition not in self.assigned:
            raise Unreachable(f"partition {partition} is not assigned any more")
        self.rounds[partition] += 1
        for topic, offset in offsets.items():
            task = asyncio.ensure_future(self._fetch(topic, partition, offset, self.rounds[partition]))
            self._tasks.add(task)
        await self._point("seek:after")

    def feed(self, topic: str, partition: int) -> Feed | None:
        return self.feeds.get((topic, partition))

    async def commit(self, partition: int, offsets: Mapping[str, int]) -> None:
        await asyncio.sleep(self._link.latency())
        self.on_commit(partition, offsets)

    async def _fetch(self, topic: str, partition: int, position: int, round_: int) -> None:
        draw, broker = self._broker.draw, self._broker
        while True:
            await broker.beyond(topic, partition, position)
            await self._link.fetch(topic)
            stale = self.rounds[partition] != round_
            if stale and (draw.random() < 0.7 or partition not in self.assigned):
                return
            if position < broker.begin.get((topic, partition), 0):
                self.fail(CutError(f"{topic}[{partition}] was cut above {position}"))
                return
            log = broker.log(topic, partition)
            start, end = position, min(len(log), position + draw.choice((1, 2, 5, 100, 100, 100)))
            self.feeds[topic, partition] = Feed(len(log), true_ms(broker.loop) + self._process.wall_step_ms)
            position = end
            if self._link.drops():
                continue  # a batch lost between the client and the worker: it must see the hole
            await self._point(f"polled:{topic}")
            await self.deliver(Batch(topic, partition, start, end, log[start:end]))
            await self._point(f"folded:{topic}")
            if stale:
                return


class SimSnapshots:
    """`SnapshotLog`: appends that may end anywhere, and a read of what compaction has left."""

    def __init__(self, broker: Broker, link: Link, point: Callable[[str], Awaitable[None]]) -> None:
        self._broker = broker
        self._link = link
        self._point = point

    async def read(self, partition: int) -> list[Record]:
        await self._point("read_snapshots:before")
        log = self._broker.log("snapshots", partition)
        found = await self._link.request(lambda: list({record.key: record for record in log}.values()), "snapshots")
        return sorted(found, key=lambda record: record.offset)

    async def write(self, partition: int, records: Iterable[tuple[bytes, bytes]]) -> None:
        await self._point("write_snapshot:before")
        for key, value in records:
            append = partial(self._broker.append, "snapshots", partition, key, value)
            await self._link.request(append, "snapshots")
            await self._point("write_snapshot:between")


@dataclass(eq=False)
class Member:
    """One member as the coordinator sees it."""

    name: str
    deadline: float
    joined: asyncio.Future[frozenset[int]] | None = None


@dataclass
class Group:
    """The consumer group's coordinator: eager rebalances, sessions, evictions."""

    broker: Broker
    members: dict[str, Member] = field(default_factory=dict)
    rebalancing: bool = False
    rebalances: int = 0

    def watch(self) -> None:
        """Evict who is silent; runs for ever, outside of all processes."""
        now = self.broker.loop.time()
        for name, member in list(self.members.items()):
            if member.deadline < now and member.joined is None:
                del self.members[name]
                self.rebalance()
        self.broker.loop.later(0.25, self.watch)

    def heartbeat(self, name: str) -> bool:
        """Whether the member may go on as it is."""
        member = self.members.get(name)
        if member is None:
            return False
        member.deadline = self.broker.loop.time() + SESSION_S
        return not self.rebalancing

    def rebalance(self) -> None:
        if not self.rebalancing:
            self.rebalancing = True
            self.rebalances += 1
            self.broker.loop.later(JOIN_S, self._finish, self.rebalances)

    def join(self, name: str) -> asyncio.Future[frozenset[int]]:
        """Answered with the partitions once everybody has joined or the time for it is over."""
        member = self.members.setdefault(name, Member(name, 0.0))
        member.deadline = self.broker.loop.time() + SESSION_S + JOIN_S
        member.joined = self.broker.loop.create_future()
        self.rebalance()
        if all(each.joined is not None for each in self.members.values()):
            self.broker.loop.later(0.05, self._finish, self.rebalances)
        return member.joined

    def leave(self, name: str) -> None:
        if self.members.pop(name, None) is not None:
            self.rebalance()

    def _finish(self, generation: int) -> None:
        if not self.rebalancing or generation != self.rebalances:
            return
        self.rebalancing = False
        self.members = {name: member for name, member in self.members.items() if member.joined is not None}
        names = sorted(self.members)
        self.broker.draw.shuffle(names)
        for index, name in enumerate(names):
            member = self.members[name]
            mine = frozenset(p for p in range(self.broker.partitions) if p % len(names) == index)
            joined, member.joined = member.joined, None
            member.deadline = self.broker.loop.time() + SESSION_S
            if joined is not None and not joined.done():
                joined.set_result(mine)
