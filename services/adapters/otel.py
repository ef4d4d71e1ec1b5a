"""Traces of orders over OpenTelemetry (extra `otel`): receive, decide, publish; the order's record carries the context on.

Spans are made when an order is, with the times that were noted on the way; nothing happens for any other record. Names and attributes
follow OpenTelemetry's messaging conventions. Accounts, amounts and payloads stay out: a trace has other readers than the topics.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.adapters.clock import SystemClock
from services.adapters.ports import Clock, Headers
from services.adapters.tracing import TRACEPARENT, Arrived
from services.contracts.messages import Order

MS: Final = 1_000_000  # nanoseconds
OPEN_SPANS: Final = 10_000
EXPORT_S: Final = 2.0  # of one batch with its repeats: a collector that is away must not hold up the end of a worker
LONGEST: Final = 512  # bytes of a traceparent that are looked at: version 00 has 55
ORDERS: Final = "liquidation-orders"


class OtelTracing:
    """`Tracer` over an OpenTelemetry provider, which it shuts down at its close."""

    def __init__(self, provider: TracerProvider, clock: Clock) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("ringfence")
        self._clock = clock
        self._context = TraceContextTextMapPropagator()
        self._open: OrderedDict[str, Span] = OrderedDict()  # order id -> publish span

    def decided(self, order: Order, cause: Arrived) -> Headers:
        """Spans of what happened until now, and the one that the broker's answer ends."""
        now = self._clock.now_ms() * MS
        parent = self._received(cause)
        decide = self._tracer.start_span("decide", parent, start_time=(cause.arrived_ms or self._clock.now_ms()) * MS)
        decide.set_attributes({
            "ringfence.order_id": order.order_id, "ringfence.instrument": order.instrument, "ringfence.stage": order.stage,
            "ringfence.trigger": order.trigger, "ringfence.attempt": order.attempt, "ringfence.epoch": order.epoch,
        })  # fmt: skip
        decide.end(now)
        publish = self._tracer.start_span(
            f"send {ORDERS}", trace.set_span_in_context(decide), SpanKind.PRODUCER, start_time=now,
            attributes={
                "messaging.system": "kafka", "messaging.operation.type": "send", "messaging.destination.name": ORDERS,
                "ringfence.order_id": order.order_id,
            },
        )  # fmt: skip
        self._keep(order.order_id, publish)
        carrier: dict[str, str] = {}
        self._context.inject(carrier, trace.set_span_in_context(publish))
        return tuple((name, value.encode()) for name, value in carrier.items())

    def _received(self, cause: Arrived) -> Context:
        """The span of the causing record, as a child of the trace that the record belongs to, if it does to one."""
        parent = self._parent(cause.traceparent)
        if cause.timestamp_ms is None or cause.arrived_ms is None:
            return parent
        start = min(cause.timestamp_ms, cause.arrived_ms)
        span = self._tracer.start_span(
            f"receive {cause.topic}", parent, SpanKind.CONSUMER, start_time=start * MS,
            attributes={
                "messaging.system": "kafka", "messaging.operation.type": "receive",
                "messaging.destination.name": cause.topic, "messaging.destination.partition.id": str(cause.partition),
                "messaging.kafka.offset": cause.offset,
            },
        )  # fmt: skip
        span.end(cause.arrived_ms * MS)
        return trace.set_span_in_context(span)

    def _parent(self, traceparent: bytes | None) -> Context:
        """Never the ambient context. What is no W3C traceparent is ignored, as the recommendation says."""
        if traceparent is None or len(traceparent) > LONGEST:
            return Context()
        return self._context.extract({TRACEPARENT: traceparent.decode("ascii", errors="replace")}, Context())

    def _keep(self, order_id: str, span: Span) -> None:
        self.unknown(order_id)  # sent again: nobody waits for the first any more
        self._open[order_id] = span
        if len(self._open) > OPEN_SPANS:
            self.unknown(next(iter(self._open)))

    def acknowledged(self, order_id: str, offset: int) -> None:
        span = self._open.pop(order_id, None)
        if span is not None:
            span.set_attribute("messaging.kafka.offset", offset)
            span.end(self._clock.now_ms() * MS)

    def unknown(self, order_id: str) -> None:
        span = self._open.pop(order_id, None)
        if span is not None:
            span.set_status(Status(StatusCode.ERROR, "not acknowledged"))
            span.end(self._clock.now_ms() * MS)

    def close(self) -> None:
        for order_id in list(self._open):
            self.unknown(order_id)
        self._provider.shutdown()


def exporting(instance: str, endpoint: str | None) -> OtelTracing:
    """Spans go to a collector over OTLP/HTTP, in batches, from a thread of their own; those that it does not take are dropped."""
    resource = Resource.create({"service.name": "ringfence-liquidator", "service.instance.id": instance})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=traces_url(endpoint), timeout=EXPORT_S)))
    return OtelTracing(provider, SystemClock())


def traces_url(endpoint: str | None) -> str | None:
    """A collector's base address with the path of traces, as OTEL_EXPORTER_OTLP_ENDPOINT is read."""
    return None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
