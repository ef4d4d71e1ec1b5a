"""Named reasons for which a record from outside is refused. The names are public: dead letters and metrics carry them."""

from enum import StrEnum

from msgspec import Struct


class Reason(StrEnum):
    """Why a record was not applied."""

    RECORD_TOO_LARGE = "record_too_large"
    INVALID_JSON = "invalid_json"
    DUPLICATE_KEY = "duplicate_key"
    INVALID_SCHEMA = "invalid_schema"
    OUT_OF_RANGE = "out_of_range"
    QUANTITY_NOT_POSITIVE = "quantity_not_positive"
    PRICE_NOT_POSITIVE = "price_not_positive"
    PRICE_MISSING = "price_missing"
    AMOUNT_NOT_POSITIVE = "amount_not_positive"
    MOVE_WITHOUT_TARGET = "move_without_target"
    TIERS_NOT_ASCENDING = "tiers_not_ascending"
    OPTION_INCOMPLETE = "option_incomplete"
    EXPIRY_MISSING = "expiry_missing"
    ID_CONFLICT = "id_conflict"
    WRONG_PARTITION = "wrong_partition"
    IMMUTABLE_CHANGED = "immutable_changed"
    PARKED_OVERFLOW = "parked_overflow"
    TOO_MANY_PRICES = "too_many_prices"
    UNKNOWN_TOPIC = "unknown_topic"


class Refusal(Struct, frozen=True):
    """The verdict on a record that cannot be applied: the name, and what exactly is wrong (bounded, printable)."""

    reason: Reason
    detail: str
