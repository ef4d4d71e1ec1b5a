"""The layout, as panels of cells that both the plain and the live screen draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from rich.text import Text

from services.contracts.status import STATUS_ORDER, OrderStatus, ShardStatus, WorkerStatus
from services.top.numbers import UNKNOWN, amount, duration, printable
from services.top.troubles import Trouble, Weight, stands_by, troubles
from services.top.workers import Seen

STYLES: Final = {
    "healthy": "green", "warning": "yellow", "margin_call": "dark_orange", "reduce_only": "orange_red1", "liquidating": "red",
    "bankrupt": "bold white on red", "incomplete": "magenta", "dirty": "magenta", "closed": "dim",
    "valid": "green", "stale": "red", "unconfirmed": "magenta", "halted": "yellow",
}  # fmt: skip
WEIGHTS: Final = {Weight.HARM: "bold white on red", Weight.BLIND: "red", Weight.WATCH: "yellow"}
SLOW_MS: Final = 250  # the objective for an order's acknowledgement


@dataclass(frozen=True)
class Panel:
    """One table. `note` stands in its place while it is empty."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Text, ...]]
    note: str = ""


@dataclass(frozen=True)
class Screen:
    """Everything at one moment."""

    summary: Text
    troubles: Sequence[Trouble]
    panels: Sequence[Panel]


def screen_of(workers: Sequence[Seen], now: float) -> Screen:
    """`now` is monotonic, as `Seen.lost_since` is."""
    known = [(worker, worker.status) for worker in workers if worker.status is not None]
    # What a lost worker said last is no news: others may own its shards by now.
    present = [(worker, status) for worker, status in known if worker.lost_since is None]
    found = troubles(workers, now)
    return Screen(
        _summary(workers, [status for _, status in present], found),
        found,
        (
            Panel("workers", "Workers", WORKERS, [_worker(worker, now) for worker in workers]),
            Panel("shards", "Shards", SHARDS, [*_shards(known)], "no worker answered yet"),
            _buckets(present),
            _prices(present),
            _orders(known),
        ),
    )


def trouble_text(trouble: Trouble) -> Text:
    return _text(trouble.text, WEIGHTS[trouble.weight])


def _summary(workers: Sequence[Seen], statuses: Sequence[WorkerStatus], found: Sequence[Trouble]) -> Text:
    counted = [s for s in statuses if not s.shadow and not (s.shards and all(map(stands_by, s.shards)))]
    buckets = sum((Counter(status.statuses) for status in counted), Counter())
    shards = [shard for status in statuses for shard in status.shards if not stands_by(shard)]
    lost = sum(worker.lost_since is not None for worker in workers)
    verdict = (
        _text("all well", "bold green")
        if not found
        else trouble_text(Trouble(found[0].weight, f"{len(found)} to look at"))
    )
    line = Text.assemble(("ringfence top", "bold"), "  ", verdict, f"  workers {len(workers)}")
    if lost:
        line.append(f" ({lost} lost)", "red")
    line.append(f"  shards deciding {sum(shard.deciding for shard in shards)}/{len(shards)}")
    line.append(f"  orders {sum(status.orders_decided for status in statuses)}\n")
    line.append("buckets")
    for name in STATUS_ORDER:
        if buckets[name]:
            line.append("  ").append(f"{name} {buckets[name]:,}", STYLES[name])
    return line if any(buckets.values()) else line.append("  none")


WORKERS: Final = ("worker", "state", "version", "settings", "up", "to send", "newest price")


def _worker(worker: Seen, now: float) -> tuple[Text, ...]:
    status = worker.status
    if worker.lost_since is not None:
        since = "" if status is None else f" {duration((now - worker.lost_since) * 1000)}"  # never seen: nobody knows
        state = _text(f"lost{since}", "bold red")
    elif status is None:
        state = _text("asking", "dim")
    elif status.not_live:
        state = _text("not live", "bold red")
    elif status.not_ready:
        state = _text("not ready", "yellow")
    else:
        state = _text("shadow" if status.shadow else "ready", "green")
    if status is None:
        return (_text(worker.name), state, *(_text(UNKNOWN),) * 5)
    newest = UNKNOWN if status.newest_price_ms is None else duration(status.now_ms - status.newest_price_ms)
    rest = (
        status.version, status.settings_id[:8], duration(status.now_ms - status.started_ms),
        str(status.queued + status.in_flight), newest,
    )  # fmt: skip
    style = "dim" if worker.lost_since is not None else ""
    return (_text(worker.name, style), state, *(_text(each, style) for each in rest))


SHARDS: Final = ("shard", "worker", "state", "epoch", "lag", "waits", "to store", "unstored", "orders")


def _shards(known: Sequence[tuple[Seen, WorkerStatus]]) -> list[tuple[Text, ...]]:
    owned = {shard.partition for worker, status in known if worker.lost_since is None for shard in status.shards}
    found = [
        (shard.partition, worker, shard)
        for worker, status in known
        for shard in status.shards
        if worker.lost_since is None or shard.partition not in owned
    ]
    return [_shard(worker, shard) for _, worker, shard in sorted(found, key=lambda each: (each[0], each[1].name))]


def _shard(worker: Seen, shard: ShardStatus) -> tuple[Text, ...]:
    lost = worker.lost_since is not None
    if lost:
        state = _text("lost", "red")
    elif stands_by(shard):
        state = _text("stands by", "dim")
    else:
        state = _text("deciding", "green") if shard.deciding else _text(", ".join(shard.reasons), "red")
    waits = max((lag.ms for lag in shard.lag.values()), default=0)
    style = "dim" if lost else ""
    return (
        _text(str(shard.partition), style), _text(worker.name, style), state, _text(_number(shard.epoch), style),
        _text(f"{sum(lag.records for lag in shard.lag.values()):,}", style), _text(duration(waits), style or _over(waits, 200)),
        _text(f"{shard.dirty_rows:,}", style), _text(duration(shard.unstored_ms), style or _over(shard.unstored_ms, 1_000)),
        _text(str(shard.orders_outstanding), style),
    )  # fmt: skip


def _buckets(known: Sequence[tuple[Seen, WorkerStatus]]) -> Panel:
    columns = ("account", "bucket", "status", "equity", "maintenance", "excess", "asset", "worker")
    found = [(bucket, worker.name) for worker, status in known for bucket in status.worst]
    found.sort(key=lambda each: STATUS_ORDER.index(each[0].status) if each[0].status in STATUS_ORDER else -1)
    rows = [
        (
            _text(bucket.account), _text(bucket.bucket), _text(bucket.status, STYLES.get(bucket.status, "")),
            _text(amount(bucket.equity)), _text(amount(bucket.maintenance_margin)), _text(amount(bucket.maintenance_excess)),
            _text(bucket.valuation_asset), _text(name, "dim"),
        )
        for bucket, name in found
    ]  # fmt: skip
    hidden = " (accounts are hidden from elsewhere)" if any(status.accounts_hidden for _, status in known) else ""
    return Panel("buckets", f"Worst buckets{hidden}", columns, rows, "every bucket is healthy")


def _prices(known: Sequence[tuple[Seen, WorkerStatus]]) -> Panel:
    """The oldest that any worker has of each instrument: they read the same topic, so the worst tells."""
    worst = {
        price.instrument: price
        for price in sorted(chain.from_iterable(status.prices for _, status in known), key=lambda price: price.age_ms)
    }
    ordered = sorted(worst.values(), key=lambda price: (price.grade == "valid", -price.age_ms))
    rows = [
        (
            _text(price.instrument), _text(amount(price.mark_price)), _text(duration(price.age_ms)),
            _text(price.grade, STYLES.get(price.grade, "")),
        )
        for price in ordered
    ]  # fmt: skip
    return Panel(
        "prices", "Prices, doubtful and oldest first", ("instrument", "mark", "age", "grade"), rows, "no price yet"
    )


def _orders(known: Sequence[tuple[Seen, WorkerStatus]]) -> Panel:
    columns = ("age", "account", "bucket", "instrument", "order", "limit", "stage", "trigger", "acknowledged")
    now_ms = max((status.now_ms for _, status in known), default=0)
    found = sorted((order for _, status in known for order in status.orders), key=lambda order: -order.decided_ms)
    return Panel("orders", "Last orders", columns, [_order(each, now_ms) for each in found], "no order since the start")


def _order(order: OrderStatus, now_ms: int) -> tuple[Text, ...]:
    if order.acknowledged_ms is None:
        answer = _text("not yet", "red")
    else:
        took = order.acknowledged_ms - (order.caused_ms if order.caused_ms is not None else order.decided_ms)
        answer = _text(f"at {order.offset}, {duration(took)}", _over(took, SLOW_MS) or "green")
    return (
        _text(duration(max(0, now_ms - order.decided_ms))), _text(order.account), _text(order.bucket), _text(order.instrument),
        _text(f"{order.side} {amount(order.quantity)}"), _text(amount(order.limit_price)), _text(order.stage),
        _text(order.trigger), answer,
    )  # fmt: skip


def _over(value: float, bound: float) -> str:
    return "yellow" if value > bound else ""


def _number(number: int | None) -> str:
    return UNKNOWN if number is None else str(number)


def _text(text: str, style: str = "") -> Text:
    """Plain: no markup is read in what a worker says, nor anything that steers the terminal."""
    return Text(printable(text), style, no_wrap=True)
