"""Tracing as the worker sees it: one trace from the record that made an order due, through the decision, to the broker's answer.

Only orders are traced: nothing is measured, kept or looked at for a record that orders nothing, whether tracing is on or off. Spans
never carry accounts, amounts or payloads. `services.adapters.otel` is the implementation over OpenTelemetry (extra `otel`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from services.adapters.ports import Headers
from services.contracts.messages import Order

TRACEPARENT: Final = "traceparent"  # W3C Trace Context; the name of the Kafka header


@dataclass(frozen=True, slots=True)
class Arrived:
    """The record (or timer) that made an order due. `timestamp_ms` is the broker's, `arrived_ms` ours; None for a timer."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None = None
    arrived_ms: int | None = None
    traceparent: bytes | None = None


class Tracer(Protocol):
    """Told of every order; see `OrderWatch`."""

    def decided(self, order: Order, cause: Arrived) -> Headers:
        """The order is queued now; the headers carry the context on to its consumers."""

    def acknowledged(self, order_id: str, offset: int) -> None: ...

    def unknown(self, order_id: str) -> None:
        """No answer came, and none will be waited for."""

    def close(self) -> None:
        """Hand over what is left, within a bound. Blocks: call it beside the event loop."""


class NoTracing:
    """Tracing that is switched off."""

    def decided(self, order: Order, cause: Arrived) -> Headers:  # noqa: ARG002  # the port's parameters
        return ()

    def acknowledged(self, order_id: str, offset: int) -> None: ...
    def unknown(self, order_id: str) -> None: ...
    def close(self) -> None: ...
