"""The order protocol: two workers that may both think they own a shard, an orders log, an engine with the order gate.

One bucket of two units is liquidatable until one unit was closed, so whatever closes two has closed too much. In the log stand
claims and orders; a record that was sent may land, land late after its sender was told "unknown" or is dead (a ghost), or never.
The venue answers each order that counts with an event: filled, or ended unfilled. A worker's memory is the fold of what it read:
`log[:read]` and `events[:heard]`, and of one order that it sent and did not read back. Reading jumps to the end: to have read less
is to have read earlier. Redis holds such a pair of offsets, and may fall back to an earlier one.

`RULES` are what the code does (`rules.py` says where); a model without some of them is the protocol with those taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

RULES: Final = frozenset({
    "claim", "ids", "seen", "final", "bound", "log", "confirm", "wait", "reclaim", "forget", "readback", "resend",
})  # fmt: skip
UNITS, NEEDED = 2, 1
USER = 99  # the event of the client closing the position himself
CLAIM = 1000  # + 10 * worker + number: a claim in the log; below it 100 * id + epoch: an order
ANYBODY = CLAIM + 90  # a claim that nobody waits for any more
NONE = -1


class Bounds(NamedTuple):
    """How often each thing may happen."""

    workers: int = 2
    claims: int = 2  # of one worker
    crashes: int = 1
    rollbacks: int = 1
    errors: int = 1  # of sends: the fate is unknown to the sender
    resends: int = 1
    unfilled: int = 1
    stores: int = 1
    closes: int = 0  # by the client
    ids: int = 3


class Image(NamedTuple):
    """What Redis holds of the shard."""

    epoch: int = NONE
    read: int = 0
    heard: int = 0
    skipped: tuple[int, int] = (0, 0)
    phantom: int = 0  # an order stored as issued though it was not read back


class Worker(NamedTuple):
    """`skipped` are offsets of the log that it never read; `awaits` is the number of its claim that it has not read back."""

    up: int = 0
    read: int = 0
    heard: int = 0
    target: int = 0  # of `heard`: the end of the events when it read its claim
    awaits: int = NONE
    epoch: int = NONE
    pending: int = 0  # id of the order that was sent and not read back
    claims: int = 0
    skipped: tuple[int, int] = (0, 0)
    phantom: int = 0


class Sent(NamedTuple):
    """A record on its way. `live`: its sender still waits for the acknowledgement."""

    value: int
    live: int
    worker: int


class Left(NamedTuple):
    """What may still happen."""

    crashes: int
    rollbacks: int
    errors: int
    resends: int
    unfilled: int
    stores: int
    closes: int


class World(NamedTuple):
    log: tuple[int, ...]
    events: tuple[int, ...]
    gate: int  # how far the venue has read the log
    workers: tuple[Worker, ...]
    flight: tuple[Sent, ...]
    stored: Image
    older: Image
    left: Left
    made: int  # ids given out, where they are random


@cache
def epochs(log: tuple[int, ...]) -> tuple[int, ...]:
    """For each length of the log the offset of the latest claim in that much of it."""
    found = [NONE]
    for offset, value in enumerate(log):
        found.append(offset if value >= CLAIM else found[-1])
    return tuple(found)


@cache
def issued(log: tuple[int, ...], read: int, skipped: tuple[int, int]) -> int:
    """Ids (as bits) of the orders that count, of those that were read."""
    latest, mask = epochs(log), 0
    for offset in range(read):
        value = log[offset]
        if value < CLAIM and value % 100 == latest[offset] and not skipped[0] <= offset < skipped[1]:
            mask |= 1 << value // 100
    return mask


@cache
def told(events: tuple[int, ...]) -> tuple[int, int, int]:
    """Ids (as bits) that are answered, ids that executed, and what is left of the position."""
    answered = executed = 0
    left = UNITS
    for event in events:
        if event == USER:
            left = 0
            continue
        answered |= 1 << (event >> 1)
        if event & 1:
            executed |= 1 << (event >> 1)
            left -= 1
    return answered, executed, left


def order(ident: int, epoch: int) -> int:
    return 100 * ident + epoch


class OrderProtocol:
    """The model. `rules` are those in force."""

    def __init__(
        self, rules: frozenset[str] = RULES, bounds: Bounds | None = None, *, symmetric: bool = False
    ) -> None:  # fmt: skip
        self.rules = rules
        self.symmetric = symmetric  # take worlds for one that differ in the workers' names alone
        self.bounds = bounds if bounds is not None else Bounds()
        self._healing = Healing(self)

    def initial(self) -> World:
        b = self.bounds
        left = Left(b.crashes, b.rollbacks, b.errors, b.resends, b.unfilled, b.stores, b.closes)
        return World((), (), 0, (Worker(),) * b.workers, (), Image(), Image(), left, 0)

    def violation(self, world: World) -> str | None:
        fills = [event >> 1 for event in world.events if event != USER and event & 1]
        if len(fills) != len(set(fills)):
            return "an order id executed twice"
        if told(world.events)[2] < 0:
            return "more than the position was closed"
        if len(fills) > NEEDED:
            return "liquidated twice: more was closed than had to be"
        return None if self._healing.ends_well(world) else "stuck: the bucket stays under water whatever happens next"

    def successors(self, world: World) -> Iterator[tuple[tuple[str, ...], World]]:
        for label, successor in self._successors(world):
            yield label, self._plain(successor)

    def _plain(self, world: World) -> World:
        """Without differences that make none: worlds that behave alike from here on are one."""
        left, workers = world.left, world.workers
        log = tuple(v if v < ANYBODY and (v < CLAIM or _is_awaited(v, workers)) else ANYBODY for v in world.log)
        most = self.bounds.claims
        workers = tuple(
            Worker(up=1, claims=most) if w.up and w.epoch == w.awaits == NONE and w.claims == most else w
            for w in workers
        )
        flight = world.flight
        if flight:
            flight = _sorted(
                Sent(s.value, s.live if left.errors and workers[s.worker].claims < most else 0, s.worker)
                for s in flight
            )
        older = world.older if left.rollbacks else world.stored
        if self.symmetric and workers[1:] and workers[1] < workers[0]:
            workers = (workers[1], workers[0])
            log, flight = tuple(map(_renamed, log)), _sorted(Sent(_renamed(v), live, 1 - w) for v, live, w in flight)
        return World(log, world.events, world.gate, workers, flight, world.stored, older, left, world.made)

    def _successors(self, world: World) -> Iterator[tuple[tuple[str, ...], World]]:
        yield from self._venue(world)
        for number, sent in enumerate(world.flight):
            yield from self._network(world, number, sent)
        for number, worker in enumerate(world.workers):
            if worker.up:
                yield from self._works(world, number, worker)
            elif worker.claims < self.bounds.claims and (not number or world.workers[number - 1].claims):
                yield ("worker", _name(number), "loads the checkpoint and sends a claim"), self.start(world, number)
        left = world.left
        if left.rollbacks and world.stored != world.older:
            fewer = left._replace(rollbacks=left.rollbacks - 1)
            yield ("Redis falls back to an earlier state",), world._replace(stored=world.older, left=fewer)
        if left.closes and USER not in world.events:
            fewer = left._replace(closes=left.closes - 1)
            yield ("the client closes the position",), world._replace(events=(*world.events, USER), left=fewer)

    # -- the venue --------------------------------------------------------------------------------------------------

    def _venue(self, world: World) -> Iterator[tuple[tuple[str, ...], World]]:
        if world.gate >= len(world.log):
            return
        ahead, ident = world._replace(gate=world.gate + 1), world.log[world.gate] // 100
        record = _record(world.log[world.gate])
        if told(world.events)[2] <= 0 and "bound" in self.rules:
            yield ("the venue rejects", record + ": no position"), self.passed(_with_event(ahead, 2 * ident))
            return
        yield ("the venue executes", record), self.passed(_with_event(ahead, 2 * ident + 1))
        if world.left.unfilled:
            ahead = ahead._replace(left=world.left._replace(unfilled=world.left.unfilled - 1))
            yield ("the venue ends", record, "unfilled"), self.passed(_with_event(ahead, 2 * ident))

    def passed(self, world: World) -> World:
        """The venue passes what it will never execute: when it does so makes no difference."""
        gate = world.gate
        while gate < len(world.log) and self.refuses(world, gate):
            gate += 1
        return world if gate == world.gate else world._replace(gate=gate)

    def refuses(self, world: World, gate: int) -> bool:
        """Whether the record of the log is not executed: a claim, void, or answered before."""
        value = world.log[gate]
        if value >= CLAIM or ("claim" in self.rules and value % 100 != epochs(world.log)[gate]):
            return True
        answered, executed, _ = told(world.events)
        if "seen" in self.rules and executed >> (value // 100) & 1:
            return True
        return "final" in self.rules and bool((answered & ~executed) >> (value // 100) & 1)

    # -- the network ------------------------------------------------------------------------------------------------

    def _network(self, world: World, number: int, sent: Sent) -> Iterator[tuple[tuple[str, ...], World]]:
        if number and world.flight[number - 1] == sent:
            return  # the same record once more makes no difference
        rest = world.flight[:number] + world.flight[number + 1 :]
        landed = self.landed(world, sent, rest)
        yield (_record(sent.value), "lands at offset", str(len(world.log))), landed
        worker = world.workers[sent.worker]
        if sent.live and world.left.errors and worker.claims < self.bounds.claims:
            ghost = _sorted((*rest, Sent(sent.value, 0, sent.worker)))
            fewer = world.left._replace(errors=world.left.errors - 1)
            lost = self.lost(world._replace(flight=ghost, left=fewer), sent.worker)
            yield (
                ("worker", _name(sent.worker), "is told that the fate of its", _record(sent.value), "is unknown"),
                lost,
            )

    def landed(self, world: World, sent: Sent, rest: tuple[Sent, ...]) -> World:
        """Appended. What is void there moves nobody who keeps to the claims: it is left out."""
        if "claim" in self.rules:
            if sent.value >= CLAIM:
                rest = tuple(each for each in rest if each.live or each.value >= CLAIM)
            elif sent.value % 100 != epochs(world.log)[-1]:
                return world._replace(flight=rest)
        return self.passed(world._replace(log=(*world.log, sent.value), flight=rest))

    def lost(self, world: World, number: int) -> World:
        """A send failed: claim again, which makes it read or void. Without that rule: take it for not sent."""
        worker = world.workers[number]
        if "reclaim" in self.rules:
            return self.claim(world, number, worker)
        return _with_worker(world, number, worker._replace(pending=0))

    # -- the workers ------------------------------------------------------------------------------------------------

    def start(self, world: World, number: int) -> World:
        stored, claims = world.stored, world.workers[number].claims
        loaded = Worker(1, stored.read, stored.heard, 0, NONE, NONE, 0, claims, stored.skipped, stored.phantom)
        return self.claim(world, number, loaded)

    def claim(self, world: World, number: int, worker: Worker) -> World:  # one of the worker's steps
        sent = Sent(CLAIM + 10 * number + worker.claims, 1, number)
        waiting = worker._replace(awaits=worker.claims, claims=worker.claims + 1)
        return _with_worker(world._replace(flight=_sorted((*world.flight, sent))), number, waiting)

    def _works(self, world: World, number: int, worker: Worker) -> Iterator[tuple[tuple[str, ...], World]]:
        name = ("worker", _name(number))
        own = CLAIM + 10 * number + worker.awaits
        if worker.awaits == NONE:
            if worker.heard < len(world.events) and worker.epoch >= 0:
                yield (*name, "reads the order events"), self.hear(world, number)
            if worker.epoch == NONE and worker.claims < self.bounds.claims:
                yield (
                    (*name, "hears nothing of its rival for long, and claims again"),
                    self.claim(world, number, worker),
                )
        if worker.read < len(world.log) and (own in world.log if worker.awaits != NONE else worker.epoch >= 0):
            yield (*name, "reads the orders log"), self.read(world, number)
        if world.left.crashes and worker.claims < self.bounds.claims:  # else it cannot come back: as if it stood still
            yield (*name, "dies"), self._crash(world, number)
        if world.left.stores and worker.epoch >= max(0, world.stored.epoch):
            image = Image(worker.epoch, worker.read, worker.heard, worker.skipped, self._stored_as_issued(worker))
            if image != world.stored:
                fewer = world.left._replace(stores=world.left.stores - 1)
                yield (*name, "stores"), world._replace(stored=image, older=world.stored, left=fewer)
        if self.is_ready(world, worker):
            ident = self.decision(world, worker)
            if 0 < ident <= self.bounds.ids:
                yield (*name, "sends order", str(ident), "of epoch", str(worker.epoch)), self.send(world, number, ident)
            if world.left.resends and (ident := self.unanswered(world, worker)):
                fewer = world.left._replace(resends=world.left.resends - 1)
                again = world._replace(
                    flight=_sorted((*world.flight, Sent(order(ident, worker.epoch), 1, number))), left=fewer
                )
                yield (*name, "has no answer and sends order", str(ident), "again"), again

    def _stored_as_issued(self, worker: Worker) -> int:
        return worker.phantom if "readback" in self.rules else worker.pending or worker.phantom

    def _crash(self, world: World, number: int) -> World:  # one of the worker's steps
        ghosts = _sorted(s if s.worker != number else Sent(s.value, 0, number) for s in world.flight)
        fewer = world.left._replace(crashes=world.left.crashes - 1)
        down = Worker(claims=world.workers[number].claims)
        return _with_worker(world._replace(flight=ghosts, left=fewer), number, down)

    def hear(self, world: World, number: int) -> World:  # one of the worker's steps
        return _with_worker(world, number, world.workers[number]._replace(heard=len(world.events)))

    def read(self, world: World, number: int) -> World:
        """Everything up to the end, one record after the other."""
        worker, world_now = world.workers[number], world
        for offset in range(worker.read, len(world.log)):
            value = world.log[offset]
            if value >= CLAIM:
                worker = self._read_claim(world, number, worker, offset)
            elif value // 100 == worker.pending and value % 100 == epochs(world.log)[offset]:
                worker = worker._replace(pending=0)  # issued: from now on the log says so
        if worker.awaits == NONE and worker.epoch >= 0 and epochs(world.log)[len(world.log)] != worker.epoch:
            worker = worker._replace(epoch=NONE, pending=0)  # somebody else's claim: fenced
        world_now = _with_worker(world_now, number, worker._replace(read=len(world.log)))
        return world_now

    def _read_claim(self, world: World, number: int, worker: Worker, offset: int) -> Worker:
        if worker.awaits == NONE or world.log[offset] != CLAIM + 10 * number + worker.awaits:
            return worker
        if "forget" in self.rules:
            worker = worker._replace(pending=0)
        if "log" not in self.rules and worker.epoch == NONE:
            worker = worker._replace(skipped=(worker.read, offset))
        return worker._replace(awaits=NONE, epoch=offset, target=len(world.events))

    def is_ready(self, world: World, worker: Worker) -> bool:
        """Claimed, and everything read that was there at the claim."""
        latest = epochs(world.log)[worker.read]
        return worker.awaits == NONE and worker.epoch >= 0 and latest == worker.epoch and worker.heard >= worker.target

    def decision(self, world: World, worker: Worker) -> int:
        """The id of the order that the worker sends now, from the level; 0 for none."""
        answered, executed, position = told(world.events[: worker.heard])
        if executed or position <= 0:
            return 0
        known = issued(world.log, worker.read, worker.skipped) | 1 << worker.phantom
        blocks = known if "wait" in self.rules else 1 << worker.phantom
        if "confirm" in self.rules:
            blocks |= 1 << worker.pending
        if (blocks & ~answered) >> 1:
            return 0
        if "ids" not in self.rules:
            return world.made + 1
        return (known | answered | 1 << worker.pending).bit_length()

    def send(self, world: World, number: int, ident: int) -> World:
        """With random ids the order's number is how many were made."""
        worker = world.workers[number]
        flight = _sorted((*world.flight, Sent(order(ident, worker.epoch), 1, number)))
        made = world.made if "ids" in self.rules else ident
        return _with_worker(world._replace(flight=flight, made=made), number, worker._replace(pending=ident))

    def unanswered(self, world: World, worker: Worker) -> int:
        """An issued order without an answer; 0 for none."""
        if "resend" not in self.rules:
            return 0
        answered = told(world.events[: worker.heard])[0]
        waiting = (issued(world.log, worker.read, worker.skipped) | 1 << worker.phantom) & ~answered & ~1
        return waiting.bit_length() - 1 if waiting else 0


class Healing:
    """From here on nothing fails and everybody has time: does the bucket get its close?"""

    ROUNDS: Final = 12

    def __init__(self, protocol: OrderProtocol) -> None:
        self._protocol = protocol
        self._known: set[int] = set()

    def ends_well(self, world: World) -> bool:
        """Whether it does, whichever worker goes on or starts anew, and whether what is on its way lands or never does."""
        if self._is_done(world):
            return True
        running = [number for number, worker in enumerate(world.workers) if worker.up]
        return all(self._heals(world, number, lands=lands) for number in (*running, NONE) for lands in (True, False))

    def _heals(self, world: World, number: int, *, lands: bool) -> bool:
        """With the worker of that number; NONE: all are dead and one starts."""
        protocol = self._protocol
        flight, goes_on = world.flight if lands else (), world.stored if number == NONE else world.workers[number]
        key = hash((world.log, world.events, world.gate, flight, number, goes_on))
        if key in self._known:
            return True
        self._known.add(key)
        world = self._settle(world, number, lands=lands)
        if number == NONE:
            number, world = 0, protocol.start(world, 0)
        for _ in range(self.ROUNDS):
            world = world._replace(log=world.log + tuple(sent.value for sent in world.flight), flight=())
            world = self._execute(world)
            if self._is_done(world):
                return True
            world = self._act(protocol.read(protocol.hear(world, number), number), number)
        return False

    def _settle(self, world: World, number: int, *, lands: bool) -> World:
        """What was on its way landed, or is lost and its sender knows."""
        flight, world = world.flight, world._replace(flight=())
        if lands:
            return world._replace(log=world.log + tuple(sent.value for sent in flight))
        worker = world.workers[number]
        if number != NONE and (worker.pending or worker.awaits != NONE):
            return self._protocol.lost(world, number)  # told, or not read back for too long
        return world

    def _execute(self, world: World) -> World:
        while world.gate < len(world.log):
            refused, ident = self._protocol.refuses(world, world.gate), world.log[world.gate] // 100
            world = world._replace(gate=world.gate + 1)
            if not refused:
                world = _with_event(world, 2 * ident + (told(world.events)[2] > 0))
        return world

    def _act(self, world: World, number: int) -> World:
        protocol, worker = self._protocol, world.workers[number]
        if worker.awaits == NONE and not protocol.is_ready(world, worker) and worker.heard >= worker.target:
            return protocol.claim(world, number, worker)  # fenced, and the rival is silent
        if not protocol.is_ready(world, worker):
            return world
        if ident := protocol.decision(world, worker):
            return protocol.send(world, number, ident)
        if ident := protocol.unanswered(world, worker):
            return world._replace(flight=(Sent(order(ident, worker.epoch), 1, number),))
        return world

    def _is_done(self, world: World) -> bool:  # belongs to what it ends
        _, executed, position = told(world.events)
        return bool(executed) or position <= 0


def _is_awaited(value: int, workers: tuple[Worker, ...]) -> bool:
    return workers[(value - CLAIM) // 10].awaits == (value - CLAIM) % 10


def _renamed(value: int) -> int:
    """A claim of A's as one of B's, and back."""
    return value if value < CLAIM or value == ANYBODY else value + (10 if value < CLAIM + 10 else -10)


def _sorted(flight: object) -> tuple[Sent, ...]:
    return tuple(sorted(flight))  # type: ignore[call-overload]  # any iterable of Sent


def _with_event(world: World, event: int) -> World:
    return world._replace(events=(*world.events, event))


def _with_worker(world: World, number: int, worker: Worker) -> World:
    workers = world.workers
    return world._replace(workers=(*workers[:number], worker, *workers[number + 1 :]))


def _name(number: int) -> str:
    return "AB"[number]


def _record(value: int) -> str:
    if value == ANYBODY:
        return "a claim"
    if value >= CLAIM:
        return f"{_name((value - CLAIM) // 10)}'s claim {(value - CLAIM) % 10 + 1}"
    return f"order {value // 100} of epoch {value % 100}"
