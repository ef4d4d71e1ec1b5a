"""The publisher as a process: signals, probes, exit codes."""

from __future__ import annotations

import asyncio
import signal

from services.adapters.clock import SystemClock
from services.adapters.logs import Format, Level, configure
from services.adapters.metrics import Metrics
from services.adapters.probes import Probes
from services.adapters.process import Exit, exit_of
from services.risk.publisher import Publisher, PublisherSettings


def run(settings: PublisherSettings, host: str, port: int, level: Level, form: Format) -> Exit:
    """Stand for election and publish until SIGTERM or SIGINT; metrics and probes on `host`:`port` (0: any)."""
    return asyncio.run(_run(settings, host, port, level, form))


async def _run(settings: PublisherSettings, host: str, port: int, level: Level, form: Format) -> Exit:
    log, stop = configure(level, form), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    publisher, metrics = Publisher(settings, SystemClock(), log), Metrics()
    metrics.add_gauges(publisher.readings)
    probes = Probes(metrics.text, list, publisher.why_not_ready)
    try:
        log.info("listening", host=host, port=await probes.start(host, port))
        return await exit_of(publisher.run(stop), log)
    finally:
        await probes.stop()
