"""What must be true, recomputed from the topics alone by a fold that shares nothing with the engine but the message types.

Linear contracts, one flat tier, one currency: small enough to be obviously right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.contracts.codec import decode
from services.contracts.decimals import ONE, parse, to_text
from services.contracts.identifiers import order_id as id_of_order
from services.contracts.messages import TERMINAL, Claim, Fill, Message, Order, OrderEvent, Price, Transfer
from services.contracts.records import Record
from services.contracts.refusals import Refusal
from services.engine.rows import BucketRow, decode_row
from tests.simulation.venue import MAINTENANCE, ORDERS

TAG_BYTES = 16
Key = tuple[str, str, str]  # account, bucket, asset or instrument
FOLDED = ("fills", "transfers", "order-events", ORDERS)


class Violation(Exception):
    """A promise was broken; the text says which one, and where."""


def promise(kept: bool, text: str) -> None:
    if not kept:
        raise Violation(text)


@dataclass
class OrderState:
    """A valid order, as the topics tell."""

    order: Order
    filled: int = 0
    reported: int = 0
    terminal: bool = False

    @property
    def settled(self) -> bool:
        reserved = max(0, (self.reported if self.terminal else parse(self.order.quantity)) - self.filled)
        return not reserved and (self.terminal or self.filled > 0)


class Logs(Protocol):
    """What a broker holds; an offset is a place in the sequence."""

    def log(self, topic: str, partition: int, /) -> Sequence[Record]: ...


class Messages:
    """Each record decoded once."""

    def __init__(self, broker: Logs) -> None:
        self.broker = broker
        self._decoded: dict[tuple[str, int], list[Message | Refusal]] = {}

    def read(self, topic: str, partition: int, first: int, end: int) -> Iterator[tuple[Record, Message | Refusal]]:
        log = self.broker.log(topic, partition)
        known = self._decoded.setdefault((topic, partition), [])
        while len(known) < min(end, len(log)):
            known.append(decode(topic, log[len(known)].value))
        for offset in range(first, min(end, len(log))):
            yield log[offset], known[offset]


@dataclass
class Fold:
    """State of one partition after some offsets of each topic. Every id counts once."""

    messages: Messages
    partition: int
    account: str | None = None  # of one account only
    at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FOLDED, 0))
    balances: dict[Key, int] = field(default_factory=dict)
    positions: dict[Key, int] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    epoch: int = -1
    orders: dict[str, OrderState] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)
    events: dict[str, tuple[int, bool]] = field(default_factory=dict)
    attempts: dict[Key, int] = field(default_factory=dict)
    answered: dict[Key, int] = field(default_factory=dict)  # the highest attempt that an event was read of

    def advance(self, vector: Mapping[str, int]) -> Fold:
        for topic in FOLDED:
            for record, message in self.messages.read(topic, self.partition, self.at[topic], vector.get(topic, 0)):
                self._fold(record, message)
            self.at[topic] = max(self.at[topic], vector.get(topic, 0))
        for order_id, state in self.orders.items():
            state.filled = self.filled.get(order_id, 0)
            state.reported, state.terminal = self.events.get(order_id, (0, False))
        return self

    def _fold(self, record: Record, message: Message | Refusal) -> None:
        if isinstance(message, Claim):
            self.epoch = record.offset
            return
        if isinstance(message, Refusal) or (
            self.account is not None and getattr(message, "account", "") != self.account
        ):
            return
        if isinstance(message, Fill):
            self._fold_fill(message)
        elif isinstance(message, Transfer):
            if message.transfer_id not in self.ids:
                self.ids.add(message.transfer_id)
                _add(
                    self.balances,
                    (message.account, message.bucket or "main", message.asset),
                    parse_signed(message.amount),
                )
        elif isinstance(message, OrderEvent):
            reported, terminal = self.events.get(message.order_id, (0, False))
            self.events[message.order_id] = (
                max(reported, parse(message.filled_quantity or "0")),
                terminal or message.status in TERMINAL,
            )
            self._note(message.account, message.bucket, message.instrument, message.attempt)
            key = (message.account, message.bucket, message.instrument)
            self.answered[key] = max(message.attempt, self.answered.get(key, 0))
        elif isinstance(message, Order) and message.epoch == self.epoch:
            self.orders[message.order_id] = OrderState(message)
            self._note(message.account, message.bucket, message.instrument, message.attempt)

    def _fold_fill(self, fill: Fill) -> None:
        if fill.fill_id in self.ids:
            return
        self.ids.add(fill.fill_id)
        signed = parse(fill.quantity) * (1 if fill.side == "buy" else -1)
        bucket = fill.bucket or "main"
        _add(self.positions, (fill.account, bucket, fill.instrument), signed)
        cash = -signed * parse(fill.price) // ONE
        _add(self.balances, (fill.account, bucket, "USDT"), cash - parse_signed(fill.fee or "0"))
        if fill.order_id is not None:
            self.filled[fill.order_id] = self.filled.get(fill.order_id, 0) + parse(fill.quantity)

    def _note(self, account: str, bucket: str, instrument: str, attempt: int) -> None:
        key = (account, bucket, instrument)
        self.attempts[key] = max(attempt, self.attempts.get(key, 0))

    def equity(self, account: str, bucket: str, marks: Mapping[str, int]) -> tuple[int, int]:
        """Equity (rounded down) and maintenance margin (rounded up), e18."""
        equity, margin = self.balances.get((account, bucket, "USDT"), 0) * ONE, 0
        for (name, place, instrument), quantity in self.positions.items():
            if (name, place) == (account, bucket):
                equity += quantity * marks[instrument]
                margin += abs(quantity) * marks[instrument] * parse(MAINTENANCE)
        return equity // ONE, -(-margin // ONE**2)

    def buckets(self) -> list[tuple[str, str]]:
        return sorted({key[:2] for key in (*self.balances, *self.positions)})


def check_rows(fold: Fold, rows: Mapping[bytes, bytes], skip: frozenset[bytes] = frozenset()) -> None:
    """The stored rows are the fold of the stored offsets: ledger, open orders, attempts (I1)."""
    found: dict[tuple[str, str], BucketRow] = {}
    for name, sealed in rows.items():
        account, _, bucket = name.decode().partition("|")
        if bucket and name not in skip:
            row = decode_row(sealed[TAG_BYTES:])
            assert isinstance(row, BucketRow)
            found[account, bucket] = row
    balances: dict[Key, int] = {}
    positions: dict[Key, int] = {}
    for place, row in found.items():
        balances |= {(*place, asset): parse(text) for asset, text in row.balances.items()}
        positions |= {(*place, key.rpartition("|")[0]): parse(held[0]) for key, held in row.positions.items()}
        _check_orders(fold, place, row)
    skipped = {tuple(name.decode().split("|")) for name in skip}
    _check_same("balance", fold.balances, balances, skipped, fold.at)
    _check_same("position", fold.positions, positions, skipped, fold.at)
    for order_id, state in fold.orders.items():
        place = (state.order.account, state.order.bucket)
        # Of an order that is over, only fills may be missing that its event promised: a row that was folded from events out of
        # order before the orders themselves may have forgotten those (the ledger has not). Nor is an order taken up whose successor
        # was answered: it was over when that was decided, and what says so is read before anything is decided.
        is_over = (
            state.settled
            or state.terminal
            or state.order.attempt < fold.answered.get((*place, state.order.instrument), 0)
        )
        if not is_over and place not in skipped:
            promise(
                place in found and order_id in found[place].orders,
                f"open order {order_id} of {place} is not in its row at {fold.at}",
            )


def _check_orders(fold: Fold, place: tuple[str, str], row: BucketRow) -> None:
    for order_id, order in row.orders.items():
        promise(
            not order.confirmed or order_id in fold.orders,
            f"order {order_id} of {place} is stored as issued, the log has it not at {fold.at}",
        )
    expected = {key[2]: attempt for key, attempt in fold.attempts.items() if key[:2] == place}
    promise(
        row.attempts == expected, f"attempts of {place}: {row.attempts} stored, {expected} in the topics at {fold.at}"
    )


def _check_same(
    what: str,
    expected: Mapping[Key, int],
    found: Mapping[Key, int],
    skipped: set[tuple[str, ...]],
    at: Mapping[str, int],
) -> None:
    for key in sorted(expected.keys() | found.keys()):
        if key[:2] not in skipped and expected.get(key, 0) != found.get(key, 0):
            want, have = to_text(expected.get(key, 0)), to_text(found.get(key, 0))
            raise Violation(f"{what} of {key}: stored {have}, the topics say {want} at {dict(at)}")


def valid_orders(messages: Messages, partition: int) -> Iterator[tuple[Record, Order]]:
    """Those that count: of the latest claim before them."""
    epoch = -1
    for record, message in messages.read(ORDERS, partition, 0, 1 << 60):
        if isinstance(message, Claim):
            epoch = record.offset
        elif isinstance(message, Order) and message.epoch == epoch:
            yield record, message


def check_orders(messages: Messages, partition: int) -> int:
    """Each valid order is justified by its own evidence; one open order at a time; ids are what they must be (I3, I4, I6)."""
    count = 0
    checked: set[tuple[str, str]] = set()
    for record, order in valid_orders(messages, partition):
        count += 1
        evidence = (order.order_id, repr(order.evidence))
        if evidence not in checked:
            checked.add(evidence)
            check_order(messages, partition, record, order)
    return count


def check_order(messages: Messages, partition: int, record: Record, order: Order) -> None:
    name = f"order {order.order_id} at {ORDERS}[{partition}]@{record.offset}"
    right_id = id_of_order(order.account, order.bucket, order.instrument, order.attempt)
    promise(order.order_id == right_id, f"{name}: its id is not the hash of account, bucket, instrument and attempt")
    seen = order.evidence
    places = {
        "fills": seen.fills,
        "transfers": seen.transfers,
        "order-events": seen.order_events,
        ORDERS: seen.liquidation_orders,
    }
    vector = {topic: place[1] + 1 for topic, place in places.items() if place is not None}
    fold = Fold(messages, partition, account=order.account).advance(vector)
    marks = {}
    for instrument, place in (seen.prices or {}).items():
        message = next(messages.read("prices", place[0], place[1], place[1] + 1))[1]
        assert isinstance(message, Price)
        marks[instrument] = parse(message.mark_price or "0")
    equity, margin = fold.equity(order.account, order.bucket, marks)
    told = f"equity {order.equity}, margin {order.maintenance_margin}"
    promise(
        abs(equity - parse_signed(order.equity)) <= 1, f"{name}: {told}, its evidence says equity {to_text(equity)}"
    )
    promise(equity < margin or equity < 0, f"{name}: {told}: not liquidatable by its own evidence")
    held = fold.positions.get((order.account, order.bucket, order.instrument), 0)
    promise(parse(order.quantity) <= abs(held), f"{name}: closes {order.quantity} of {to_text(held)}")
    for earlier in fold.orders.values():
        same = (earlier.order.bucket, earlier.order.instrument) == (order.bucket, order.instrument)
        if same and earlier.order.order_id != order.order_id:
            promise(earlier.settled or earlier.terminal, f"{name}: order {earlier.order.order_id} is still open")
    epoch = messages.broker.log(ORDERS, partition)[order.epoch]
    if not _is_takeover(messages, partition, order.epoch):
        return
    for topic in ("fills", "transfers", "order-events"):
        for each, message in messages.read(topic, partition, vector.get(topic, 0), 1 << 60):
            if each.timestamp_ms < epoch.timestamp_ms and getattr(message, "account", None) == order.account:
                raise Violation(f"{name}: {topic}@{each.offset} lay there before its claim and was not read")


def _is_takeover(messages: Messages, partition: int, epoch: int) -> bool:
    """Whether the claim at `epoch` is of another process than the one before: who claims again has read on all the time."""
    claims = [
        message.nonce.rpartition("-")[0]
        for _, message in messages.read(ORDERS, partition, 0, epoch + 1)
        if isinstance(message, Claim)
    ]
    return len(claims) < 2 or claims[-1] != claims[-2]


def _add(amounts: dict[Key, int], key: Key, amount: int) -> None:
    total = amounts.get(key, 0) + amount
    if total:
        amounts[key] = total
    else:
        amounts.pop(key, None)


def parse_signed(text: str) -> int:
    return -parse(text[1:]) if text.startswith("-") else parse(text)
