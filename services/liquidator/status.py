"""What a worker says of itself on `/statusz`: collected in small steps, so that asking does not delay a decision."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b
from heapq import nsmallest
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec
from msgspec import structs

from services.adapters.broadcast import BroadcastReader
from services.adapters.ports import Clock
from services.contracts.decimals import parse
from services.contracts.status import (
    BUCKETS_SHOWN,
    CALM,
    PRICES_SHOWN,
    STATUS_ORDER,
    BucketStatus,
    PriceStatus,
    ShardStatus,
    TopicLag,
    WorkerStatus,
)
from services.contracts.views import BucketView
from services.engine.engine import Engine
from services.engine.state import BucketKey
from services.liquidator.config import Config
from services.liquidator.order_watch import OrderWatch
from services.liquidator.outbox import Outbox
from services.liquidator.shard import Shard
from services.liquidator.worker import Worker

STEP: Final = 500  # buckets looked at before the loop may do something else
VALUED: Final = 60  # buckets valued for one answer, the worst statuses first
FRESH_S: Final = 1.0  # an answer serves whoever asks within that time
PACKAGES: Final = ("faust-streaming", "aiokafka")
SECTIONS: Final = ("engine", "worker")  # parameters of decisions; the others say where things are and where secrets lie
GRADES: Final = ("halted", "unconfirmed", "stale", "valid")


class StatusPage:
    """Collects `WorkerStatus`, at most once a second however many ask."""

    def __init__(
        self,
        config: Config,
        settings_id: str,
        *,
        worker: Worker,
        engine: Engine,
        broadcast: BroadcastReader,
        outbox: Outbox,
        orders: OrderWatch,
        clock: Clock,
        not_live: Callable[[], list[str]],
        not_ready: Callable[[], list[str]],
    ) -> None:
        self._worker = worker
        self._engine = engine
        self._broadcast = broadcast
        self._outbox = outbox
        self._orders = orders
        self._clock = clock
        self._not_live = not_live
        self._not_ready = not_ready
        self._unchanging = WorkerStatus(
            instance=config.worker.instance, version=installed("ringfence"), now_ms=0, started_ms=clock.now_ms(),
            shadow=config.shadow, settings_id=settings_id, parameters=parameters(config),
            build={"python": platform.python_version()} | {name: installed(name) for name in PACKAGES},
        )  # fmt: skip
        self._lock = asyncio.Lock()
        self._collected: tuple[float, WorkerStatus] | None = None

    async def answer(self, *, name_accounts: bool) -> bytes:
        """The status as JSON. Without `name_accounts` each account is told as a digest, the same each time."""
        status = await self.status()
        return msgspec.json.encode(status if name_accounts else without_accounts(status))

    async def status(self) -> WorkerStatus:
        """Not older than a second."""
        async with self._lock:
            if self._collected is None or self._clock.monotonic() - self._collected[0] > FRESH_S:
                collected = await self._collect()
                self._collected = self._clock.monotonic(), collected
            return self._collected[1]

    async def _collect(self) -> WorkerStatus:
        worst = await self._worst(await self._survey())
        counts = self._engine.census.statuses
        statuses = {status: counts[status] for status in STATUS_ORDER if counts.get(status)}
        prices, grades = self._prices()  # from here on all at one moment
        now = self._clock.monotonic()
        shards = [self._shard(shard, now) for _, shard in sorted(self._worker.shards.items())]
        return structs.replace(
            self._unchanging, now_ms=self._clock.now_ms(), not_live=self._not_live(), not_ready=self._not_ready(),
            shards=shards, broadcast_lag=dict(self._broadcast.lag()), newest_price_ms=self._worker.newest_price_ms,
            prices=prices, price_grades=grades, halts=self._engine.halts(), statuses=statuses, worst=worst,
            orders=self._orders.newest(), orders_decided=self._orders.decided_count, queued=self._outbox.queued,
            in_flight=self._outbox.in_flight,
        )  # fmt: skip

    async def _survey(self) -> list[BucketKey]:
        """The keys of the buckets to look at closely: the worst statuses first."""
        found: dict[str, list[BucketKey]] = {}
        for number, (account, bucket, status) in enumerate(self._engine.survey(), 1):
            if status not in CALM and len(kept := found.setdefault(status, [])) < VALUED:
                kept.append((account, bucket))
            if number % STEP == 0:
                await asyncio.sleep(0)
        return [key for status in STATUS_ORDER for key in found.get(status, ())][:VALUED]

    async def _worst(self, candidates: list[BucketKey]) -> list[BucketStatus]:
        views: list[BucketView] = []
        for key in candidates:
            view = self._engine.view(*key)
            if view is not None:
                views.append(view)
            await asyncio.sleep(0)
        return [
            BucketStatus(
                account=view.account, bucket=view.bucket, status=view.status, valuation_asset=view.valuation_asset,
                equity=view.equity, maintenance_margin=view.maintenance_margin,
                maintenance_excess=view.maintenance_excess,
            )
            for view in nsmallest(BUCKETS_SHOWN, views, key=_health)
        ]  # fmt: skip

    def _prices(self) -> tuple[list[PriceStatus], dict[str, int]]:
        """The most doubtful and oldest, and how many there are of each grade."""
        now_ms = self._clock.now_ms()
        views = list(self._engine.price_views(now_ms))
        grades = Counter(grade for *_, grade in views)
        shown = nsmallest(PRICES_SHOWN, views, key=lambda view: (GRADES.index(view[3]), view[2], view[0]))
        prices = [
            PriceStatus(instrument=name, mark_price=mark, age_ms=now_ms - ts_ms, grade=grade)
            for name, mark, ts_ms, grade in shown
        ]
        return prices, {grade: grades[grade] for grade in GRADES if grades[grade]}

    def _shard(self, shard: Shard, now: float) -> ShardStatus:
        partition = shard.partition
        lags = {topic: lag for (topic, of), lag in self._worker.lags.items() if of == partition}
        return ShardStatus(
            partition=partition, deciding=not shard.reasons, reasons=sorted(shard.reasons), epoch=shard.fence,
            claim=shard.claim if shard.claim >= 0 else None, holds_claim=shard.holds_claim, caught_up=shard.caught_up,
            next=dict(shard.next), stored=dict(shard.durable or {}),
            lag={topic: TopicLag(records=lag.records, ms=lag.ms) for topic, lag in sorted(lags.items())},
            dirty_rows=self._engine.dirty_count(partition) + shard.rows_kept,
            orders_outstanding=len(shard.outstanding),
            unstored_ms=round((now - shard.stored_at) * 1000) if shard.waits_for_store and shard.stored_at else 0,
        )  # fmt: skip


def _health(view: BucketView) -> tuple[int, int, float, str, str]:
    """Sort key, least equity for its maintenance margin first; a bucket that cannot be valued comes after those that can."""
    if view.equity is None or view.maintenance_margin is None:
        return 1, STATUS_ORDER.index(view.status), 0.0, view.account, view.bucket
    equity, maintenance = parse(view.equity), parse(view.maintenance_margin)
    return 0, 0, equity / maintenance if maintenance else float(equity), view.account, view.bucket


def without_accounts(status: WorkerStatus) -> WorkerStatus:
    """The same with a digest in the place of each account."""
    return structs.replace(
        status, accounts_hidden=True,
        worst=[structs.replace(each, account=_digest(each.account)) for each in status.worst],
        orders=[structs.replace(each, account=_digest(each.account)) for each in status.orders],
    )  # fmt: skip


def _digest(account: str) -> str:
    return f"#{blake2b(account.encode(), digest_size=5).hexdigest()}"


def parameters(config: Config) -> dict[str, str]:
    """What decisions depend on, by dotted name. Neither addresses nor where secrets lie."""
    dumped = config.model_dump(mode="json", include=set(SECTIONS))
    shown = {name: value for section in SECTIONS for name, value in _flat(f"{section}.", dumped[section])}
    return shown | {"kafka.group": config.kafka.group, "kafka.topic_prefix": config.kafka.topic_prefix}


def _flat(prefix: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(f"{prefix}{name}.", value)
        else:
            found.append((f"{prefix}{name}", "" if value is None else str(value)))
    return found


def installed(package: str) -> str:
    """The version of an installed package; "unknown" in a tree that was not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
