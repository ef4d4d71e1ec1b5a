"""What a replay is asked for by name. Light, so that the command line can show it without loading an engine."""

from enum import StrEnum


class EngineName(StrEnum):
    """`both` runs fast and reference in lockstep and stops at the first difference."""

    FAST = "fast"
    FULL_SCAN = "full-scan"
    REFERENCE = "reference"
    BOTH = "both"


class Matching(StrEnum):
    """Who answers the orders."""

    NEXT = "next"
    LIMIT = "limit"
    RECORDED = "recorded"
    NONE = "none"

    @property
    def is_synthetic(self) -> bool:
        return self in (Matching.NEXT, Matching.LIMIT)
