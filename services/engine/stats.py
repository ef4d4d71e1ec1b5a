"""What an engine tells of itself, for metrics."""

from collections import Counter

import msgspec


class MarkInUse(msgspec.Struct, frozen=True, kw_only=True):
    """Source time (-1: no tick was accepted yet), grade, and how many buckets depend on it."""

    ts_ms: int
    grade: str
    buckets: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the start, for metrics."""

    records: Counter[str]
    refused: Counter[str]
    duplicates: int
    skipped_prices: int
    void_orders: int
    newly_liquidatable: Counter[str]  # by instrument: notional that steps of its multiplier made liquidatable, e18
