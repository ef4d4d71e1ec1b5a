"""Workers under load, watched by a real Prometheus: what dashboards and alerts are tried on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.integration.venue import INSTRUMENT, START_PRICE, Venue, now_ms, until
from tests.integration.worker_process import WorkerProcess
from tests.support.prometheus import PrometheusServer
from tests.support.redis import RedisServer

FEED_S = 0.05
ALERT_S = 30.0
ALWAYS = frozenset({"RingfenceWatchdog"})
# What the machine of the tests causes by itself when it is busy: no sign of anything that a test broke.
BUSY = frozenset({
    "RingfenceMarksLateFast", "RingfenceMarksLateSlow", "RingfenceOrdersLateFast", "RingfenceOrdersLateSlow",
    "RingfenceLoopStalled",
})  # fmt: skip


@dataclass
class Watched:
    """A venue whose prices flow, workers on it, and the Prometheus that scrapes them."""

    venue: Venue
    redis: RedisServer
    prometheus: PrometheusServer
    folder: Path
    workers: list[WorkerProcess] = field(default_factory=list)
    prices: dict[str, float | None] = field(default_factory=dict)
    _feed: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.prices[INSTRUMENT] = START_PRICE
        await self.venue.price(START_PRICE)
        self._feed = asyncio.ensure_future(self._feeding())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._feed is not None:
            self._feed.cancel()
            with suppress(asyncio.CancelledError):
                await self._feed
        for worker in self.workers:
            if worker.process is not None:
                await worker.kill()

    async def _feeding(self) -> None:
        """Ticks of every instrument that has a price, for ever; a broker that is away loses them."""
        turn = 0
        while True:
            for name, price in self.prices.items():
                if price is not None:
                    turn += 1
                    await self.tick(name, price * (1 + (turn % 3) / 1e5))
            await asyncio.sleep(FEED_S)

    async def tick(self, name: str, price: float, ahead_ms: int = 0) -> None:
        """One tick, dated `ahead_ms` from now."""
        message = {"instrument": name, "mark_price": f"{price:.6f}", "source": "venue", "ts_ms": now_ms() + ahead_ms}
        await self.venue.put("prices", name, message)

    async def work(self, *names: str, **worker: object) -> list[WorkerProcess]:
        """Start workers and have them scraped."""
        new = [self.make(name, **worker) for name in names]
        await asyncio.gather(*(each.start() for each in new))
        self.scrape()
        await until("all are scraped", self.all_are_scraped)
        return new

    def make(self, name: str, *, more: object = "", **worker: object) -> WorkerProcess:
        """A worker that was not started; `more` is added to its configuration."""
        made = WorkerProcess(self.folder, name, self.venue.bootstrap, self.redis.url, self.venue.prefix, **worker)
        made.config.write_text(made.config.read_text() + str(more))
        self.workers.append(made)
        return made

    def scrape(self) -> None:
        """Tell Prometheus the workers that there are."""
        self.prometheus.watch({worker.name: worker.port for worker in self.workers})

    async def all_are_scraped(self) -> bool:
        return await asyncio.to_thread(self.prometheus.healthy_targets) >= {worker.name for worker in self.workers}

    async def check_fires(self, *alerts: str, within_s: float = ALERT_S) -> None:
        """Wait until every one of them fires at some moment."""
        missing = set(alerts)

        async def seen() -> bool:
            nonlocal missing
            missing -= await asyncio.to_thread(self.prometheus.firing)
            return not missing

        try:
            await until("these fire", seen, within_s)
        except AssertionError as late:
            raise AssertionError(f"{late}: {sorted(missing)}; {await self.situation()}") from None

    async def firing(self) -> set[str]:
        """What fires beside the watchdog, and is not the machine's fault."""
        return await asyncio.to_thread(self.prometheus.firing) - ALWAYS - BUSY

    async def check_clears(self, *alerts: str, within_s: float = ALERT_S) -> None:
        """Wait until none of them fires; with none named: until nothing does."""
        still: set[str] = set()

        async def gone() -> bool:
            nonlocal still
            still = await asyncio.to_thread(self.prometheus.firing) & set(alerts) if alerts else await self.firing()
            return not still

        try:
            await until("these clear", gone, within_s)
        except AssertionError as late:
            raise AssertionError(f"{late}: {sorted(still)}; {await self.situation()}") from None

    async def situation(self) -> str:
        """What fires, and the series behind most alerts: for the text of a failure."""
        names = "ringfence_(negative_buckets|unordered.*|unanswered.*|halts|gate.*|price_silence.*|flush_lag.*|outbox.*|orders_total)"
        found = await asyncio.to_thread(self.prometheus.query, f'{{__name__=~"{names}"}} != 0')
        return f"firing {sorted(await asyncio.to_thread(self.prometheus.firing))}; {list(_short(found))}"


def _short(series: list[dict[str, Any]]) -> Iterator[str]:
    for each in series:
        labels = {k: v for k, v in each["metric"].items() if k not in ("__name__", "job")}
        yield f"{each['metric'].get('__name__', '')}{labels}={each['value'][1]}"
