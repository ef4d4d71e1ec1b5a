"""The catalogue keeps Prometheus' rules, bounds every label, and is what the page says."""

from __future__ import annotations

import re

import pytest

from services.adapters.metric_catalogue import BOUNDS, BY_NAME, CATALOGUE, OWN_BOUNDS, Entry, page, series
from services.liquidator.shard import Reason
from tests.tidy.tree import ROOT, python_files

FORBIDDEN_LABELS = {"account", "bucket", "client", "order_id", "offset", "instance", "job", "le", "quantile"}
SHORT_UNITS = re.compile(r"_(ms|msec|millis|milliseconds|us|minutes|hours|kb|mb|gb|percent|pct)(_|$)")


def ids(entry: Entry) -> str:
    return entry.name


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(CATALOGUE)


@pytest.mark.parametrize("entry", CATALOGUE, ids=ids)
def test_names_follow_prometheus(entry: Entry) -> None:
    """Base units, `_total` on counters only, `_info` on what is always 1, `_seconds` on each histogram of durations."""
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", entry.name)
    assert not SHORT_UNITS.search(entry.name)
    assert not entry.name.endswith(("_total", "_count", "_sum", "_bucket"))
    assert (entry.kind == "info") == entry.name.endswith("_info")
    assert entry.kind != "histogram" or entry.name.endswith("_seconds")
    assert entry.name.endswith("_seconds") == (entry.unit == "seconds")
    assert entry.text
    assert entry.shows


@pytest.mark.parametrize("entry", CATALOGUE, ids=ids)
def test_every_label_is_bounded_and_none_names_an_account(entry: Entry) -> None:
    assert not FORBIDDEN_LABELS & set(entry.labels)
    assert all(entry.values_of(label) for label in entry.labels)
    assert len(list(entry.combinations())) <= 100


@pytest.mark.parametrize(("name", "objective"), [("mark_evaluation_seconds", 0.1), ("order_ack_seconds", 0.25)])
def test_the_bound_of_each_objective_is_the_edge_of_a_histogram_bucket(name: str, objective: float) -> None:
    assert objective in BY_NAME[name].times


def test_the_reasons_of_a_gate_are_those_of_the_worker() -> None:
    assert OWN_BOUNDS["gate_shut_reason", "reason"] == tuple(str(reason) for reason in Reason)


def said_in_code(pattern: str) -> set[str]:
    return {name for path in python_files("services") for name in re.findall(pattern, path.read_text())}


def test_events_and_alarms_of_the_code_have_a_series_from_the_start() -> None:
    events, alarms = BOUNDS["event"], BOUNDS["name"]
    assert said_in_code(r'meter\.event\(\s*"(\w+)"') <= set(events)
    assert said_in_code(r'\.sound\(\s*"(\w+)"') <= set(alarms)


def test_bounds_are_given_for_labels_that_exist() -> None:
    used = {label for entry in CATALOGUE for label in entry.labels}
    assert set(BOUNDS) | {label for _, label in OWN_BOUNDS} == used
    assert all(label in BY_NAME[name].labels for name, label in OWN_BOUNDS)


def test_a_query_names_histograms_by_their_parts_and_counters_by_their_total() -> None:
    assert {"ringfence_orders_total", "ringfence_order_ack_seconds_bucket", "ringfence_negative_buckets"} <= series()
    assert not {"ringfence_orders", "ringfence_order_ack_seconds"} & series()


def test_the_page_is_not_stale() -> None:
    assert (ROOT / "deploy" / "metrics.md").read_text() == page(), "run: ringfence config metrics > deploy/metrics.md"
