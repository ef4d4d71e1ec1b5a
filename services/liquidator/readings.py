"""The gauges of a worker, computed when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from services.adapters.broadcast import BroadcastReader
from services.adapters.metric_catalogue import GRADES, MOST_INSTRUMENTS, OWN_BOUNDS
from services.adapters.metrics import Reading
from services.adapters.ports import Clock
from services.contracts.decimals import ONE
from services.engine.census import Census
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.liquidator.outbox import Outbox
from services.liquidator.worker import Worker

WALK_SHARE: Final = 20  # what walks over many marks or buckets may cost: one part in so many of the time
UNCHECKED: Final = OWN_BOUNDS["unchecked_buckets", "reason"]
MEMORY_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
NO_LIMIT: Final = 1 << 60  # what the older file says where none is set


class Readings:
    """What `/metrics` tells beside the counters. Calling it computes everything anew, but for what takes long to walk."""

    def __init__(
        self, worker: Worker, engine: Engine, *, settings: Settings, broadcast: BroadcastReader, outbox: Outbox, clock: Clock,
        memory_limit_bytes: int | None,
    ) -> None:  # fmt: skip
        self._worker = worker
        self._engine = engine
        self._broadcast = broadcast
        self._outbox = outbox
        self._clock = clock
        self._partitions = settings.account_partitions
        self._memory_limit = memory_limit_bytes
        patience_ms = (
            settings.order_ttl_ms + 2 * settings.clock_skew_ms
        )  # then an order is past its validity by any clock
        self._walks = [
            Sparing(lambda: list(_of_harm(engine.census, clock.now_ms(), patience_ms)), clock.monotonic),
            Sparing(lambda: list(_of_marks(engine, clock.now_ms())), clock.monotonic),
        ]

    def __call__(self) -> Iterable[Reading]:
        for walk in self._walks:
            yield from walk()
        yield from self._of_topics(self._clock.now_ms())
        yield from self._of_shards(self._clock.monotonic())
        yield from _of_engine(self._engine)
        yield from self._of_worker(self._clock.now_ms(), self._clock.monotonic())

    def _of_topics(self, now_ms: int) -> Iterable[Reading]:
        lags = {(topic, str(partition)): lag for (topic, partition), lag in self._worker.lags.items()}
        yield Reading("lag_records", {key: lag.records for key, lag in lags.items()})
        yield Reading("lag_seconds", {key: lag.ms / 1000 for key, lag in lags.items()})
        behind, newest = self._broadcast.lag(), self._worker.newest_ms
        yield Reading("broadcast_lag_records", {(topic,): count for topic, count in behind.items()})
        yield Reading(
            "broadcast_lag_seconds",
            {
                (topic,): max(0, now_ms - newest[topic]) / 1000 if count and topic in newest else 0.0
                for topic, count in behind.items()
            },
        )

    def _of_shards(self, now: float) -> Iterable[Reading]:
        shards = {(str(partition),): shard for partition, shard in self._worker.shards.items()}
        yield Reading(
            "dirty_rows",
            {key: self._engine.dirty_count(shard.partition) + shard.rows_kept for key, shard in shards.items()},
        )
        yield Reading(
            "flush_lag_seconds",
            {key: now - shard.stored_at if shard.waits_for_store else 0.0 for key, shard in shards.items()},
        )
        yield Reading("orders_outstanding", {key: len(shard.outstanding) for key, shard in shards.items()})
        throttle = self._worker.brakes.throttle
        yield Reading("orders_held", {key: throttle.held(shard.partition) for key, shard in shards.items()})
        yield Reading(
            "order_queue_age_seconds", {key: throttle.oldest_s(shard.partition) for key, shard in shards.items()}
        )
        yield Reading("claim_epoch", {key: shard.fence for key, shard in shards.items() if shard.fence is not None})

    def _of_worker(self, now_ms: int, now: float) -> Iterable[Reading]:
        yield Reading("outbox_records", {(): self._outbox.queued + self._outbox.in_flight})
        yield Reading("pass_age_seconds", {(): now - self._worker.last_pass})
        silent_since = self._worker.newest_price_ms
        if silent_since is not None:
            yield Reading("price_silence_seconds", {(): max(0, now_ms - silent_since) / 1000})
        if self._partitions is not None:
            yield Reading("account_partitions", {(): self._partitions})
        if self._memory_limit is not None:
            yield Reading("memory_limit_bytes", {(): self._memory_limit})


class Sparing:
    """Remembers the last answer for so long that asking again and again costs at most one part in `WALK_SHARE` of the time."""

    def __init__(self, read: Callable[[], Sequence[Reading]], monotonic: Callable[[], float]) -> None:
        self._read = read
        self._monotonic = monotonic
        self._answer: Sequence[Reading] = ()
        self._good_until = float("-inf")

    def __call__(self) -> Sequence[Reading]:
        started = self._monotonic()
        if started >= self._good_until:
            self._answer = self._read()
            now = self._monotonic()
            self._good_until = now + (now - started) * WALK_SHARE
        return self._answer


def memory_limit_bytes(files: Iterable[Path] = MEMORY_LIMITS) -> int | None:
    """What the control group of this process allows; None where nothing is limited or nothing tells."""
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < NO_LIMIT else None
    return None


def _of_harm(census: Census, now_ms: int, patience_ms: int) -> Iterable[Reading]:
    """Gathered from the census: it names only what stands badly."""
    short: Counter[tuple[str]] = Counter()
    for asset, equity in census.negative.values():
        short[asset,] -= equity
    yield Reading("negative_buckets", {(): len(census.negative)})
    yield Reading("negative_equity", {asset: amount / ONE for asset, amount in short.items()})
    yield Reading("unordered_buckets", {(): len(census.unordered)})
    since = next(iter(census.unordered.values()), now_ms)
    yield Reading("unordered_oldest_seconds", {(): max(0, now_ms - since) / 1000})
    late = [issued_ms for issued_ms in census.unanswered.values() if now_ms - issued_ms > patience_ms]
    yield Reading("unanswered_buckets", {(): len(late)})
    oldest = min(census.unanswered.values(), default=now_ms)
    yield Reading("unanswered_oldest_seconds", {(): max(0, now_ms - oldest) / 1000})
    reasons = Counter(census.unchecked.values())
    yield Reading("unchecked_buckets", {(reason,): reasons[reason] for reason in UNCHECKED})


def _of_marks(engine: Engine, now_ms: int) -> Iterable[Reading]:
    """Of the marks that buckets depend on; another one's age harms nobody."""
    marks = engine.marks_in_use(now_ms)
    named = sorted(marks)[:MOST_INSTRUMENTS]
    yield Reading("mark_age_seconds", {(n,): (now_ms - marks[n].ts_ms) / 1000 for n in named if marks[n].ts_ms >= 0})
    yield Reading("mark_grade", {(n, marks[n].grade): 1 for n in named})
    grades = Counter(mark.grade for mark in marks.values())
    yield Reading("marks", {(grade,): grades[grade] for grade in GRADES})
    doubtful = sorted((n for n, mark in marks.items() if mark.grade != "valid"), key=lambda n: -marks[n].buckets)
    yield Reading("doubtful_mark_buckets", {(n, marks[n].grade): marks[n].buckets for n in doubtful[:MOST_INSTRUMENTS]})


def _of_engine(engine: Engine) -> Iterable[Reading]:
    stats = engine.stats
    yield Reading("buckets", {(status,): count for status, count in engine.census.statuses.items()})
    yield Reading("halts", {(scope,): count for scope, count in engine.halts().items()})
    yield Reading("duplicate_records", {(): stats.duplicates})
    yield Reading("skipped_prices", {(): stats.skipped_prices})
    yield Reading("void_orders", {(): stats.void_orders})
    yield Reading(
        "newly_liquidatable_notional",
        {(name,): notional / ONE for name, notional in stats.newly_liquidatable.items()},
    )
    coming: Counter[Sequence[str]] = Counter()
    unchecked: Counter[Sequence[str]] = Counter()
    for rise in engine.coming_rises():
        coming[rise.instrument,] += rise.notional
        unchecked[rise.instrument,] += rise.unchecked
    yield Reading("coming_liquidatable_notional", {key: notional / ONE for key, notional in coming.items()})
    yield Reading("coming_unchecked_buckets", unchecked)
