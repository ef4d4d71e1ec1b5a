"""A service as a process: what it ends with, for whoever supervises it."""

from __future__ import annotations

from collections.abc import Awaitable
from enum import IntEnum

from structlog.stdlib import BoundLogger

from services.adapters.ports import Refused, Unreachable


class Exit(IntEnum):
    """What a process ends with; the command line's codes."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    UNREACHABLE = 3


async def exit_of(work: Awaitable[None], log: BoundLogger, wrong_use: tuple[type[Exception], ...] = ()) -> Exit:
    """Await a service's whole life; its error is logged and becomes the exit code. `wrong_use`: errors of a bad configuration."""
    try:
        await work
    except Unreachable as error:
        log.error("unreachable", error=str(error))
        return Exit.UNREACHABLE
    except wrong_use as error:
        log.error("misconfigured", error=str(error))
        return Exit.WRONG_USE
    except Refused as error:
        log.error("refused", error=str(error))
        return Exit.FAILED
    except Exception:
        log.exception("failed")
        return Exit.FAILED
    return Exit.DONE
