"""What the reference remembers, as plain containers. Nothing here decides."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from services.contracts.identifiers import partition_of
from services.contracts.messages import Account, Control, Fill, Instrument, Order, RiskParameters, Transfer
from services.contracts.records import Record
from services.engine.settings import Settings
from services.reference.ledger import Ledger
from services.reference.prices import Limits, PriceState
from services.reference.specs import CollateralSpec, Spec

MAIN: Final = "main"


@dataclass
class OrderState:
    """One liquidation order id: its content as issued, and what events said of it, in whatever order they came."""

    order: Order | None = None
    confirmed: bool = False  # read back from the topic
    reported: Fraction = Fraction(0)  # the largest cumulative filled quantity of its events
    is_terminal: bool = False
    promised_ms: int | None = None  # since when fills that a terminal event reported are missing
    resend_at_ms: int = 0
    resent: int = 0


@dataclass(frozen=True)
class Doubt:
    """Why a ledger may be wrong. `reading` is what to add to it for the other reading, None where that is not known."""

    kind: str
    topic: str
    offset: int
    reading: Ledger | None


@dataclass
class Distress:
    """From the first order until the bucket has left liquidating: the orders sent in it, by instrument."""

    since_ms: int
    orders: dict[str, dict[str, int]] = field(default_factory=dict)  # instrument -> order id -> time of issue


@dataclass
class Bucket:
    """One ring-fenced bucket."""

    account: str
    bucket: str
    ledger: Ledger = field(default_factory=Ledger)
    status: str = "closed"
    attempts: dict[str, int] = field(default_factory=dict)
    orders: dict[str, OrderState] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)  # ids of orders that were over when their distress ended
    doubts: list[Doubt] = field(default_factory=list)
    distress: Distress | None = None
    defaulted: bool = False  # what is missing was told


@dataclass
class AccountBook:
    """An account with its buckets, and what is known of the order of its records."""

    account: str
    first_seen_ms: int
    record: Account | None = None
    is_provisional: bool = False
    first_deposit: str | None = None  # the asset
    own_ms: int = 0
    touched_ms: int | None = None
    sequences: set[int] = field(default_factory=set)
    gap_since_ms: int | None = None
    remembered: dict[str, dict[str, Fill | Transfer]] = field(default_factory=dict)  # by topic, oldest first
    parked: list[tuple[Record, Fill]] = field(default_factory=list)
    filled: dict[str, Fraction] = field(default_factory=dict)  # by order id, whoever's order it is
    buckets: dict[str, Bucket] = field(default_factory=dict)
    evidence: dict[str, tuple[int, int]] = field(default_factory=dict)  # by topic: partition, offset

    @property
    def is_known(self) -> bool:
        return self.record is not None

    @property
    def has_gap(self) -> bool:
        return bool(self.sequences) and max(self.sequences) - min(self.sequences) + 1 != len(self.sequences)

    @property
    def client(self) -> str:
        return (self.record.client if self.record is not None else None) or self.account

    def bucket(self, name: str) -> Bucket:
        """Made when a record first touches it."""
        return self.buckets.setdefault(name, Bucket(self.account, name))


@dataclass
class World:
    """Everything that was read."""

    settings: Settings
    gates_open: bool = True
    gates: dict[int, bool] = field(default_factory=dict)
    broadcast_ms: int = 0
    instruments: dict[str, Instrument] = field(default_factory=dict)
    specs: dict[str, Spec] = field(default_factory=dict)
    collateral: dict[str, CollateralSpec] = field(default_factory=dict)
    controls: dict[tuple[str, str], Control] = field(default_factory=dict)
    risk: dict[str, list[RiskParameters]] = field(default_factory=dict)
    prices: dict[str, PriceState] = field(default_factory=dict)
    accounts: dict[str, AccountBook] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)  # by partition: the offset of its latest claim
    evidence: dict[str, tuple[int, int]] = field(default_factory=dict)  # of broadcast topics
    legs: list[Transfer] = field(default_factory=list)  # between accounts, perhaps: all that were read
    hot_accounts: set[str] = field(default_factory=set)  # with a liquidatable bucket at the last evaluation

    def now_ms(self, book: AccountBook) -> int:
        return max(self.broadcast_ms, book.own_ms)

    def partition(self, account: str) -> int:
        """0 where partitions carry no meaning."""
        count = self.settings.account_partitions
        return 0 if count is None else partition_of(account, count)

    def gate_is_open(self, account: str) -> bool:
        return self.gates.get(self.partition(account), self.gates_open)

    def epoch(self, account: str) -> int:
        return self.epochs.get(self.partition(account), 0)

    def every_bucket(self) -> Iterator[tuple[AccountBook, Bucket]]:
        """Sorted by account, then bucket."""
        for _, book in sorted(self.accounts.items()):
            for _, bucket in sorted(book.buckets.items()):
                yield book, bucket

    def is_halted(self, scope: str, target: str, now_ms: int) -> bool:
        control = self.controls.get((scope, target))
        return control is not None and (control.expires_ms is None or now_ms < control.expires_ms)

    def is_instrument_halted(self, instrument: str, now_ms: int) -> bool:
        spec = self.specs.get(instrument)
        return (spec is not None and spec.status == "halted") or self.is_halted("instrument", instrument, now_ms)

    def limits(self, price_id: str) -> Limits:
        """The instrument's own, else the strictest of the collateral that is priced by it."""
        spec = self.specs.get(price_id)
        priced = [record for record in self.collateral.values() if record.price_instrument == price_id]
        age = None if spec is None else spec.max_age_ms
        move = None if spec is None else spec.max_move
        if age is None:
            age = min((record.max_age_ms for record in priced if record.max_age_ms is not None), default=None)
        if move is None:
            move = min((record.max_move for record in priced if record.max_move is not None), default=None)
        return Limits(age, move, spec is not None and spec.is_option)

    def risk_parameters(self, instrument: str, now_ms: int) -> RiskParameters | None:
        """The record in force: of those that have taken effect the one that did so last, of equal ones the one read last."""
        in_force = [record for record in self.risk.get(instrument, []) if record.effective_ms <= now_ms]
        return max(reversed(in_force), key=lambda record: record.effective_ms, default=None)
