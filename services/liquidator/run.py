"""A worker as a process: signals, exit codes, and an end that is bounded even if the event loop hangs."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from typing import Final

from structlog.stdlib import BoundLogger

from services.adapters.logs import configure
from services.adapters.process import Exit, exit_of
from services.liquidator.build import build
from services.liquidator.config import Config, Misconfigured

# A look at all objects stops the loop for a third of a second where a storm has made millions; hardly any of them are cycles, and the
# young ones are looked at as ever. By default it comes in the middle of the storm.
COLLECT: Final = (2_000, 4, 5_000)


def run(config: Config) -> Exit:
    """Run a worker until SIGTERM or SIGINT, or until it fails."""
    gc.set_threshold(*COLLECT)
    return asyncio.run(_run(config))


async def _run(config: Config) -> Exit:
    log = configure(config.log.level, config.log.format)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop, config.worker.shutdown_ms / 1000)
    return await exit_of(_work(config, log, stop), log, (Misconfigured,))


async def _work(config: Config, log: BoundLogger, stop: asyncio.Event) -> None:
    liquidator = await build(config, log)
    await liquidator.run(stop)


def _stop(stop: asyncio.Event, limit_s: float) -> None:
    """Ask for the clean end; insist on an end when it takes too long."""
    if not stop.is_set():
        stop.set()
        watchdog = threading.Timer(limit_s, os._exit, args=(Exit.FAILED,))
        watchdog.daemon = True
        watchdog.start()
