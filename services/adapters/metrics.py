"""Prometheus metrics of a process, as the catalogue names them. Counters are fed a batch at a time; gauges are read when asked for."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.adapters.latency import Latency
from services.adapters.metric_catalogue import BY_NAME, PREFIX


@dataclass(frozen=True)
class Reading:
    """One gauge or counter of the catalogue as it is now: label values, in the order of its labels, to value."""

    name: str
    values: Mapping[Sequence[str], float]


class Metrics:
    """`Meter` over prometheus-client, with its own registry."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped there; drops a series a counter that nobody reads
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._gauge("build_info").labels(version("ringfence"), platform.python_version()).set(1)
        self._records = self._counter("records")
        self._refused = self._counter("refused_records")
        self._alarms = self._counter("alarms")
        self._orders = self._counter("orders")
        self._deficit = self._counter("deficit")
        self._events = self._counter("worker_events")
        self._gate = self._gauge("gate_open")
        self._reasons = self._gauge("gate_shut_reason")
        self._evaluation = self._latency("mark_evaluation_seconds")
        self._decide = self._latency("decision_seconds")
        self._order_decision = self._latency("order_decision_seconds")
        self._order_ack = self._latency("order_ack_seconds")
        self._flush = self._latency("flush_seconds")
        self._rows = self._counter("flushed_rows")
        self._gap = self._latency("loop_gap_seconds")
        self._delay = self._latency("loop_delay_seconds")
        self._shown: dict[int, frozenset[str]] = {}

    def _counter(self, name: str) -> Counter:
        entry = BY_NAME[name]
        counter = Counter(f"{PREFIX}{name}", entry.text, entry.labels, registry=self.registry)
        for values in entry.combinations() if entry.labels else ():
            counter.labels(*values)
        return counter

    def _gauge(self, name: str) -> Gauge:
        entry = BY_NAME[name]
        return Gauge(f"{PREFIX}{name}", entry.text, entry.labels, registry=self.registry)

    def _latency(self, name: str) -> Latency:
        entry = BY_NAME[name]
        latency = Latency(f"{PREFIX}{name}", entry.text, entry.times)
        self.registry.register(latency)
        return latency

    def records(self, topic: str, count: int) -> None:
        self._records.labels(topic).inc(count)

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def alarm(self, name: str) -> None:
        self._alarms.labels(name).inc()

    def order(self, trigger: str, stage: str, seconds: float, count: int) -> None:
        self._orders.labels(trigger, stage).inc(count)
        self._order_decision.observe(seconds, count)

    def deficit(self, asset: str, amount: float) -> None:
        self._deficit.labels(asset).inc(amount)

    def evaluated(self, seconds: float, marks: int) -> None:
        self._evaluation.observe(seconds, marks)

    def decided(self, seconds: float) -> None:
        self._decide.observe(seconds)

    def acked(self, seconds: float, count: int) -> None:
        self._order_ack.observe(seconds, count)

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

    def loop_delay(self, seconds: float) -> None:
        self._delay.observe(seconds)

    def event(self, name: str) -> None:
        self._events.labels(name).inc()

    def add_gauges(self, read: Callable[[], Iterable[Reading]]) -> None:
        """What is computed when asked for."""
        self.registry.register(_Readings(read))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _Readings(Collector):
    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        for reading in self._read():
            entry = BY_NAME[reading.name]
            make = CounterMetricFamily if entry.kind == "counter" else GaugeMetricFamily
            family = make(f"{PREFIX}{entry.name}", entry.text, labels=entry.labels)
            for key, value in reading.values.items():
                family.add_metric(key, value)
            yield family
