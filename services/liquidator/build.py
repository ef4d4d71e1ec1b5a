"""The composition root: the only place where engine, Faust and Redis meet."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.adapters.account_streams import AccountStreams
from services.adapters.batch_transport import StreamSettings, verify_private_names
from services.adapters.broadcast import BroadcastReader, BroadcastSettings
from services.adapters.clock import SystemClock
from services.adapters.kafka_connection import KafkaConnection
from services.adapters.kafka_producer import KafkaProducer
from services.adapters.kafka_snapshots import KafkaSnapshots
from services.adapters.metrics import Metrics
from services.adapters.ports import Logger
from services.adapters.presets import load_presets
from services.adapters.probes import Probes
from services.adapters.redis_table import DEFAULT_KEY, RedisTable, TableSettings
from services.adapters.standby_input import StandbyInput, StandbySettings
from services.adapters.topic_layout import account_partitions
from services.adapters.tracing import NoTracing, Tracer
from services.contracts.identifiers import partition_of
from services.contracts.journal import JOURNAL
from services.engine.engine import Engine
from services.engine.settings import Settings, settings_id
from services.liquidator.config import Config, Misconfigured, read_secret
from services.liquidator.dispatch import DEAD_LETTERS, TopicNames
from services.liquidator.engine_port import EnginePort
from services.liquidator.journal import JournalledEngine
from services.liquidator.order_watch import OrderWatch
from services.liquidator.outbox import Outbox
from services.liquidator.ownership import OwnershipSettings
from services.liquidator.readings import Readings, memory_limit_bytes
from services.liquidator.signs import nonce_of, session_name
from services.liquidator.standby import StandbyRules
from services.liquidator.status import StatusPage
from services.liquidator.worker import Worker, WorkerSettings

SHADOW: Final = "shadow"
SNAPSHOTS: Final = "snapshots"
STEP_TIMEOUT_S: Final = 5.0


class Liquidator:
    """One worker process: built by `build`, lives in `run`."""

    def __init__(  # noqa: PLR0917  # the composition root hands over what `build` made, once
        self, config: Config, settings: Settings, log: Logger, engine: Engine, table: RedisTable, client: Redis
    ) -> None:
        self._config = config
        self._log = log
        self._engine = engine
        self._redis = client
        self._table = table
        self._clock = SystemClock()
        self.metrics = Metrics()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        names = topic_names(config)
        connection = kafka_connection(config)
        self._outbox = Outbox(lambda: KafkaProducer(connection), self._clock, log)
        self._tracer = tracer(config)
        orders = OrderWatch(self._clock, self._tracer)
        self._session = session_name(instance_id(config.worker.instance), uuid.uuid4().hex)
        self._partitions = settings.account_partitions or 1
        numbers = count()
        self.worker = Worker(
            worker_settings(config, names, self._partitions, self._session), engine=self._journalled(engine, settings), table=table, outbox=self._outbox, clock=self._clock,
            meter=self.metrics, log=log, new_nonce=lambda: nonce_of(self._session, next(numbers)), fail=self.fail, orders=orders,
            snapshots=KafkaSnapshots(connection, names.physical(SNAPSHOTS)) if writes_snapshots(config) else None,
        )  # fmt: skip
        self._streams = self._input(names, connection)
        self.worker.attach(self._streams)
        self._broadcast = BroadcastReader(
            BroadcastSettings(
                connection, names.broadcasts(), config.worker.price_look_back_ms, config.kafka.fetch_max_wait_ms
            ),
            self._clock, self.worker.fold_broadcast, self.worker.broadcast_ready.set,
        )  # fmt: skip
        status = StatusPage(
            config, settings_id(settings), worker=self.worker, engine=engine, broadcast=self._broadcast, outbox=self._outbox,
            orders=orders, clock=self._clock, not_live=self._why_not_live, not_ready=self._why_not_ready,
        )  # fmt: skip
        self._probes = Probes(self.metrics.text, self._why_not_live, self._why_not_ready, status.answer, self._ready_as)
        self.metrics.add_gauges(
            Readings(
                self.worker, engine, settings=settings, broadcast=self._broadcast, outbox=self._outbox, clock=self._clock,
                memory_limit_bytes=memory_limit_bytes(),
            )
        )  # fmt: skip

    def _input(self, names: TopicNames, connection: KafkaConnection) -> AccountStreams | StandbyInput:
        """What the group gives to us; for a standby everything."""
        config = self._config
        if not config.worker.standby:
            return AccountStreams(stream_settings(config, names, connection), self.worker.fold, self.worker)
        settings = StandbySettings(
            connection, names.accounts(), names.physical(JOURNAL), self._partitions,
            look_back_ms=config.worker.reclaim_ms * 3 // 2, fetch_max_wait_ms=config.kafka.fetch_max_wait_ms,
        )  # fmt: skip
        return StandbyInput(settings, self._clock, self.worker.fold, self.worker.hear, self.worker.listened)

    async def _feed(self) -> None:
        """Read the account topics until that ends."""
        if isinstance(self._streams, AccountStreams):
            return await self._service(self._streams.app)
        return await self._service(self._streams, lambda: self.worker.stand_by(self._partitions))

    async def _stop_feed(self) -> None:
        await (self._streams.app if isinstance(self._streams, AccountStreams) else self._streams).stop()

    def _journalled(self, engine: Engine, settings: Settings) -> EnginePort:
        """The engine with a journal of its own session; without one in shadow mode, which writes nothing but orders."""
        if self._config.shadow or not self._config.worker.journal:
            return engine
        session = self._session
        partition = partition_of(session, self._partitions)
        return JournalledEngine(
            engine, session, settings, self._clock,
            lambda shard, value: self.worker.journal(partition, session, shard, value),
        )  # fmt: skip

    def fail(self, error: BaseException) -> None:
        """End the process: something happened that must not be passed over."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then leave cleanly.

        Raises:
            Whatever went wrong, after everything was shut down.
        """
        try:
            port = await self._listen(self._config.http.host, self._config.http.port)
            self._log.info("listening", host=self._config.http.host, port=port)
            await self._outbox.connect()
            self._beside(self._outbox.run())
            self._beside(self.worker.run())
            self._beside(self._service(self._broadcast))
            self._beside(self._feed())
            await self._until(stop)
        finally:
            await self._shut_down()

    async def _listen(self, host: str, port: int) -> int:
        try:
            return await self._probes.start(host, port)
        except OSError as error:
            raise Misconfigured(
                f"cannot listen on http.host:http.port {host}:{port}: {error.strerror}; a second worker on one host needs --port"
            ) from error

    async def _until(self, stop: asyncio.Event) -> None:
        stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([stopping, self._failed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if self._failed.done():
            self._failed.result()

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)

        def done(finished: asyncio.Task[None]) -> None:
            self._tasks.discard(finished)
            if not finished.cancelled() and (error := finished.exception()) is not None:
                self.fail(error)

        task.add_done_callback(done)

    async def _service(self, service: Any, started: Callable[[], None] = lambda: None) -> None:
        """Run a mode service until it stops; if it crashes, that is our failure too."""
        await service.start()
        started()
        await service.wait_first(asyncio.Event().wait())
        if service.crash_reason is not None:
            raise service.crash_reason

    async def _shut_down(self) -> None:
        """In the order that loses nothing; each step bounded, a failing one does not keep the next from happening."""
        self._log.info("stopping")
        steps: list[tuple[str, Callable[[], Coroutine[Any, Any, Any]]]] = [
            ("worker", self.worker.stop),
            ("streams", self._stop_feed),
            ("broadcast", self._broadcast.stop),
            ("tasks", self._cancel_tasks),
            ("outbox", self._outbox.close),
            ("redis", self._redis.aclose),
            ("tracing", lambda: asyncio.to_thread(self._tracer.close)),
            ("probes", self._probes.stop),
        ]
        for name, step in steps:
            try:
                async with asyncio.timeout(STEP_TIMEOUT_S):
                    await step()
            except Exception as error:  # noqa: BLE001  # the remaining steps must happen; what ended us is reported by run()
                self._log.warning("stop_step_failed", step=name, error=repr(error))
        self._log.info("stopped")

    async def _cancel_tasks(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _why_not_live(self) -> list[str]:
        return ["failed"] if self._failed.done() else []

    def _ready_as(self) -> str:
        standing = self.worker.standing
        return f"ok\nstands by: shards {', '.join(map(str, standing))}" if standing else "ok"

    def _why_not_ready(self) -> list[str]:
        return self.worker.readiness(self._config.worker.max_price_silence_ms)


async def build(config: Config, log: Logger) -> Liquidator:
    """Check what is outside, and put a worker together.

    Raises:
        Unreachable: Kafka or Redis does not answer.
        Refused: what was found there must not be used.
        Misconfigured: a secret cannot be read.
    """
    verify_private_names()
    names = topic_names(config)
    outputs = [] if config.shadow else [names.physical(topic) for topic in written_topics(config)]
    partitions = await account_partitions(kafka_connection(config), names.accounts(), [*names.broadcasts(), *outputs])
    settings = config.engine.settings(partitions)
    engine = Engine(settings, load_presets(config.worker.presets), gates_open=False)
    client = redis_client(config)
    table = RedisTable(client, table_settings(config, settings))
    await table.prepare()
    return Liquidator(config, settings, log, engine, table, client)


def written_topics(config: Config) -> list[str]:
    """What a worker writes beside orders and claims."""
    return [
        "account-states",
        "defaults",
        DEAD_LETTERS,
        *([JOURNAL] if config.worker.journal else []),
        *([SNAPSHOTS] if writes_snapshots(config) else []),
    ]


def writes_snapshots(config: Config) -> bool:
    """Whether copies of the shards go to Kafka: not in shadow mode, which writes nothing but orders."""
    return config.worker.snapshot_ms > 0 and not config.shadow


def topic_names(config: Config) -> TopicNames:
    return TopicNames(config.kafka.topic_prefix, config.shadow)


def kafka_connection(config: Config) -> KafkaConnection:
    return config.kafka.connection(f"ringfence-{config.worker.instance}")


def stream_settings(config: Config, names: TopicNames, connection: KafkaConnection) -> StreamSettings:
    kafka = config.kafka
    return StreamSettings(
        connection=connection, group=f"{kafka.group}-{SHADOW}" if config.shadow else kafka.group,
        logical=names.accounts(), session_timeout_ms=kafka.session_timeout_ms,
        heartbeat_interval_ms=kafka.heartbeat_interval_ms, rebalance_timeout_ms=kafka.rebalance_timeout_ms,
        fetch_max_wait_ms=kafka.fetch_max_wait_ms, trace_context=config.tracing.enabled,
        group_instance_id=config.worker.instance if config.worker.static_membership else None,
    )  # fmt: skip


def worker_settings(config: Config, names: TopicNames, partitions: int, session: str) -> WorkerSettings:
    worker, caps = config.worker, config.caps
    standby = StandbyRules(session, worker.standby_silence_ms / 1000) if worker.standby else None
    return WorkerSettings(
        ownership=OwnershipSettings(
            instance=instance_id(worker.instance), reclaim_ms=worker.reclaim_ms,
            retry_fenced_ms=config.kafka.session_timeout_ms + config.kafka.heartbeat_interval_ms,
            from_cut_topics=worker.from_cut_topics,
            confirm_ms=config.kafka.request_timeout_ms + config.kafka.session_timeout_ms,
        ),
        names=names, standby=standby, flush_ms=worker.flush_ms, max_account_lag_ms=worker.max_account_lag_ms,
        conflate_after_ms=worker.conflate_after_ms, loop_gap_ms=worker.loop_gap_ms, snapshot_ms=worker.snapshot_ms,
        max_unstored_rows=worker.max_unstored_rows, release_ms=worker.release_ms,
        caps=caps.of_shard(partitions), max_held_ms=caps.max_held_ms, max_futile_attempts=caps.max_futile_attempts, recompute_every=caps.recompute_every,
    )  # fmt: skip


def instance_id(name: str) -> str:
    """The instance as claims carry it: an id of the contracts."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._:/@-") else "-" for c in name).lstrip("._:/@-")
    return kept[:64] or "worker"


def redis_client(config: Config) -> Redis:
    """One client; an answer that does not come in time is an error, and repeating is ours to decide."""
    redis = config.redis
    user = urlsplit(redis.url).username
    return Redis.from_url(
        redis.url, username=user, password=read_secret(redis.password_file), socket_timeout=redis.timeout_ms / 1000,
        socket_connect_timeout=redis.timeout_ms / 1000, retry=Retry(NoBackoff(), 0), health_check_interval=15,
    )  # fmt: skip


def table_settings(config: Config, settings: Settings) -> TableSettings:
    key = read_secret(config.redis.row_key_file)
    prefix = f"{config.redis.prefix}{SHADOW}:" if config.shadow else config.redis.prefix
    return TableSettings(prefix, settings_id(settings), key.encode() if key is not None else DEFAULT_KEY)


def tracer(config: Config) -> Tracer:
    """OpenTelemetry if it is switched on.

    Raises:
        Misconfigured: it is switched on and not installed.
    """
    if not config.tracing.enabled:
        return NoTracing()
    try:
        from services.adapters.otel import exporting
    except ImportError as error:
        raise Misconfigured(f"tracing.enabled needs OpenTelemetry: pip install 'ringfence[otel]' ({error})") from error
    return exporting(config.worker.instance, config.tracing.endpoint)
