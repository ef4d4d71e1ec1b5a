"""A real worker as its operator meets it: status, `ringfence top`, drain, logs, and one trace from a fill to its order."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from typer.testing import CliRunner

from services.adapters.log_events import EVENTS
from services.cli.main import app
from services.contracts.codec import decode
from services.contracts.identifiers import partition_of
from services.contracts.messages import Order
from services.contracts.status import WorkerStatus
from tests.integration.venue import CRASH_PRICE, INSTRUMENT, ORDERS, PARTITIONS, START_PRICE, Venue, now_ms, until
from tests.integration.worker_process import WorkerProcess
from tests.support.kafka import KafkaServer
from tests.support.redis import RedisServer

Make = Callable[..., WorkerProcess]
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.fixture
async def venue(kafka: KafkaServer, topic_prefix: str) -> AsyncIterator[Venue]:
    async with Venue(kafka.bootstrap, topic_prefix) as running:
        yield running


@pytest.fixture
async def make(venue: Venue, redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[WorkerProcess] = []

    def new(name: str, sections: str = "") -> WorkerProcess:
        made.append(WorkerProcess(tmp_path, name, venue.bootstrap, redis_server.url, venue.prefix))
        with made[-1].config.open("a") as config:
            config.write(sections)
        return made[-1]

    yield new
    for worker in made:
        if worker.process is not None:
            await worker.kill()


async def started(worker: WorkerProcess) -> WorkerProcess:
    await worker.start(ready=False)
    await until(f"{worker.name} is ready", worker.is_ready, timeout_s=60)
    return worker


async def status_of(worker: WorkerProcess) -> WorkerStatus:
    code, text = await worker.get("/statusz")
    assert code == 200, text
    return msgspec.json.decode(text, type=WorkerStatus)


async def test_the_status_tells_what_happened(venue: Venue, make: Make) -> None:
    await venue.price(START_PRICE)
    await venue.open_accounts(0, 30)
    worker = await started(make("w-1"))
    await venue.price(CRASH_PRICE)

    async def has_ordered_and_stored() -> bool:
        status = await status_of(worker)
        # By account: on a slow machine an order that nobody answers is sent again.
        acknowledged = {order.account for order in status.orders if order.offset is not None}
        return len(acknowledged) == 10 and all(shard.next == shard.stored for shard in status.shards)

    await until("ten accounts' orders are acknowledged, and everything is stored", has_ordered_and_stored, timeout_s=60)
    status = await status_of(worker)
    assert (status.instance, status.not_ready, status.not_live) == ("w-1", [], [])
    assert [shard.partition for shard in status.shards] == list(range(PARTITIONS))
    assert all(shard.deciding and shard.holds_claim and shard.caught_up for shard in status.shards)
    assert sum(shard.next["fills"] for shard in status.shards) == 240
    assert status.statuses["liquidating"] == 10
    assert sum(status.statuses.values()) == 30
    assert {bucket.account for bucket in status.worst} == {order.account for order in status.orders}
    assert [price.instrument for price in status.prices] == [INSTRUMENT]
    assert status.parameters["kafka.topic_prefix"] == venue.prefix
    first = status.orders[0]
    assert first.acknowledged_ms is not None
    # What was decided when a gate opened again was made due by no record.
    assert (first.caused_ms or first.decided_ms) <= first.decided_ms <= first.acknowledged_ms
    result = await asyncio.to_thread(CliRunner().invoke, app, ["top", "--json", "--url", f"127.0.0.1:{worker.port}"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["status"]["orders_decided"] >= 10


async def test_a_worker_that_is_told_to_end_is_not_ready_and_ends(venue: Venue, make: Make) -> None:
    await venue.price(START_PRICE)
    worker = await started(make("w-1"))
    assert worker.process is not None
    assert (await worker.get("/readyz"))[0] == 200
    ended = asyncio.ensure_future(worker.terminate())
    seen: set[int] = set()
    while not ended.done():  # `terminate` is bounded
        seen.add((await worker.get("/readyz"))[0])
    assert await ended == 0
    assert seen <= {200, 503, 0}
    logged = [json.loads(line) for line in worker.log().splitlines()]
    own = [line["event"] for line in logged if line["logger"] == "ringfence"]
    assert set(own) <= set(EVENTS)
    assert own[0] == "listening"
    assert own[-1] == "stopped"
    assert "revoked" in own[own.index("stopping") :]


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """A collector of traces on loopback: its address, and the spans that it was sent."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            spans.extend(
                s for resource in request.resource_spans for scope in resource.scope_spans for s in scope.spans
            )
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def put_traced_fill(venue: Venue, account: str) -> None:
    """A fill that makes its account liquidatable at once, in a trace of the venue's."""
    fill = {
        "fill_id": "traced", "account": account, "instrument": INSTRUMENT, "side": "buy", "quantity": "1",
        "price": str(START_PRICE), "ts_ms": now_ms(),
    }  # fmt: skip
    await venue.producer.send_and_wait(
        f"{venue.prefix}fills", json.dumps(fill).encode(), key=account.encode(), partition=partition_of(account, PARTITIONS),
        headers=[("traceparent", TRACEPARENT.encode())],
    )  # fmt: skip


async def order_headers(venue: Venue, partition: int) -> dict[str, str]:
    """The headers of the first order of a partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=venue.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(f"{venue.prefix}{ORDERS}", partition)])
        while True:
            record = await asyncio.wait_for(consumer.getone(), 20)
            if isinstance(decode(ORDERS, record.value), Order):
                return {name: value.decode() for name, value in record.headers}
    finally:
        await consumer.stop()


async def test_one_trace_from_a_fill_to_its_order(venue: Venue, make: Make) -> None:
    account = "traced"
    await venue.price(CRASH_PRICE)
    await venue.put(
        "accounts", account, {"account": account, "margin_mode": "cross", "valuation_asset": "USDT", "client": "c"}
    )
    await venue.put("transfers", account, {
        "transfer_id": "t", "account": account, "asset": "USDT", "amount": "800", "reason": "deposit", "ts_ms": now_ms(),
    })  # fmt: skip
    await venue.flush()
    with collector() as (endpoint, spans):
        worker = await started(make("w-1", f'[tracing]\nenabled = true\nendpoint = "{endpoint}"\n'))
        await put_traced_fill(venue, account)
        headers = await order_headers(venue, partition_of(account, PARTITIONS))
        assert await worker.terminate() == 0  # hands over what it still has
    found = {span.name: span for span in spans if span.trace_id.hex() == TRACE_ID}
    assert set(found) == {"receive fills", "decide", f"send {ORDERS}"}
    sent = found[f"send {ORDERS}"]
    assert headers["traceparent"] == f"00-{TRACE_ID}-{sent.span_id.hex()}-01"
    assert sent.parent_span_id == found["decide"].span_id
    assert found["decide"].parent_span_id == found["receive fills"].span_id
    assert found["receive fills"].parent_span_id.hex() == "00f067aa0ba902b7"
    assert not [span for span in spans if account in str(span.attributes).replace("traced.", "")]
