"""Traces: one from the record that made an order due to the broker's answer, and carried on in the order's headers."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.adapters import otel
from services.adapters.otel import MS, OtelTracing, traces_url
from services.adapters.tracing import Arrived, NoTracing
from tests.unit.liquidator.fakes import START_MS, FakeClock, an_order

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01".encode()
ORDER = an_order("secret-account", epoch=7)


class Traced:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.clock = FakeClock()
        self.tracing = OtelTracing(provider, self.clock)

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def cause(self, traceparent: bytes | None = None) -> Arrived:
        return Arrived("fills", 3, 42, START_MS - 20, START_MS - 5, traceparent)


@pytest.fixture
def traced() -> Traced:
    return Traced()


def hexadecimal(span: ReadableSpan) -> str:
    assert span.context is not None
    return trace.format_trace_id(span.context.trace_id)


def test_one_trace_from_the_record_to_the_brokers_answer(traced: Traced) -> None:
    traced.tracing.decided(ORDER, traced.cause())
    traced.clock.jump(0.004)
    traced.tracing.acknowledged(ORDER.order_id, 9)
    receive, decide, send = (traced.spans()[name] for name in ("receive fills", "decide", "send liquidation-orders"))
    assert receive.parent is None
    assert decide.parent == receive.context
    assert send.parent == decide.context
    times = [(span.start_time, span.end_time) for span in (receive, decide, send)]
    now = START_MS * MS
    assert times == [(now - 20 * MS, now - 5 * MS), (now - 5 * MS, now), (now, now + 4 * MS)]
    assert send.attributes is not None
    assert send.attributes["messaging.kafka.offset"] == 9
    assert send.status.status_code is trace.StatusCode.UNSET


def test_the_records_own_trace_goes_on(traced: Traced) -> None:
    traced.tracing.decided(ORDER, traced.cause(TRACEPARENT))
    receive = traced.spans()["receive fills"]
    assert hexadecimal(receive) == TRACE_ID
    assert receive.parent is not None
    assert trace.format_span_id(receive.parent.span_id) == SPAN_ID


def test_the_orders_header_names_the_span_that_sends_it(traced: Traced) -> None:
    ((name, value),) = traced.tracing.decided(ORDER, traced.cause(TRACEPARENT))
    traced.tracing.acknowledged(ORDER.order_id, 0)
    send = traced.spans()["send liquidation-orders"].context
    assert send is not None
    assert (name, value.decode()) == ("traceparent", f"00-{TRACE_ID}-{trace.format_span_id(send.span_id)}-01")


@pytest.mark.parametrize(
    "foreign", [b"", b"00-zz-yy-01", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"x" * 10_000]
)
def test_a_header_that_is_no_traceparent_starts_a_trace_of_its_own(traced: Traced, foreign: bytes) -> None:
    traced.tracing.decided(ORDER, traced.cause(foreign))
    receive = traced.spans()["receive fills"]
    assert receive.parent is None
    assert hexadecimal(receive) != TRACE_ID


def test_a_trace_that_is_not_sampled_stays_so_for_the_consumer(traced: Traced) -> None:
    ((_, value),) = traced.tracing.decided(ORDER, traced.cause(TRACEPARENT[:-1] + b"0"))
    assert value.endswith(b"-00")
    assert traced.spans() == {}


def test_a_timer_has_no_record_to_receive(traced: Traced) -> None:
    traced.tracing.decided(ORDER, Arrived("timer", 0, START_MS))
    assert set(traced.spans()) == {"decide"}


def test_an_order_without_answer_is_an_error_and_counts_once(traced: Traced) -> None:
    traced.tracing.decided(ORDER, traced.cause())
    traced.tracing.unknown(ORDER.order_id)
    traced.tracing.unknown(ORDER.order_id)
    traced.tracing.acknowledged(ORDER.order_id, 1)
    sent = [span for span in traced.exporter.get_finished_spans() if span.name.startswith("send")]
    assert [span.status.status_code for span in sent] == [trace.StatusCode.ERROR]


def test_spans_that_nobody_ends_are_bounded(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "OPEN_SPANS", 3)
    for number in range(10):
        traced.tracing.decided(an_order(f"a-{number}", 7), traced.cause())
    assert sum(span.name.startswith("send") for span in traced.exporter.get_finished_spans()) == 7
    traced.tracing.close()
    assert sum(span.name.startswith("send") for span in traced.exporter.get_finished_spans()) == 10


def test_no_account_and_no_amount_is_in_a_span(traced: Traced) -> None:
    traced.tracing.decided(ORDER, traced.cause())
    traced.tracing.acknowledged(ORDER.order_id, 9)
    for span in traced.exporter.get_finished_spans():
        told = {name: value for name, value in (span.attributes or {}).items() if name != "ringfence.order_id"}
        assert not {"account", "client", "equity", "quantity"} & {name.rpartition(".")[2] for name in told}
        assert "secret-account" not in str(told)


def test_switched_off_it_adds_no_header() -> None:
    assert NoTracing().decided(ORDER, Arrived("fills", 0, 0)) == ()


def test_the_collectors_base_address_gets_the_path_of_traces() -> None:
    assert [traces_url(each) for each in (None, "http://a:4318", "http://a:4318/")] == [
        None, "http://a:4318/v1/traces", "http://a:4318/v1/traces",
    ]  # fmt: skip
