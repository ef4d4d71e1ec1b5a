"""Accounts and buckets: the state that records fold into. Amounts and quantities are e18, open costs 1e-54."""

from typing import Any, Final

from msgspec import Struct, field

COST_PLACES: Final = 54
BucketKey = tuple[str, str]  # account, bucket
PositionKey = tuple[str, str]  # instrument, position side ("net", "long", "short")


class Position(Struct):
    """A signed quantity, and beside it what it cost: for the entry price that people see."""

    quantity: int
    open_cost: int


class OpenOrder(Struct):
    """A liquidation order of ours that may still act. `filled` counts fills that carry its id, `reported` its events."""

    order_id: str
    instrument: str
    position_side: str
    side: str
    quantity: int
    limit_price: int
    stage: str
    attempt: int
    issued_ms: int
    valid_until_ms: int
    filled: int = 0
    reported: int = 0
    terminal: bool = False
    confirmed: bool = False  # read back from the topic: only then is it an issued order
    resends: int = 0
    content: Any = None  # the Order message while it may have to be sent again

    @property
    def is_open(self) -> bool:
        """Whether the order itself is known, and not only a fill or an event that speaks of it, and is not over."""
        return self.quantity > 0 and not self.is_over

    @property
    def is_over(self) -> bool:
        """Issued, reserving nothing, and ended: by a terminal event, or because all of it was filled."""
        return self.confirmed and not self.reserved and (self.terminal or self.filled > 0)

    @property
    def is_recorded(self) -> bool:
        """Whether a record speaks of it: the order itself, a fill or an event. If not, only we know of it."""
        return self.confirmed or self.terminal or bool(self.filled or self.reported)

    @property
    def reserved(self) -> int:
        """The quantity that may still be filled: all of it until a terminal event says what was not."""
        if self.terminal and self.stage == "convert":
            return 0  # a conversion comes back as transfers, which carry no order id
        return max(0, (self.reported if self.terminal else self.quantity) - self.filled)


class Doubt(Struct, frozen=True):
    """Why a bucket's ledger may be wrong. `alternative` is the other reading's change of the ledger, None if unknown."""

    name: str
    topic: str
    offset: int
    alternative: tuple[tuple[str, str, int], ...] | None = (
        None  # ("balance", asset, amount), ("position", "ID|side", quantity)
    )


class Bucket(Struct):
    """One ring-fenced balance."""

    name: str
    balances: dict[str, int] = field(default_factory=dict)
    locked: dict[str, int] = field(default_factory=dict)
    positions: dict[PositionKey, Position] = field(default_factory=dict)
    status: str = "closed"
    attempts: dict[str, int] = field(default_factory=dict)
    orders: dict[str, OpenOrder] = field(default_factory=dict)
    doubts: dict[str, Doubt] = field(default_factory=dict)
    # instrument -> (attempt, time) of this distress's orders since the last one that was wholly filled
    tries: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    defaulted: bool = False  # an order that was read back fixed the deficit of this distress

    def credit(self, asset: str, amount: int) -> None:
        _add(self.balances, asset, amount)

    def lock(self, asset: str, amount: int) -> None:
        _add(self.locked, asset, amount)

    @property
    def is_flat(self) -> bool:
        return not (self.balances or self.locked or self.positions)


def _add(amounts: dict[str, int], asset: str, amount: int) -> None:
    total = amounts.get(asset, 0) + amount
    if total:
        amounts[asset] = total
    else:
        amounts.pop(asset, None)


class Account(Struct):
    """A client's margin account. Until its record is read it is provisional: nothing of it is liquidated."""

    account: str
    partition: int
    known: bool = False
    provisional: bool = False
    client: str = ""
    segregation: str = "client"
    margin_mode: str = "cross"
    margin_preset: str | None = None
    valuation_asset: str | None = None
    first_seen_ms: int = 0
    buckets: dict[str, Bucket] = field(default_factory=dict)
    recent: dict[str, dict[str, int]] = field(
        default_factory=dict
    )  # topic -> id -> digest of the content, oldest first
    parked: list[Any] = field(default_factory=list)  # fills that wait for their account or instrument
    sequences: list[list[int]] = field(default_factory=list)  # runs [first, last] of account sequences, ascending
    sequence_gap_since_ms: int | None = None
    time_ms: int = 0  # the newest timestamp of its own records
    touched_ms: int | None = None  # the last record that makes it unsettled
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)  # topic -> partition, offset

    def bucket(self, name: str) -> Bucket:
        found = self.buckets.get(name)
        if found is None:
            found = self.buckets[name] = Bucket(name)
        return found

    @property
    def has_gap(self) -> bool:
        return len(self.sequences) > 1
