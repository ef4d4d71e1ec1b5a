"""A worker as a process: signals, exit codes, and an end that is bounded even if the event loop hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from enum import IntEnum

from services.adapters.logs import configure
from services.adapters.ports import Refused, Unreachable
from services.liquidator.build import build
from services.liquidator.config import Config, Misconfigured


class Exit(IntEnum):
    """What the process ends with; the command line's codes."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    UNREACHABLE = 3


def run(config: Config) -> Exit:
    """Run a worker until SIGTERM or SIGINT, or until it fails."""
    return asyncio.run(_run(config))


async def _run(config: Config) -> Exit:
    log = configure(config.log.level, config.log.format)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop, config.worker.shutdown_ms / 1000)
    try:
        liquidator = await build(config, log)
        await liquidator.run(stop)
    except Unreachable as error:
        log.error("unreachable", error=str(error))
        return Exit.UNREACHABLE
    except Misconfigured as error:
        log.error("misconfigured", error=str(error))
        return Exit.WRONG_USE
    except Refused as error:
        log.error("refused", error=str(error))
        return Exit.FAILED
    except Exception:
        log.exception("failed")
        return Exit.FAILED
    return Exit.DONE


def _stop(stop: asyncio.Event, limit_s: float) -> None:
    """Ask for the clean end; insist on an end when it takes too long."""
    if not stop.is_set():
        stop.set()
        watchdog = threading.Timer(limit_s, os._exit, args=(Exit.FAILED,))
        watchdog.daemon = True
        watchdog.start()
