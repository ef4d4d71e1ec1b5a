"""What `/metrics` says: all counters from the start, durations in the right buckets, gates without leftovers."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from services.adapters.latency import Latency
from services.adapters.metric_catalogue import CATALOGUE, RISK
from services.adapters.metrics import Metrics, Reading

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: Metrics) -> Samples:
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def test_every_series_whose_labels_are_known_exists_from_the_start() -> None:
    """Without, the first order or alarm of a kind would be no increase for Prometheus."""
    found = samples(Metrics())
    read_elsewhere = {"duplicate_records", "skipped_prices", "void_orders", "newly_liquidatable_notional"}
    for entry in CATALOGUE:
        if entry.kind != "counter" or entry.name in read_elsewhere or entry.section == RISK:
            continue
        for values in entry.combinations():
            assert found[entry.exposed, frozenset(zip(entry.labels, values, strict=True))] == 0


def test_many_equal_observations_are_counted_each() -> None:
    metrics = Metrics()
    metrics.evaluated(0.1, 500)
    metrics.evaluated(0.100001, 20)
    metrics.evaluated(60, 1)
    name = "ringfence_mark_evaluation_seconds"
    counts = [value(metrics, f"{name}_bucket", le=le) for le in ("0.05", "0.1", "0.25", "10.0", "+Inf")]
    assert counts == [0, 500, 520, 520, 521]
    assert value(metrics, f"{name}_count") == 521
    assert round(value(metrics, f"{name}_sum"), 3) == 112


def test_a_latency_may_be_registered_once() -> None:
    (family,) = Latency("x_seconds", "X", (1.0,)).describe()
    assert (family.name, family.type) == ("x_seconds", "histogram")


def test_reasons_that_no_longer_hold_leave_no_series() -> None:
    metrics = Metrics()
    metrics.gate(3, frozenset({"claim", "recovering"}))
    assert value(metrics, "ringfence_gate_open", partition="3") == 0
    metrics.gate(3, frozenset({"claim"}))
    reasons = [labels for name, labels in samples(metrics) if name == "ringfence_gate_shut_reason"]
    assert reasons == [frozenset({("partition", "3"), ("reason", "claim")})]
    metrics.dropped(3)
    assert not [name for name, _ in samples(metrics) if name.startswith("ringfence_gate")]


def test_readings_are_typed_by_the_catalogue() -> None:
    metrics = Metrics()
    metrics.add_gauges(lambda: [Reading("void_orders", {(): 3}), Reading("marks", {("stale",): 2})])
    assert value(metrics, "ringfence_void_orders_total") == 3
    assert value(metrics, "ringfence_marks", grade="stale") == 2
    assert "# TYPE ringfence_void_orders_total counter" in metrics.text().decode()


def test_what_runs_is_told() -> None:
    (labels,) = [labels for name, labels in samples(Metrics()) if name == "ringfence_build_info"]
    assert {key for key, _ in labels} == {"version", "python"}
