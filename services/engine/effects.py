"""What goes out of the engine. An effect is a value; carrying it out is the shell's job."""

from enum import StrEnum

from msgspec import Struct

from services.contracts.messages import Message
from services.contracts.records import Record
from services.contracts.refusals import Refusal


class Cause(Struct, frozen=True):
    """The record that made an effect due; topic "timer", partition 0 and the time in milliseconds for a timer."""

    topic: str
    partition: int
    offset: int


class Emit(Struct, frozen=True, kw_only=True):
    """A message to append to `topic` under `key`, in `partition` (None: the producer's choice by key)."""

    cause: Cause
    topic: str
    key: str
    partition: int | None
    message: Message


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A refused record, to be sent whole to `dead-letters` with the refusal in its headers."""

    cause: Cause
    record: Record
    refusal: Refusal


class AlarmName(StrEnum):
    """Named conditions that a person must see. The names are public: metrics and logs carry them."""

    BUCKET_DIRTY = "bucket_dirty"
    BUCKET_INCOMPLETE = "bucket_incomplete"
    PRICE_UNCONFIRMED = "price_unconfirmed"
    PRICE_ACCEPTED_UNCONFIRMED = "price_accepted_unconfirmed"
    PRICE_FROM_FUTURE = "price_from_future"
    SEQUENCE_GAP = "sequence_gap"
    ORDER_UNANSWERED = "order_unanswered"
    RESERVE_UNFILLED = "reserve_unfilled"
    LOCKED_WITHDRAWN = "locked_withdrawn"  # encumbered collateral was withdrawn or moved
    CLASSES_MIXED = "classes_mixed"  # a transfer between a client's and a house account
    STATEMENT_DIFFERS = "statement_differs"
    CANNOT_PAY_OWN_CLOSE = "cannot_pay_own_close"


class Alarm(Struct, frozen=True, kw_only=True):
    """A named condition with its subject ("" where none) and a bounded, printable detail."""

    cause: Cause
    name: AlarmName
    account: str
    bucket: str
    instrument: str
    detail: str
    ts_ms: int


Effect = Emit | DeadLetter | Alarm
