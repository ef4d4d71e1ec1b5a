"""The flush: owners that write rows behind to a table which may lose its newest writes, over a network that loses replies.

A log of records, each changing one of two rows; a row's content is how many of its records were folded. An owner loads the table,
folds on, takes snapshots of what changed and has them stored in one step: unless its epoch is older than the stored one, and only
if the stored offset is the one that it builds on. A request may be carried out late, its reply may be lost, several owners may be
alive, and the table may fall back to any earlier state. `RULES` are what the code does (`rules.py` says where).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

RULES: Final = frozenset({"epoch", "previous", "atomic", "keep", "reload"})
NONE = -1
Rows = tuple[int, int]


class Bounds(NamedTuple):
    """How much there is, and how often each thing may happen."""

    records: int = 3
    owners: int = 2
    rollbacks: int = 1
    lost: int = 1  # replies, and requests that are carried out after their sender gave up


class Table(NamedTuple):
    """One shard as it is stored."""

    epoch: int = NONE
    offset: int = 0
    rows: Rows = (0, 0)


class Snapshot(NamedTuple):
    """Changed rows (NONE: unchanged), the offset that they are the fold of, and the stored offset that it builds on."""

    rows: Rows
    offset: int
    base: int


class Owner(NamedTuple):
    epoch: int
    offset: int  # folded so far
    base: int  # what the table holds, as far as it knows
    rows: Rows
    dirty: Rows  # 1 for a row that changed since the last snapshot
    pending: Snapshot | tuple[()] = ()
    waits: int = 0  # for a reply
    fenced: int = 0


class Request(NamedTuple):
    epoch: int
    snapshot: Snapshot
    half: int = 0  # rows are written, the offset is not yet
    deaf: int = 0  # its sender has given up waiting


class World(NamedTuple):
    table: Table
    earlier: tuple[Table, ...]
    owners: tuple[Owner, ...]
    requests: tuple[Request, ...]  # on their way to the table
    replies: tuple[tuple[int, str], ...]  # on their way to an owner: its epoch, and the answer
    rollbacks: int
    lost: int


def fold(offset: int) -> Rows:
    """What the rows hold after so many records: they take turns."""
    return (offset + 1) // 2, offset // 2


class FlushProtocol:
    """The model. `rules` are those in force."""

    def __init__(self, rules: frozenset[str] = RULES, bounds: Bounds | None = None) -> None:
        self.rules = rules
        self.bounds = bounds if bounds is not None else Bounds()
        self._healed: dict[int, str | None] = {}

    def initial(self) -> World:
        return World(Table(), (), (), (), (), self.bounds.rollbacks, self.bounds.lost)

    def violation(self, world: World) -> str | None:
        table = world.table
        if table.rows != fold(table.offset):
            return (
                f"torn: the rows {table.rows} are not the fold {fold(table.offset)} of the stored offset {table.offset}"
            )
        return self._ends_badly(world)

    def successors(self, world: World) -> Iterator[tuple[tuple[str, ...], World]]:
        if len(world.owners) < self.bounds.owners:
            epoch = len(world.owners)
            yield ("owner", str(epoch), f"claims and loads offset {world.table.offset}"), self._with_new_owner(world)
        for number, owner in enumerate(world.owners):
            yield from self._works(world, number, owner)
        for number, request in enumerate(world.requests):
            yield from self._carried_out(world, number, request)
            if world.lost and not request.deaf and not request.half:
                others = world.requests[:number] + world.requests[number + 1 :]
                waiting = world._replace(
                    requests=tuple(sorted((*others, request._replace(deaf=1)))), lost=world.lost - 1
                )
                yield ("owner", str(request.epoch), "gives up waiting"), self._owner(waiting, request.epoch, waits=0)
        for number, reply in enumerate(world.replies):
            rest = world.replies[:number] + world.replies[number + 1 :]
            yield ("owner", str(reply[0]), f"reads {reply[1]}"), self._answered(world._replace(replies=rest), *reply)
            if world.lost:
                lost = self._owner(world._replace(replies=rest, lost=world.lost - 1), reply[0], waits=0)
                yield (f"the reply {reply[1]} to owner", str(reply[0]), "is lost"), lost
        if world.rollbacks:
            for before in dict.fromkeys(world.earlier):
                back = world._replace(table=before, rollbacks=world.rollbacks - 1)
                yield (f"the table falls back to offset {before.offset}",), back

    # -- owners -----------------------------------------------------------------------------------------------------

    def _with_new_owner(self, world: World) -> World:
        table = world.table
        owner = Owner(len(world.owners), table.offset, table.offset, table.rows, (0, 0))
        return world._replace(owners=(*world.owners, owner))

    def _works(self, world: World, number: int, owner: Owner) -> Iterator[tuple[tuple[str, ...], World]]:
        name = ("owner", str(number))
        if owner.offset < self.bounds.records:
            yield (*name, f"folds record {owner.offset}"), self._folded(world, number)
        if owner.waits or owner.fenced:
            return
        if owner.pending and "keep" in self.rules:
            yield (*name, "sends its snapshot again"), self._sent(world, number)
        elif any(owner.dirty):
            taken = self._taken(world, number)
            snapshot = taken.owners[number].pending
            yield (*name, f"sends a snapshot of {snapshot}"), self._sent(taken, number)

    def _folded(self, world: World, number: int) -> World:
        owner = world.owners[number]
        changed = owner.offset % 2
        rows, dirty = list(owner.rows), list(owner.dirty)
        rows[changed] += 1
        dirty[changed] = 1
        return self._owner(world, number, offset=owner.offset + 1, rows=tuple(rows), dirty=tuple(dirty))

    def _taken(self, world: World, number: int) -> World:
        owner = world.owners[number]
        rows = tuple(row if dirty else NONE for row, dirty in zip(owner.rows, owner.dirty, strict=True))
        snapshot = Snapshot((rows[0], rows[1]), owner.offset, owner.base)
        return self._owner(world, number, pending=snapshot, dirty=(0, 0))

    def _sent(self, world: World, number: int) -> World:
        owner = world.owners[number]
        assert isinstance(owner.pending, Snapshot)
        snapshot = owner.pending._replace(base=owner.base)
        requests = tuple(sorted((*world.requests, Request(owner.epoch, snapshot))))
        return self._owner(world._replace(requests=requests), number, waits=1)

    def _answered(self, world: World, number: int, answer: str) -> World:
        owner = world.owners[number]
        if not owner.waits or not isinstance(owner.pending, Snapshot):
            return world  # of an attempt that it has given up
        if answer == "FENCED":
            return self._owner(world, number, waits=0, fenced=1)
        stored = owner.pending.offset if answer == "OK" else int(answer.split()[1])
        if stored == owner.pending.offset:
            return self._owner(world, number, waits=0, pending=(), base=stored)
        if "reload" in self.rules:
            table = world.table
            fresh = Owner(number, table.offset, table.offset, table.rows, (0, 0))
            return world._replace(owners=(*world.owners[:number], fresh, *world.owners[number + 1 :]))
        return self._owner(world, number, waits=0, base=stored)

    def _owner(self, world: World, number: int, **changed: object) -> World:  # a step of the model
        owner = world.owners[number]._replace(**changed)  # type: ignore[arg-type]  # named fields, as the steps give them
        return world._replace(owners=(*world.owners[:number], owner, *world.owners[number + 1 :]))

    # -- the table --------------------------------------------------------------------------------------------------

    def _carried_out(self, world: World, number: int, request: Request) -> Iterator[tuple[tuple[str, ...], World]]:
        rest = world.requests[:number] + world.requests[number + 1 :]
        answer, table = self._flush(world.table, request)
        replies = world.replies if request.deaf else tuple(sorted((*world.replies, (request.epoch, answer))))
        after = world._replace(table=table, requests=rest, replies=replies)
        if table != world.table:
            after = after._replace(earlier=(*world.earlier, world.table) if world.rollbacks else ())
        if request.half or "atomic" in self.rules or answer != "OK":
            yield ("the table answers owner", str(request.epoch), f"{answer} to {request.snapshot}"), after
            return
        offset_later = tuple(sorted((*rest, request._replace(half=1))))
        torn = world._replace(table=table._replace(offset=world.table.offset), requests=offset_later)
        yield ("the table writes the rows of owner", str(request.epoch), "and not yet the offset"), torn

    def _flush(self, table: Table, request: Request) -> tuple[str, Table]:
        """What `ringfence_flush_v1` does."""
        snapshot = request.snapshot
        if "epoch" in self.rules and request.epoch < table.epoch:
            return "FENCED", table
        if "previous" in self.rules and snapshot.base != table.offset and not request.half:
            return f"ROLLBACK {table.offset}", table
        rows = tuple(table.rows[at] if row == NONE else row for at, row in enumerate(snapshot.rows))
        return "OK", Table(request.epoch, snapshot.offset, (rows[0], rows[1]))

    # -- liveness ---------------------------------------------------------------------------------------------------

    def _ends_badly(self, world: World) -> str | None:
        """Nothing fails from here on: the newest owner, and one that starts now, have all stored once one more record came."""
        quiet = world._replace(requests=(), replies=(), rollbacks=0)
        newest = len(world.owners) - 1
        found = self._stores_all(self._with_new_owner(quiet), newest + 1)
        if found is None and world.owners and not world.owners[newest].fenced:
            found = self._stores_all(quiet, newest)
        return found

    def _stores_all(self, world: World, number: int) -> str | None:
        owner = world.owners[number]._replace(waits=0, epoch=0)
        world = World(world.table._replace(epoch=0), (), (owner,), (), (), 0, 0)
        key = hash(world)
        if key not in self._healed:
            self._healed[key] = self._stored_by(world)
        return self._healed[key]

    def _stored_by(self, world: World) -> str | None:
        """What is wrong once the only owner has stored everything."""
        number = 0
        records = self.bounds.records + 1
        for _ in range(2 * records + 6):
            owner = world.owners[number]
            if owner.offset < records:
                world = self._folded(world, number)
            elif owner.pending or any(owner.dirty):
                world = self._sent(world if owner.pending else self._taken(world, number), number)
                answer, table = self._flush(world.table, world.requests[0])
                world = self._answered(world._replace(table=table, requests=()), number, answer)
            else:
                break
        if world.table.offset != records:
            return "stuck: an owner that is left alone never gets its rows stored"
        if world.table.rows != fold(records):
            return f"torn for good: {world.table.rows} are stored for offset {records}, not {fold(records)}"
        return None
