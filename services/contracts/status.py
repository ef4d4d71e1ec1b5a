"""What `/statusz` of a worker says: one JSON object, for `ringfence top` and for scripts. Amounts are decimal strings.

Everything in it is bounded: lists carry the worst or the newest few, beside the count of all. A reader ignores fields that it does
not know and gets the default of those that are missing, so that workers and readers of neighbouring versions understand each other.
"""

from typing import Final

from msgspec import Struct

PRICES_SHOWN: Final = 50
BUCKETS_SHOWN: Final = 20
ORDERS_SHOWN: Final = 30
# Worst first; a bucket of the last two is nobody's concern.
STATUS_ORDER: Final = (
    "bankrupt", "liquidating", "reduce_only", "margin_call", "dirty", "incomplete", "warning", "healthy", "closed",
)  # fmt: skip
CALM: Final = frozenset({"healthy", "closed"})


class TopicLag(Struct, frozen=True, kw_only=True):
    """Records that wait unread, and for how long the oldest of them does (or the broker is silent)."""

    records: int = 0
    ms: int = 0


class ShardStatus(Struct, frozen=True, kw_only=True):
    """One shard: `next` are the offsets to fold next, `stored` those that the table holds, by account topic."""

    partition: int
    deciding: bool
    reasons: list[str]  # why its gate is shut
    epoch: int | None = None  # the offset of our claim
    claim: int | None = None  # the offset of the newest claim read, anybody's
    holds_claim: bool = False
    caught_up: bool = False
    next: dict[str, int] = {}
    stored: dict[str, int] = {}
    lag: dict[str, TopicLag] = {}
    dirty_rows: int = 0
    orders_outstanding: int = 0
    unstored_ms: int = 0  # since the last store, while there is something to store


class PriceStatus(Struct, frozen=True, kw_only=True):
    """The mark in use of one price id."""

    instrument: str
    mark_price: str | None
    age_ms: int
    grade: str


class BucketStatus(Struct, frozen=True, kw_only=True):
    """A bucket that is not healthy, in its valuation asset; null: cannot be known now."""

    account: str
    bucket: str
    status: str
    valuation_asset: str
    equity: str | None
    maintenance_margin: str | None
    maintenance_excess: str | None


class OrderStatus(Struct, frozen=True, kw_only=True):
    """An order that this worker decided. `offset` null: not acknowledged. `caused_ms`: broker time of the record that made it due."""

    order_id: str
    account: str
    bucket: str
    instrument: str
    side: str
    quantity: str
    limit_price: str
    stage: str
    trigger: str
    attempt: int
    decided_ms: int
    caused_ms: int | None = None
    acknowledged_ms: int | None = None
    offset: int | None = None


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """One worker as it sees itself at `now_ms`."""

    instance: str
    version: str
    now_ms: int
    started_ms: int = 0
    shadow: bool = False
    build: dict[str, str] = {}
    settings_id: str = ""
    parameters: dict[str, str] = {}
    not_live: list[str] = []
    not_ready: list[str] = []
    shards: list[ShardStatus] = []
    broadcast_lag: dict[str, int] = {}
    newest_price_ms: int | None = None  # broker time of the newest price record
    prices: list[PriceStatus] = []  # doubtful ones first, then the oldest
    price_grades: dict[str, int] = {}  # of all
    halts: dict[str, int] = {}  # by an operator, in force: how many of all, instruments and accounts
    statuses: dict[str, int] = {}  # of all buckets
    worst: list[BucketStatus] = []  # of those that are not healthy, the least equity for its maintenance margin first
    orders: list[OrderStatus] = []  # newest first
    orders_decided: int = 0
    queued: int = 0
    in_flight: int = 0
    accounts_hidden: bool = False  # the reader is elsewhere: accounts are told as digests
