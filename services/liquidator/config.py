"""Configuration: a TOML file, overridden by RINGFENCE_ variables, overridden by flags. Secrets come from files only.

`RINGFENCE_KAFKA__BOOTSTRAP` sets `bootstrap` of section `[kafka]`, and so on. `show` tells what is in force and where from.
"""

from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from services.adapters.kafka_connection import KafkaConnection, SecurityProtocol
from services.contracts.decimals import MAX_TEXT, UNSIGNED_PATTERN, parse, to_text
from services.engine.settings import ACCOUNT_CLASSES, Ladder, Settings
from services.engine.volatility import RiskModel
from services.liquidator.throttle import Caps

ENV_PREFIX: Final = "RINGFENCE_"
DELIMITER: Final = "__"


class Misconfigured(Exception):
    """What is wrong, and what to set, in one line."""


def _is_decimal(text: str) -> str:
    if len(text) > MAX_TEXT or re.fullmatch(UNSIGNED_PATTERN, text) is None:
        raise ValueError("must be a decimal like 0.05")
    return text


Millis = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[str, AfterValidator(_is_decimal)]


class Section(BaseModel):
    """A section refuses what it does not know: a misspelt key must not be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSection(Section):
    """How to reach the brokers, and the names of what is used there."""

    bootstrap: str
    topic_prefix: str = ""
    group: str = "ringfence-liquidator"
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password_file: Path | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    request_timeout_ms: Annotated[int, Field(ge=10_000, le=30_000)] = 15_000
    session_timeout_ms: Annotated[int, Field(ge=500)] = 6_000
    heartbeat_interval_ms: Annotated[int, Field(ge=100)] = 1_500
    rebalance_timeout_ms: Annotated[int, Field(ge=1_000)] = 10_000
    fetch_max_wait_ms: Annotated[int, Field(ge=1)] = 100

    @model_validator(mode="after")
    def _consistent(self) -> KafkaSection:
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and self.sasl_password_file):
            raise ValueError(f"{self.security_protocol} needs kafka.sasl_username and kafka.sasl_password_file")
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            raise ValueError("kafka.heartbeat_interval_ms must be at most a third of kafka.session_timeout_ms")
        return self

    def connection(self, client_id: str) -> KafkaConnection:
        """The description that the clients are made from; reads the password file."""
        return KafkaConnection(
            bootstrap=self.bootstrap, client_id=client_id, security_protocol=self.security_protocol,
            sasl_mechanism=self.sasl_mechanism, sasl_username=self.sasl_username,
            sasl_password=read_secret(self.sasl_password_file), ssl_cafile=_path(self.ssl_cafile),
            ssl_certfile=_path(self.ssl_certfile), ssl_keyfile=_path(self.ssl_keyfile),
            request_timeout_ms=self.request_timeout_ms,
        )  # fmt: skip


class RedisSection(Section):
    """Where the tables are."""

    url: str
    prefix: str = "ringfence:"
    password_file: Path | None = None
    row_key_file: Path | None = None  # secret of the row checksums
    timeout_ms: Annotated[int, Field(ge=100)] = 2_000

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        if "@" in url and ":" in url.rpartition("@")[0].partition("//")[2]:
            raise ValueError("redis.url must not hold a password: set redis.password_file")
        return url


class LadderSection(Section):
    """`services.engine.settings.Ladder`: what one class of accounts has otherwise than the rest."""

    warning_buffer: Rate | None = None
    margin_call_buffer: Rate | None = None
    reduce_only_buffer: Rate | None = None
    rung_hysteresis: Rate | None = None

    def ladder(self) -> Ladder:
        return Ladder(**{name: parse(rate) for name, rate in self.model_dump(exclude_none=True).items()})


class EngineSection(Section):
    """`services.engine.settings.Settings` as people write it: rates are decimal strings, durations milliseconds."""

    liquidate_at_equal: bool = False
    account_settle_ms: Millis = Settings().account_settle_ms
    account_gap_ms: Millis = Settings().account_gap_ms
    provisional_account_ms: Millis = Settings().provisional_account_ms
    duplicate_window: Count = Settings().duplicate_window
    transfer_window: Count = Settings().transfer_window
    parked_fills: Count = Settings().parked_fills
    max_prices: Count = Settings().max_prices
    future_tolerance_ms: Millis = Settings().future_tolerance_ms
    default_price_move: Rate = to_text(Settings().default_price_move)
    confirm_band: Rate = to_text(Settings().confirm_band)
    confirm_ms: Millis = Settings().confirm_ms
    confirm_max_ms: Millis = Settings().confirm_max_ms
    hysteresis: Rate = to_text(Settings().hysteresis)
    expected_slippage: Rate = to_text(Settings().expected_slippage)
    attempt_step: Rate = to_text(Settings().attempt_step)
    distress_range: Rate = to_text(Settings().distress_range)
    half_spread: Rate = to_text(Settings().half_spread)
    near_sigmas: Rate = to_text(Settings().near_sigmas)
    latency_ms: Millis = Settings().latency_ms
    default_sigma: Rate = to_text(Settings().default_sigma)
    max_attempts: Count = Settings().max_attempts
    max_unfilled_ms: Millis = Settings().max_unfilled_ms
    order_ttl_ms: Millis = Settings().order_ttl_ms
    clock_skew_ms: Millis = Settings().clock_skew_ms
    gap_guard: Literal["off", "cross", "all"] = Settings().gap_guard
    gap_z: Rate = to_text(Settings().gap_z)
    gap_reaction_ms: Millis = Settings().gap_reaction_ms
    warning_buffer: Rate = to_text(Settings().warning_buffer)
    margin_call_buffer: Rate = to_text(Settings().margin_call_buffer)
    reduce_only_buffer: Rate = to_text(Settings().reduce_only_buffer)
    rung_hysteresis: Rate = to_text(Settings().rung_hysteresis)
    # [engine.ladders."client:cross"], and so on
    ladders: dict[Annotated[str, Field(pattern=f"^({'|'.join(ACCOUNT_CLASSES)})$")], LadderSection] = {}

    def settings(self, account_partitions: int) -> Settings:
        """For the engine; the partition count is the brokers' to say."""
        words, given = {"gap_guard"}, self.model_dump()
        values = {name: parse(v) if isinstance(v, str) and name not in words else v for name, v in given.items()}
        values |= {"ladders": {name: section.ladder() for name, section in self.ladders.items()}}
        return msgspec.convert(values | {"account_partitions": account_partitions}, Settings)


class RiskSection(Section):
    """`ringfence risk`: `services.engine.volatility.RiskModel` as people write it, and the election of the publisher."""

    group: str = "ringfence-risk"
    price_look_back_ms: Annotated[int, Field(ge=0)] = 600_000  # of instruments that no record was written for yet
    half_life_ms: Count = RiskModel().half_life_ms
    sample_ms: Count = RiskModel().sample_ms
    initial_sigma: Rate = to_text(RiskModel().initial_sigma)
    z: Rate = to_text(RiskModel().z)
    close_out_ms: Count = RiskModel().close_out_ms
    cap: Rate = to_text(RiskModel().cap)
    quantum: Rate = to_text(RiskModel().quantum)
    hysteresis: Rate = to_text(RiskModel().hysteresis)
    step_ms: Count = RiskModel().step_ms
    max_up: Rate = to_text(RiskModel().max_up)
    max_down: Rate = to_text(RiskModel().max_down)
    buffer: Rate = to_text(RiskModel().buffer)
    notice_ms: Millis = RiskModel().notice_ms
    refresh_ms: Millis = RiskModel().refresh_ms
    variance_band: Rate = to_text(RiskModel().variance_band)

    @model_validator(mode="after")
    def _consistent(self) -> RiskSection:
        self.model()
        return self

    def model(self) -> RiskModel:
        """For the fold; raises `ValueError` where the numbers contradict each other."""
        given = self.model_dump(exclude={"group", "price_look_back_ms"})
        return RiskModel(**{name: parse(v) if isinstance(v, str) else v for name, v in given.items()})


class WorkerSection(Section):
    """The worker around the engine."""

    instance: str = Field(default_factory=socket.gethostname)
    static_membership: bool = False  # keep partitions across a restart: needs an `instance` of its own for each worker
    presets: Path | None = None  # folder of portfolio presets; None: those that the package brings
    journal: bool = True  # write down what was read and when, so that a replay computes exactly the same
    standby: bool = False  # fold every shard beside its owner, in no group, and take over when the owner falls silent
    standby_silence_ms: Annotated[int, Field(ge=300)] = 1_000  # owners write to the journal each 100 ms or so
    flush_ms: Annotated[int, Field(ge=20, le=1_000)] = 50
    max_unstored_rows: Annotated[int, Field(ge=1_000)] = (
        200_000  # of a shard: while Redis is away decisions go on up to here
    )
    snapshot_ms: Annotated[int, Field(ge=0)] = 300_000  # how often a shard is copied to the topic `snapshots`; 0: never
    from_cut_topics: bool = (
        False  # a shard that was never stored may start where retention cut its topics: openings hold the rest
    )
    # No longer than the engine waits for the other topics (engine.account_settle_ms): an unread transfer must not look like a loss.
    max_account_lag_ms: Annotated[int, Field(ge=50)] = 200
    conflate_after_ms: Annotated[int, Field(ge=50)] = 250
    loop_gap_ms: Annotated[int, Field(ge=100)] = 500
    reclaim_ms: Annotated[int, Field(ge=1_000)] = 60_000
    release_ms: Annotated[int, Field(ge=100)] = 2_000
    shutdown_ms: Annotated[int, Field(ge=1_000)] = 10_000
    price_look_back_ms: Annotated[int, Field(ge=-1)] = 60_000  # -1: all that the topic holds
    max_price_silence_ms: Annotated[int, Field(ge=100)] = 10_000  # `/readyz` says no without a price for so long

    @model_validator(mode="after")
    def _consistent(self) -> WorkerSection:
        if self.standby and not self.journal:
            raise ValueError("worker.standby needs worker.journal: without a journal no worker gives a sign of life")
        return self


class CapsSection(Section):
    """Caps on the orders of all workers together, and what counts as a malfunction. An order above a cap waits, worst first."""

    orders_per_second: Count | None = None
    notional_per_minute: Rate | None = None  # at the marks, in the accounts' valuation assets, each taken at par
    max_held_ms: Millis = 1_000  # an order that waits for longer alarms
    recompute_every: Annotated[int, Field(ge=0)] = (
        32  # one of so many orders is computed again by the reference; 0: none
    )
    max_futile_attempts: Count = 50  # on one position, without any change of it, before the shard is halted

    def of_shard(self, partitions: int) -> Caps:
        """Each partition has the same part of the caps, rounded down, whichever worker owns it.

        Raises:
            Misconfigured: nothing would be left for a partition.
        """
        notional = None if self.notional_per_minute is None else parse(self.notional_per_minute)
        try:
            return Caps(orders_per_second=self.orders_per_second, notional_per_minute=notional).share(partitions)
        except ValueError as error:
            raise Misconfigured(str(error)) from error


class HttpSection(Section):
    """Probes and metrics. Nothing in them names a client, but they need no audience either: loopback by default."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9_464


class LogSection(Section):
    """`auto`: colours on a terminal, JSON lines elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class TracingSection(Section):
    """OpenTelemetry, extra `otel`. What is not said here is read from its own OTEL_ variables: sampler, headers, resource."""

    enabled: bool = False
    endpoint: str | None = None  # of the collector, OTLP over HTTP; None: OTEL_EXPORTER_OTLP_ENDPOINT


class Config(BaseSettings):
    """All of it."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="ignore",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSection
    redis: RedisSection
    engine: EngineSection = EngineSection()
    worker: WorkerSection = Field(default_factory=WorkerSection)
    risk: RiskSection = RiskSection()
    caps: CapsSection = CapsSection()
    http: HttpSection = HttpSection()
    log: LogSection = LogSection()
    tracing: TracingSection = TracingSection()
    shadow: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.shadow and self.worker.standby:
            raise ValueError(
                "worker.standby cannot go with shadow: no worker writes a journal there, so none gives a sign of life"
            )
        return self

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # the other sources come as keywords
        cls,
        _settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        **_: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load` reads the sources itself, to know where each value is from."""
        return (init_settings,)


def load(path: Path | None, flags: Mapping[str, Any] | None = None) -> Config:
    """The configuration in force. `flags` maps dotted names to values; None values are flags that were not given.

    Raises:
        Misconfigured: the file cannot be read, something is missing or wrong.
    """
    merged: dict[str, Any] = {}
    for _, values in sources(path, flags or {}):
        _merge(merged, values)
    _require(merged)
    try:
        return Config(**merged)
    except ValidationError as error:
        raise Misconfigured("; ".join(_one_line(each) for each in error.errors())) from error


def sources(path: Path | None, flags: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Where values come from, weakest first."""
    found = [(f"file {path}", _from_file(path))] if path is not None else []
    return [*found, ("environment", _from_env()), ("flag", _from_flags(flags))]


def show(path: Path | None, flags: Mapping[str, Any] | None = None) -> list[tuple[str, str, str]]:
    """Dotted name, value in force and its origin, of every setting. Files that hold secrets are named, never read."""
    config = load(path, flags)
    origins: dict[str, str] = {}
    for origin, values in sources(path, flags or {}):
        origins |= dict.fromkeys(_flat(values), origin)
    shown = _flat(config.model_dump(mode="json"))
    return [(name, "" if value is None else str(value), origins.get(name, "default")) for name, value in shown.items()]


def read_secret(path: Path | None) -> str | None:
    """The secret in a file, without the newline at its end.

    Raises:
        Misconfigured: the file cannot be read, or is empty.
    """
    if path is None:
        return None
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the secret file {path} cannot be read: {error}") from error
    if not secret:
        raise Misconfigured(f"the secret file {path} is empty")
    return secret


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise Misconfigured(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the configuration file {path} is not TOML: {error}") from error


def _from_env() -> dict[str, Any]:
    return EnvSettingsSource(Config)()


def _from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flags.items():
        if value is not None:
            section, _, key = name.partition(".")
            _merge(nested, {section: {key: value}} if key else {section: value})
    return nested


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def _require(merged: dict[str, Any]) -> None:
    unknown = sorted(set(merged) - set(Config.model_fields))
    if unknown:
        raise Misconfigured(f"unknown section [{unknown[0]}]: there are {', '.join(Config.model_fields)}")
    for section, key in (("kafka", "bootstrap"), ("redis", "url")):
        given = merged.get(section, {})
        if isinstance(given, dict) and not given.get(key):
            variable = f"{ENV_PREFIX}{section}{DELIMITER}{key}".upper()
            stray = sorted(set(given) - set(getattr(Config.model_fields[section].annotation, "model_fields", ())))
            if stray:  # a slip of the pen in the very key that is missing
                raise Misconfigured(f"{section}.{stray[0]} is not a setting, and {section}.{key} is not set")
            raise Misconfigured(f"{section}.{key} is not set: write it into [{section}] of the file, or set {variable}")


def _one_line(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{place} is not a setting"
    is_untold = isinstance(error["input"], dict | BaseModel) or place == "redis.url"  # which may hold a password
    given = "" if is_untold else f" (it is {error['input']!r})"
    return f"{place}: {message}{given}" if error["type"] != "value_error" or place.count(".") else message


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _path(path: Path | None) -> str | None:
    return str(path) if path is not None else None
