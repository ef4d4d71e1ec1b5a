"""The gauges of a worker, computed when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from services.adapters.broadcast import BroadcastReader
from services.adapters.metrics import Reading
from services.adapters.ports import Clock
from services.contracts.decimals import ONE
from services.engine.engine import Engine
from services.liquidator.worker import Worker

PLACE: Final = ("topic", "partition")
PARTITION: Final = ("partition",)


def readings(worker: Worker, engine: Engine, broadcast: BroadcastReader, clock: Clock) -> Iterable[Reading]:
    """All of them."""
    yield from _of_topics(worker, engine, broadcast, clock.now_ms())
    yield from _of_shards(worker, engine, clock.monotonic())
    yield from _of_engine(engine)


def _of_topics(worker: Worker, engine: Engine, broadcast: BroadcastReader, now_ms: int) -> Iterable[Reading]:
    lags = {(topic, str(partition)): lag for (topic, partition), lag in worker.lags.items()}
    yield Reading(
        "lag_records", "Account records not folded yet", PLACE, {key: lag.records for key, lag in lags.items()}
    )
    yield Reading(
        "lag_seconds", "How long the oldest unread account record waits, or the broker is silent", PLACE,
        {key: lag.ms / 1000 for key, lag in lags.items()},
    )  # fmt: skip
    yield Reading(
        "broadcast_lag_records", "Broadcast records not folded yet", ("topic",),
        {(topic,): count for topic, count in broadcast.lag().items()},
    )  # fmt: skip
    yield Reading(
        "price_age_seconds", "Age of each mark by its source's time", ("instrument",),
        {(name,): (now_ms - ts_ms) / 1000 for name, ts_ms in engine.price_times().items()},
    )  # fmt: skip


def _of_shards(worker: Worker, engine: Engine, now: float) -> Iterable[Reading]:
    shards = {(str(partition),): shard for partition, shard in worker.shards.items()}
    yield Reading(
        "dirty_rows", "Rows changed and not stored", PARTITION,
        {key: engine.dirty_count(shard.partition) + (len(shard.pending.rows) if shard.pending else 0) for key, shard in shards.items()},
    )  # fmt: skip
    yield Reading(
        "flush_lag_seconds", "Time since the shard was last stored, while it has news", PARTITION,
        {key: now - shard.stored_at if shard.loaded and shard.has_news else 0.0 for key, shard in shards.items()},
    )  # fmt: skip
    yield Reading(
        "orders_outstanding", "Orders sent and not read back", PARTITION,
        {key: len(shard.outstanding) for key, shard in shards.items()},
    )  # fmt: skip
    yield Reading(
        "claim_epoch", "Our epoch", PARTITION,
        {key: shard.fence for key, shard in shards.items() if shard.fence is not None},
    )  # fmt: skip


def _of_engine(engine: Engine) -> Iterable[Reading]:
    census, stats = engine.census, engine.stats
    yield Reading("buckets", "Buckets by status", ("status",), {(status,): count for status, count in census.statuses.items()})
    yield Reading("negative_buckets", "Buckets whose equity is below zero now", (), {(): len(census.negative)})
    yield Reading("duplicate_records", "Records skipped as seen before", (), {(): stats.duplicates})
    yield Reading("skipped_prices", "Prices older than the one in use", (), {(): stats.skipped_prices})
    yield Reading(
        "newly_liquidatable_notional", "Notional that steps of the multiplier made liquidatable, in the settlement asset",
        ("instrument",), {(name,): notional / ONE for name, notional in stats.newly_liquidatable.items()},
    )  # fmt: skip
    yield Reading("void_orders", "Orders read back that do not count", (), {(): stats.void_orders})
