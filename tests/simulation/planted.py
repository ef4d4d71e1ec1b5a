"""Planted bugs: each takes one rule of the protocol away. The simulation is worth what it finds of these."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from unittest.mock import patch

from services.adapters.ports import Flushed, RolledBack, Snapshot, Unreachable
from services.engine import order_writing
from services.engine.engine import Engine
from services.engine.orders import open_order_of
from services.engine.pieces import Piece, Pieces
from services.liquidator.outbox import Kind, Outbox
from services.liquidator.ownership import Ownership
from services.liquidator.shard import ORDERS, Shard
from services.liquidator.storage import Storage
from services.liquidator.worker import Worker
from tests.simulation.redis import RedisServer

Patch = Any  # what `unittest.mock.patch` answers


def _nothing(*_: Any, **__: Any) -> None: ...


def _no_work(*_: Any) -> Pieces:
    return Piece([])
    yield  # what does nothing stops nowhere


def _yes(_: Any) -> bool:
    return True


def _orders_are_issued_when_decided() -> list[Patch]:
    def issued(message: Any) -> Any:
        order = open_order_of(message)
        order.confirmed = True
        return order

    return [patch.object(order_writing, "open_order_of", issued)]


def _ids_are_random() -> list[Patch]:
    numbers = count()
    return [patch.object(order_writing, "id_of_order", lambda *_: f"{next(numbers):032x}")]


def _epochs_are_not_compared() -> list[Patch]:
    fold = Engine._fold_liquidation_record

    def any_epoch(self: Engine, message: Any, record: Any) -> Any:
        if hasattr(message, "epoch"):
            kept = self._context.epochs.get(record.partition)
            self._context.epochs[record.partition] = message.epoch
            try:
                return fold(self, message, record)
            finally:
                if kept is not None:
                    self._context.epochs[record.partition] = kept
        return fold(self, message, record)

    return [patch.object(Engine, "_fold_liquidation_record", any_epoch)]


def _memory_is_kept_after_a_rollback() -> list[Patch]:
    store = Storage._store_pending

    async def go_on(self: Storage, shard: Shard, pending: Snapshot) -> None:
        result = await self._table.flush(shard.partition, shard.fence or 0, shard.durable, pending)
        if isinstance(result, RolledBack):
            shard.durable = result.stored or None
        elif isinstance(result, Flushed):
            shard.durable, shard.pending = pending.offsets, None
        else:
            await store(self, shard, pending)

    return [patch.object(Storage, "_store_pending", go_on)]


def _a_failed_store_is_forgotten() -> list[Patch]:
    store = Storage._store_pending

    async def forgetful(self: Storage, shard: Shard, pending: Snapshot) -> None:
        try:
            await store(self, shard, pending)
        except Unreachable:
            shard.pending = None
            raise

    return [patch.object(Storage, "_store_pending", forgetful)]


def _offsets_are_taken_after_the_rows() -> list[Patch]:
    """Offsets of the moment of the store, rows of the moment before it."""
    store = Storage._store_pending

    async def torn(self: Storage, shard: Shard, pending: Snapshot) -> None:
        shard.pending = Snapshot(pending.rows, dict(shard.next), pending.claim)
        await store(self, shard, shard.pending)

    return [patch.object(Storage, "_store_pending", torn)]


def _group_offsets_run_ahead() -> list[Patch]:
    async def ahead(self: Storage, shard: Shard) -> None:
        await self._input.commit(shard.partition, dict(shard.next))

    return [patch.object(Storage, "_show_progress", ahead)]


def _records_are_sent_once() -> list[Patch]:
    """Not only orders and claims: after an error nothing is sent again."""
    replace = Outbox._replace_producer

    async def once(self: Outbox) -> None:
        self._in_flight = {n: item for n, item in self._in_flight.items() if item.kind is not Kind.OTHER}
        await replace(self)

    return [patch.object(Outbox, "_replace_producer", once)]


def _holes_are_passed_over() -> list[Patch]:
    fold = Worker.fold

    async def passing(self: Worker, batch: Any) -> None:
        shard = self.shards.get(batch.partition)
        if shard is not None and shard.loaded and batch.start > shard.next[batch.topic]:
            shard.next[batch.topic] = batch.start
        await fold(self, batch)

    return [patch.object(Worker, "fold", passing)]


def _a_rival_claim_is_ignored() -> list[Patch]:
    async def fold(self: Ownership, shard: Shard, record: Any, claim: Any) -> None:
        await self._engine.apply_one(record)
        shard.next[ORDERS] = record.offset + 1
        if claim.nonce == shard.awaited:
            shard.claim = record.offset
            self._own_claim_read(shard, record.offset)

    return [patch.object(Ownership, "fold_claim", fold)]


def _owning_from_the_acknowledgement() -> list[Patch]:
    """The claim is taken for read as soon as the broker has it."""
    acked = Ownership.claim_acked

    def at_once(self: Ownership, shard: Shard, nonce: str, offset: int) -> None:
        acked(self, shard, nonce, offset)
        if nonce == shard.awaited:
            shard.claim = offset
            self._own_claim_read(shard, offset)
            self.progressed(shard)

    return [patch.object(Ownership, "claim_acked", at_once)]


async def _at_once(*_: Any) -> None:
    await asyncio.sleep(0)


@dataclass(frozen=True)
class Planted:
    """A bug, and the faults among which it is looked for (None: all): a narrow search finds it in fewer histories."""

    plant: Callable[[], Sequence[Patch]]
    among: frozenset[str] | None = None


def _bug(plant: Callable[[], Sequence[Patch]], *among: str) -> Planted:
    return Planted(plant, frozenset(among) or None)


PLANTED: Final[dict[str, Planted]] = {
    "stored without comparing the offsets before": _bug(
        lambda: [patch.object(RedisServer, "checks_offsets", new=False)]
    ),
    "orders count as issued when they are decided": _bug(_orders_are_issued_when_decided),
    "orders of any epoch count": _bug(_epochs_are_not_compared, "pause_point", "storm", "coordinator_cut"),
    "order ids are not deterministic": _bug(_ids_are_random),
    "decided before caught up": _bug(
        lambda: [patch.object(Shard, "caught_up", property(_yes))], "slow_topic", "crash", "rebalance"
    ),
    "no look at the clock after standing still": _bug(
        lambda: [patch.object(Worker, "_beat", _nothing)], "pause", "pause_point"
    ),
    "the memory is kept when the table lost writes": _bug(_memory_is_kept_after_a_rollback),
    "changed rows are forgotten when a store fails": _bug(
        _a_failed_store_is_forgotten, "redis_away", "redis_cut", "storm"
    ),
    "offsets and rows of different moments": _bug(_offsets_are_taken_after_the_rows),
    "group offsets ahead of the stored ones": _bug(_group_offsets_run_ahead),
    "an unknown send is ignored": _bug(lambda: [patch.object(Ownership, "lost", _nothing)], "storm", "kafka_cut"),
    "orders that were never read back are kept": _bug(
        lambda: [patch.object(Engine, "forgetting_unconfirmed", _no_work)], "storm", "kafka_cut"
    ),
    "records are sent once only": _bug(_records_are_sent_once, "storm", "broker_away"),
    "stored before what was sent is safe": _bug(
        lambda: [patch.object(Shard, "settled", _at_once)], "poison", "storm", "crash"
    ),
    "holes are passed over": _bug(_holes_are_passed_over, "storm"),
    "the claim of another is ignored": _bug(_a_rival_claim_is_ignored, "coordinator_cut", "pause"),
    "a claim counts before it was read back": _bug(_owning_from_the_acknowledgement),
    "account lag shuts no gate": _bug(
        lambda: [patch.object(Worker, "_watch_lag", _nothing)], "slow_topic", "storm", "kafka_cut"
    ),
}
