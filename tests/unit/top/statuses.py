"""Workers' statuses to look at, and a server that tells them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from services.contracts.status import BucketStatus, OrderStatus, PriceStatus, ShardStatus, TopicLag, WorkerStatus

NOW_MS = 1_790_000_000_000


def a_shard(partition: int, *reasons: str, lag_ms: int = 3) -> ShardStatus:
    return ShardStatus(
        partition=partition, deciding=not reasons, reasons=list(reasons), epoch=40 + partition, claim=40 + partition,
        holds_claim=True, caught_up=not reasons, next={"fills": 120_417}, stored={"fills": 120_400},
        lag={"fills": TopicLag(records=17, ms=lag_ms), "transfers": TopicLag()}, dirty_rows=12, unstored_ms=31,
    )  # fmt: skip


def an_order_status(number: int, **changes: Any) -> OrderStatus:
    order = OrderStatus(
        order_id=f"o-{number}", account=f"a-{number}", bucket="main", instrument="BTC-PERP", side="sell", quantity="1.25",
        limit_price="49120.5", stage="partial", trigger="maintenance_breach", attempt=1, decided_ms=NOW_MS - 900 * number,
        caused_ms=NOW_MS - 900 * number - 4, acknowledged_ms=NOW_MS - 900 * number + 3, offset=100 + number,
    )  # fmt: skip
    return msgspec.structs.replace(order, **changes)


def a_status(instance: str = "w-1", partitions: tuple[int, ...] = (0, 1), **changes: Any) -> WorkerStatus:
    status = WorkerStatus(
        instance=instance, version="0.1.0", now_ms=NOW_MS, started_ms=NOW_MS - 7_500_000, settings_id="c0ffee00d15ea5e5",
        shards=[a_shard(partition) for partition in partitions], newest_price_ms=NOW_MS - 140,
        prices=[
            PriceStatus(instrument="ETH-PERP", mark_price="2411.1", age_ms=310, grade="valid"),
            PriceStatus(instrument="BTC-PERP", mark_price="49312.25", age_ms=140, grade="valid"),
        ],
        price_grades={"valid": 2}, statuses={"margin_call": 1, "warning": 1, "healthy": 18_204},
        worst=[
            BucketStatus(account="a-77", bucket="main", status="margin_call", valuation_asset="USDT", equity="812.123456789",
                         maintenance_margin="790.5", maintenance_excess="21.623456789"),
            BucketStatus(account="a-12", bucket="BTC-PERP", status="warning", valuation_asset="USDT", equity="5120",
                         maintenance_margin="3001", maintenance_excess="2119"),
        ],
        orders=[an_order_status(number) for number in range(1, 6)], orders_decided=5,
    )  # fmt: skip
    return msgspec.structs.replace(status, **changes)


class Told:
    """What the server answers next; `code` 0 closes without an answer."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.code = 200
        self.headers: dict[str, str] = {}
        self.url = ""
        self.asked: list[str] = []

    def tell(self, status: WorkerStatus) -> None:
        self.content = msgspec.json.encode(status)


@contextmanager
def telling(status: WorkerStatus) -> Iterator[Told]:
    """A worker's listener on loopback that answers `status`, or whatever it is told to."""
    told = Told(msgspec.json.encode(status))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(self.path)
            if not told.code:
                return
            self.send_response(told.code)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told.content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}/statusz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
