"""The topic catalogue: name, key, partitioning, retention and message of every topic, in one place."""

from enum import StrEnum
from typing import Any, Final, Literal

from msgspec import Struct, structs

from services.contracts import messages as m

SMALL, LARGE = 4 * 1024, 64 * 1024
DAY_MS: Final = 86_400_000


class Role(StrEnum):
    """How workers read a topic."""

    ACCOUNT = "account"  # partitioned by murmur2(account), one partition count for all of them
    BROADCAST = "broadcast"  # read whole by every worker
    OUTPUT = "output"  # written; `snapshots` and `journal` are read back by recovery and replay
    OFFLINE = "offline"  # read by another command, never by a worker


class Topic(Struct, frozen=True, kw_only=True):
    """One entry of the catalogue. `retention_ms` None keeps for ever; `compacted` keeps the newest record a key."""

    name: str
    key: str
    role: Role
    message: Any  # a Message type, a union of them, or None: no message that `codec` decodes
    schema: str | None
    summary: str
    max_bytes: int = LARGE
    retention_ms: int | None = None
    compacted: bool = False
    timestamp_type: Literal["CreateTime", "LogAppendTime"] = "CreateTime"
    partitions: int | None = None  # None: the configured count of account partitions
    received: bool = True  # this product reads it: what was accepted once must stay accepted
    sent: bool = False  # this product writes it: what consumers rely on must stay


def _account(name: str, message: Any, schema: str, summary: str, **more: Any) -> Topic:
    return Topic(name=name, key="account", role=Role.ACCOUNT, message=message, schema=schema, summary=summary, **more)


def _broadcast(name: str, key: str, message: Any, schema: str, summary: str, **more: Any) -> Topic:
    return Topic(
        name=name, key=key, role=Role.BROADCAST, message=message, schema=schema, summary=summary,
        timestamp_type="LogAppendTime", partitions=1, **more,
    )  # fmt: skip


def _output(
    name: str, key: str, message: Any, schema: str | None, summary: str, *, received: bool = False, **more: Any
) -> Topic:
    return Topic(
        name=name, key=key, role=Role.OUTPUT, message=message, schema=schema, summary=summary, received=received, sent=True, **more,
    )  # fmt: skip


TOPICS: Final[tuple[Topic, ...]] = (
    _broadcast("instruments", "instrument", m.Instrument, "instrument", "specifications of what is traded"),
    _broadcast("collateral", "asset", m.Collateral, "collateral", "how each asset counts as collateral"),
    _broadcast("risk-parameters", "instrument", m.RiskParameters, "risk-parameters", "live margin multipliers", sent=True),
    _broadcast("controls", "scope:target", m.Control, "control", "halt, resume and clear"),
    _broadcast("prices", "instrument", m.Price, "price", "mark, index and volatility ticks", max_bytes=SMALL, retention_ms=90 * DAY_MS),
    _account("accounts", m.Account, "account", "client, segregation class and margin mode"),
    _account("fills", m.Fill, "fill", "executions", max_bytes=SMALL, retention_ms=400 * DAY_MS),
    _account("transfers", m.Transfer, "transfer", "deposits, withdrawals, moves, funding, locks", max_bytes=SMALL, retention_ms=400 * DAY_MS),
    _account("order-events", m.OrderEvent, "order-event", "what became of a liquidation order", max_bytes=SMALL, retention_ms=400 * DAY_MS),
    _account("account-statements", m.AccountStatement, "account-statement", "what the venue says an account holds", retention_ms=400 * DAY_MS),
    Topic(name="custody-statements", key="custodian", role=Role.OFFLINE, message=None, schema=None, partitions=1,
          summary="what a custodian says it holds", retention_ms=400 * DAY_MS),
    _account("liquidation-orders", m.LiquidationRecord, "liquidation-order", "orders, and claims of ownership", sent=True,
             retention_ms=90 * DAY_MS),
    _output("account-states", "account|bucket", m.AccountState, "account-state", "status changes with the margin numbers", compacted=True),
    _output("defaults", "account", m.Default, "default", "closes worse than bankruptcy: what is missing", retention_ms=400 * DAY_MS),
    _output("adl-orders", "instrument", None, None, "closing opposite positions when the insurance fund is short", partitions=1,
            retention_ms=400 * DAY_MS),
    _output("insurance-fund", "pool", None, None, "movements of the insurance pools", partitions=1, retention_ms=400 * DAY_MS),
    _output("snapshots", "account|bucket", None, None, "rows for rebuilding a lost Redis", received=True, compacted=True),
    _output("journal", "shard", None, None, "what a worker read and which gates were shut, per batch", received=True,
            retention_ms=90 * DAY_MS),
    _output("dead-letters", "original key", None, None, "refused input, whole, with the reason in its headers", partitions=1,
            retention_ms=30 * DAY_MS),
)  # fmt: skip

BY_NAME: Final = {topic.name: topic for topic in TOPICS}
ACCOUNT_TOPICS: Final = tuple(t.name for t in TOPICS if t.role is Role.ACCOUNT)
BROADCAST_TOPICS: Final = tuple(t.name for t in TOPICS if t.role is Role.BROADCAST)
SHADOW_ORDERS: Final = "liquidation-orders-shadow"
SHADOW_TOPIC: Final = structs.replace(BY_NAME["liquidation-orders"], name=SHADOW_ORDERS)  # only where a worker shadows
