"""Prometheus metrics of a worker. Counters are fed a batch at a time; gauges are read when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(frozen=True)
class Reading:
    """One gauge as it is now: label values, in the order of `labels`, to value."""

    name: str
    text: str
    labels: Sequence[str]
    values: Mapping[Sequence[str], float]


class Metrics:
    """`Meter` over prometheus-client, with its own registry."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there; drops a series a counter that nobody reads
        self.registry = CollectorRegistry()
        # Counters: prometheus-client appends `_total`.
        self._records = self._counter("records", "Records folded", "topic")
        self._refused = self._counter("refused_records", "Records refused, sent whole to dead-letters", "reason")
        self._alarms = self._counter("alarms", "Alarms by name", "name")
        self._orders = self._counter("orders", "Liquidation orders decided", "trigger", "stage")
        self._events = self._counter("worker_events", "What should be rare: holes, reloads, unknown sends", "event")
        self._gate = self._gauge("gate_open", "1 while the shard may decide", "partition")
        self._reasons = self._gauge(
            "gate_shut_reason", "1 while this reason keeps the gate shut", "partition", "reason"
        )
        self._decide = self._histogram(
            "decision_seconds", "From the arrival of a batch to its last effect being queued"
        )
        self._order = self._histogram(
            "order_seconds", "From the broker's time of the causing record to the order's acknowledgement"
        )
        self._flush = self._histogram("flush_seconds", "Duration of storing a shard")
        self._rows = self._counter("flushed_rows", "Rows stored", "partition")
        self._gap = self._histogram("loop_gap_seconds", "Pauses of the process that made it read the orders again")
        self._shown: dict[int, frozenset[str]] = {}

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"ringfence_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"ringfence_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"ringfence_{name}", text, buckets=LATENCY_BUCKETS, registry=self.registry)

    def records(self, topic: str, count: int) -> None:
        self._records.labels(topic).inc(count)

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def alarm(self, name: str) -> None:
        self._alarms.labels(name).inc()

    def order(self, trigger: str, stage: str) -> None:
        self._orders.labels(trigger, stage).inc()

    def decided(self, seconds: float) -> None:
        self._decide.observe(seconds)

    def acked(self, seconds: float) -> None:
        self._order.observe(seconds)

    def gate(self, partition: int, reasons: frozenset[str]) -> None:
        self._gate.labels(partition).set(not reasons)
        for gone in self._shown.get(partition, frozenset()) - reasons:
            self._reasons.remove(partition, str(gone))
        for reason in reasons:
            self._reasons.labels(partition, str(reason)).set(1)
        self._shown[partition] = reasons

    def dropped(self, partition: int) -> None:
        self.gate(partition, frozenset())
        self._gate.remove(partition)
        del self._shown[partition]

    def flushed(self, partition: int, rows: int, seconds: float) -> None:
        self._flush.observe(seconds)
        self._rows.labels(partition).inc(rows)

    def loop_gap(self, seconds: float) -> None:
        self._gap.observe(seconds)

    def event(self, name: str) -> None:
        self._events.labels(name).inc()

    def add_gauges(self, read: Callable[[], Iterable[Reading]]) -> None:
        """Gauges that are computed when asked for."""
        self.registry.register(_Gauges(read))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        for reading in self._read():
            family = GaugeMetricFamily(f"ringfence_{reading.name}", reading.text, labels=reading.labels)
            for key, value in reading.values.items():
                family.add_metric(key, value)
            yield family
