"""What `ringfence doctor` looks at. Reads only; every wait is bounded."""

import sys
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from importlib.metadata import version
from typing import Final, Literal

from msgspec import Struct

from services.adapters.batch_transport import verify_private_names
from services.adapters.ports import Refused, Unreachable
from services.adapters.redis_reader import ServerFacts, reading, server_facts
from services.adapters.topic_admin import Difference, connected, differences, wanted_topics
from services.adapters.topic_reader import read_whole
from services.contracts.codec import decode
from services.contracts.messages import Instrument
from services.contracts.records import Record
from services.liquidator.build import kafka_connection, redis_client
from services.liquidator.config import Config, Misconfigured, read_secret

Verdict = Literal["ok", "problem", "unreachable"]
LARGEST_SKEW_MS: Final = 250  # records from further ahead are graded as from the future
OLDEST_REDIS: Final = 7  # functions
CREATE: Final = "run `ringfence topics create`"


class Finding(Struct, frozen=True, kw_only=True):
    """One look at one subject. `advice` says what to do, "" where all is well."""

    subject: str
    verdict: Verdict
    detail: str
    advice: str = ""


def misconfigured(error: Misconfigured) -> Finding:
    return Finding(
        subject="configuration", verdict="problem", detail=str(error), advice="see `ringfence config show --help`"
    )


async def examine(config: Config, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> list[Finding]:
    """Every check, in the order in which problems should be solved. Raises `Misconfigured` for secrets that cannot be read."""
    for secret in (config.kafka.sasl_password_file, config.redis.password_file, config.redis.row_key_file):
        read_secret(secret)
    found = [Finding(subject="configuration", verdict="ok", detail="complete"), check_versions()]
    try:
        found += await _kafka(config)
    except Unreachable as error:
        advice = "check kafka.bootstrap, the network, and that the brokers run"
        found.append(Finding(subject="kafka", verdict="unreachable", detail=str(error), advice=advice))
    try:
        found += await _redis(config, now_ms)
    except Unreachable as error:
        advice = "check redis.url, the password file, and that the server runs"
        found.append(Finding(subject="redis", verdict="unreachable", detail=str(error), advice=advice))
    return found


def check_versions() -> Finding:
    """The batching transport overrides names that only exact releases promise."""
    detail = f"Python {sys.version.split()[0]}, " + ", ".join(
        f"{name} {version(name)}" for name in ("faust-streaming", "aiokafka")
    )
    try:
        verify_private_names()
    except Refused as error:
        advice = "install from the lock file: make setup"
        return Finding(subject="versions", verdict="problem", detail=f"{detail}: {error}", advice=advice)
    return Finding(subject="versions", verdict="ok", detail=detail)


async def _kafka(config: Config) -> list[Finding]:
    prefix = config.kafka.topic_prefix
    orders = f"{prefix}liquidation-orders"
    async with connected(kafka_connection(config)) as admin:
        brokers = await admin.brokers()
        found = [
            Finding(
                subject="kafka",
                verdict="ok",
                detail=f"{brokers} broker{'s' if brokers > 1 else ''} at {config.kafka.bootstrap}",
            )
        ]
        known = await admin.found([orders])
        wanted = wanted_topics(prefix, known[orders].partitions if orders in known else 1)
        existing = await admin.found([topic.name for topic in wanted])
    found += check_topics(differences(wanted, existing))
    if f"{prefix}instruments" in existing:
        records = await read_whole(kafka_connection(config), f"{prefix}instruments")
        found += check_instruments(records, Fraction(config.engine.expected_slippage))
    return found


def check_topics(found: list[Difference]) -> list[Finding]:
    """One problem a difference."""
    if not found:
        return [Finding(subject="topics", verdict="ok", detail="all exist as needed")]
    return [
        Finding(subject="topics", verdict="problem", detail=str(difference), advice=_topic_advice(difference))
        for difference in found
    ]


def _topic_advice(difference: Difference) -> str:
    if difference.found is None:
        return CREATE
    if difference.what == "partitions":
        return "a partition count cannot be changed under running accounts: make the topic anew and replay into it"
    return f"kafka-configs --alter --entity-type topics --entity-name {difference.topic} --add-config {difference.what}={difference.wanted}"


def check_instruments(records: Iterable[Record], slippage: Fraction) -> list[Finding]:
    """Instruments whose first tier cannot pay for its own close: its rate is at most taker fee plus expected slippage."""
    latest = {
        message.instrument: message
        for record in records
        if isinstance(message := decode("instruments", record.value), Instrument)
    }
    found = []
    for name, instrument in sorted(latest.items()):
        rate = Fraction(instrument.margin_tiers[0].maintenance_margin_rate)
        cost = Fraction(instrument.taker_fee_rate or "0") + slippage
        if rate <= cost:
            detail = f"{name}: the first maintenance rate {float(rate):g} does not pay for a close that costs {float(cost):g}"
            advice = "raise the first tier's maintenance_margin_rate above taker_fee_rate + engine.expected_slippage"
            found.append(Finding(subject="instruments", verdict="problem", detail=detail, advice=advice))
    return found or [Finding(subject="instruments", verdict="ok", detail=f"{len(latest)} can pay for their own close")]


async def _redis(config: Config, now_ms: Callable[[], int]) -> list[Finding]:
    client = redis_client(config)
    async with reading(client):
        before_ms = now_ms()
        facts = await server_facts(client)
        after_ms = now_ms()
    return [*check_server(facts), check_clock(facts.time_ms, before_ms, after_ms)]


def check_server(facts: ServerFacts) -> list[Finding]:
    """Old, forgetful or evicting servers, each a problem."""
    problems = []
    if int(facts.version.split(".")[0]) < OLDEST_REDIS:
        problems.append((f"version {facts.version} has no functions", "use Redis 7 or Valkey 7.2 and newer"))
    if facts.may_evict:
        problems.append(
            (f"may throw rows away (maxmemory-policy {facts.eviction_policy})", "set maxmemory-policy to noeviction")
        )
    if not facts.keeps_log:
        problems.append(
            (
                "keeps no append-only file: a restart loses the tables",
                "set appendonly yes; Kafka rebuilds what is lost, but slowly",
            )
        )
    if not problems:
        return [Finding(subject="redis", verdict="ok", detail=f"version {facts.version}")]
    return [Finding(subject="redis", verdict="problem", detail=detail, advice=advice) for detail, advice in problems]


def check_clock(server_ms: int, before_ms: int, after_ms: int) -> Finding:
    """This machine's clock against that of the Redis server, which answered some time between the two readings."""
    skew_ms = server_ms - after_ms if server_ms > after_ms else min(0, server_ms - before_ms)
    if abs(skew_ms) <= LARGEST_SKEW_MS:
        return Finding(subject="clock", verdict="ok", detail=f"within {LARGEST_SKEW_MS} ms of the Redis server's")
    detail = f"{abs(skew_ms)} ms {'behind' if skew_ms > 0 else 'ahead of'} the Redis server's"
    advice = "synchronise both machines by NTP: ages of prices are measured with this clock"
    return Finding(subject="clock", verdict="problem", detail=detail, advice=advice)
