"""What a PromQL expression speaks of, as far as names go."""

from __future__ import annotations

import re
from collections.abc import Iterator

from services.adapters.metric_catalogue import BY_NAME, PREFIX, series

OURS = re.compile(r"\b(?:ringfence_\w+|process_\w+)\b")
RECORDED = re.compile(r"\bringfence:\w+:\w+\b")
SELECTOR = re.compile(r"\b(ringfence_\w+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
FROM_SCRAPING = {"job", "instance", "le"}


def unknown_names(expr: str, recorded: set[str]) -> set[str]:
    """Metrics that nobody exports, and recordings that no rule makes."""
    return (set(OURS.findall(expr)) - series()) | (set(RECORDED.findall(expr)) - recorded)


def wrong_matchers(expr: str) -> Iterator[str]:
    """Labels that a metric does not have, and values that its label cannot have."""
    for metric, inside in SELECTOR.findall(expr):
        entry = BY_NAME[re.sub(r"_(total|bucket|sum|count)$", "", metric.removeprefix(PREFIX))]
        for label, operator, value in MATCHER.findall(inside):
            if label in FROM_SCRAPING:
                continue
            if label not in entry.labels:
                yield f"{metric} has no label {label}"
                continue
            known = entry.values_of(label)
            wanted = value.split("|") if operator in ("=~", "!~") else [value]
            if not isinstance(known, str) and not value.startswith("$"):
                yield from (f"{metric}: {label} is never {each}" for each in wanted if each not in known)
