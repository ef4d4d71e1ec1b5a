"""State as bytes: the rows of the Redis tables, and the canonical text that the state hash is taken over."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from hashlib import blake2b
from typing import Any, Final

import msgspec

from services.contracts.decimals import parse, to_text
from services.contracts.messages import Fill, Order
from services.engine.state import COST_PLACES, Account, Bucket, Doubt, OpenOrder, Position

VERSION: Final = 2
ACCOUNT_SUFFIX: Final = "|"

Amounts = dict[str, str]
# A million accounts at rest each name the topics that they were read from.
CODES: Final = {
    "accounts": "a", "fills": "f", "transfers": "t", "order-events": "e", "liquidation-orders": "o", "account-statements": "s",
}  # fmt: skip
TOPICS: Final = {code: topic for topic, code in CODES.items()}


class OrderRow(msgspec.Struct, frozen=True, array_like=True):
    """An issued order; amounts as decimal text."""

    instrument: str
    position_side: str
    side: str
    quantity: str
    limit_price: str
    filled: str
    reported: str
    terminal: bool
    attempt: int
    stage: str
    issued_ms: int
    valid_until_ms: int
    resends: int
    confirmed: bool
    content: Order | None


class DoubtRow(msgspec.Struct, frozen=True, array_like=True):
    """A doubt; the amounts of its other reading as decimal text."""

    name: str
    topic: str
    offset: int
    alternative: tuple[tuple[str, str, str], ...] | None


class BucketRow(msgspec.Struct, frozen=True, array_like=True, tag="b", gc=False):
    """One bucket; amounts as decimal text, positions "INSTRUMENT|side" -> [quantity, open cost]."""

    version: int
    balances: Amounts
    locked: Amounts
    positions: dict[str, tuple[str, str]]
    status: str
    attempts: dict[str, int]
    orders: dict[str, OrderRow]
    doubts: dict[str, DoubtRow]
    tries: dict[str, list[tuple[int, int]]]
    defaulted: bool


class AccountRow(msgspec.Struct, frozen=True, array_like=True, tag="a", gc=False):
    """What is kept of an account beside its buckets; `recent` and `seen` by the codes of their topics."""

    version: int
    known: bool
    provisional: bool
    client: str
    segregation: str
    margin_mode: str
    margin_preset: str | None
    valuation_asset: str | None
    first_seen_ms: int
    recent: dict[str, dict[str, int]]
    parked: list[tuple[Fill, int]]
    sequences: list[list[int]]
    sequence_gap_since_ms: int | None
    time_ms: int
    touched_ms: int | None
    seen: dict[str, tuple[int, int]]

    @property
    def last_read(self) -> dict[str, tuple[int, int]]:
        """Topic -> partition and offset of the record that was read last."""
        return {TOPICS.get(code, code): place for code, place in self.seen.items()}


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(BucketRow | AccountRow)


def bucket_field(account: str, bucket: str) -> str:
    return f"{account}|{bucket}"


def bucket_row(bucket: Bucket) -> BucketRow:
    """The bucket's row. What only we know of, an order not yet read back from the topic, is left out."""
    orders = {order_id: _order_row(order) for order_id, order in bucket.orders.items() if order.is_recorded}
    return BucketRow(
        VERSION, _texts(bucket.balances), _texts(bucket.locked), _position_texts(bucket), bucket.status, bucket.attempts,
        orders, {key: _doubt_row(doubt) for key, doubt in bucket.doubts.items()}, bucket.tries, bucket.defaulted,
    )  # fmt: skip


def account_row(account: Account) -> AccountRow:
    return AccountRow(
        VERSION, account.known, account.provisional, account.client, account.segregation, account.margin_mode, account.margin_preset,
        account.valuation_asset, account.first_seen_ms, {CODES.get(topic, topic): ids for topic, ids in account.recent.items()}, account.parked,
        account.sequences, account.sequence_gap_since_ms, account.time_ms,
        account.touched_ms, {CODES.get(topic, topic): place for topic, place in account.seen.items()},
    )  # fmt: skip


def encode_bucket(bucket: Bucket) -> bytes:
    return _encoder.encode(bucket_row(bucket))


def encode_account(account: Account) -> bytes:
    return _encoder.encode(account_row(account))


def decode_row(raw: bytes) -> BucketRow | AccountRow:
    """A stored row; raises msgspec.DecodeError on bytes that are none, ValueError on another version."""
    row: BucketRow | AccountRow = _decoder.decode(raw)
    check_versions({row.version})
    return row


def check_versions(found: AbstractSet[int]) -> None:
    """Raise ValueError if rows are of another version than this build writes."""
    if found - {VERSION}:
        versions = ", ".join(map(str, sorted(found - {VERSION})))
        raise ValueError(f"row of version {versions}, this build reads {VERSION}: replay the topics instead")


def restore_account(account: Account, row: AccountRow) -> None:
    for name in AccountRow.__struct_fields__:
        if name != "version":
            setattr(account, name, getattr(row, name))
    account.recent = {TOPICS.get(code, code): ids for code, ids in row.recent.items()}
    account.seen = row.last_read


def restore_bucket(name: str, row: BucketRow) -> Bucket:
    positions = {}
    for key, (quantity, cost) in row.positions.items():
        instrument, _, side = key.rpartition("|")
        positions[(instrument, side)] = Position(parse(quantity), parse_cost(cost))
    return Bucket(
        name, _numbers(row.balances), _numbers(row.locked), positions, row.status, dict(row.attempts),
        {order_id: _order(order_id, order) for order_id, order in row.orders.items()},
        {key: _doubt(doubt) for key, doubt in row.doubts.items()}, dict(row.tries), row.defaulted,
    )  # fmt: skip


def state_hash(accounts: Iterable[Account]) -> str:
    """BLAKE2b-256 over the canonical line of every bucket, sorted by account and bucket (cli.md "state_hash")."""
    lines = [(account.account, bucket.name, bucket) for account in accounts for bucket in account.buckets.values()]
    digest = blake2b(digest_size=32)
    for account, _, bucket in sorted(lines, key=lambda line: line[:2]):
        digest.update(canonical_line(account, bucket))
    return digest.hexdigest()


def canonical_line(account: str, bucket: Bucket) -> bytes:
    """Ledger, locks, open cost, status, attempts and open orders as one JSON line with sorted keys."""
    fields: dict[str, Any] = {
        "account": account,
        "attempts": bucket.attempts,
        "balances": _integers(bucket.balances),
        "bucket": bucket.name,
        "locked": _integers(bucket.locked),
        "open_orders": {
            order_id: _canonical_order(order) for order_id, order in bucket.orders.items() if order.is_open
        },
        "positions": {
            f"{key[0]}|{key[1]}": {"open_cost": str(held.open_cost), "quantity": str(held.quantity)}
            for key, held in bucket.positions.items()
        },
        "status": bucket.status,
    }
    return msgspec.json.encode(fields, order="sorted") + b"\n"


def _canonical_order(order: OpenOrder) -> dict[str, Any]:
    return {
        "attempt": order.attempt,
        "filled": str(order.filled),
        "instrument": order.instrument,
        "limit_price": str(order.limit_price),
        "position_side": order.position_side,
        "quantity": str(order.quantity),
        "reported": str(order.reported),
        "side": order.side,
        "stage": order.stage,
        "terminal": order.terminal,
    }


def parse_cost(text: str) -> int:
    """The 1e-54 integer of an open cost's decimal text."""
    whole, _, fraction = text.partition(".")
    unit: int = 10 ** (COST_PLACES - len(fraction))
    return int(whole + fraction) * unit


def _position_texts(bucket: Bucket) -> dict[str, tuple[str, str]]:
    return {
        f"{key[0]}|{key[1]}": (to_text(held.quantity), to_text(held.open_cost, COST_PLACES))
        for key, held in bucket.positions.items()
    }


def _order_row(order: OpenOrder) -> OrderRow:
    return OrderRow(
        order.instrument, order.position_side, order.side, to_text(order.quantity), to_text(order.limit_price), to_text(order.filled),
        to_text(order.reported), order.terminal, order.attempt, order.stage, order.issued_ms, order.valid_until_ms,
        order.resends, order.confirmed, order.content,
    )  # fmt: skip


def _order(order_id: str, row: OrderRow) -> OpenOrder:
    return OpenOrder(
        order_id, row.instrument, row.position_side, row.side, parse(row.quantity), parse(row.limit_price), row.stage,
        row.attempt, row.issued_ms, row.valid_until_ms, parse(row.filled), parse(row.reported), row.terminal,
        confirmed=row.confirmed, resends=row.resends, content=row.content,
    )  # fmt: skip


def _doubt_row(doubt: Doubt) -> DoubtRow:
    other = doubt.alternative
    texts = None if other is None else tuple((kind, subject, to_text(amount)) for kind, subject, amount in other)
    return DoubtRow(doubt.name, doubt.topic, doubt.offset, texts)


def _doubt(row: DoubtRow) -> Doubt:
    other = row.alternative
    amounts = None if other is None else tuple((kind, subject, parse(amount)) for kind, subject, amount in other)
    return Doubt(row.name, row.topic, row.offset, amounts)


def _texts(amounts: dict[str, int]) -> Amounts:
    return {name: to_text(amount) for name, amount in amounts.items()}


def _numbers(amounts: Amounts) -> dict[str, int]:
    return {name: parse(text) for name, text in amounts.items()}


def _integers(amounts: dict[str, int]) -> Amounts:
    return {name: str(amount) for name, amount in amounts.items()}
