"""Structured logs: one JSON object a line, or colours for a person at a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]
TEXT_LIMIT: Final = 500
LIBRARIES_EVERY_S: Final = 1.0


def configure(level: Level, form: Format) -> structlog.stdlib.BoundLogger:
    """Route our own logger and the libraries' through one format on standard error."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    render: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _bound_text,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
        )
    )
    handler.addFilter(Throttle())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in ("aiokafka", "faust", "mode", "asyncio", "services"):  # "services": mode logs for our subclasses
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))
    return structlog.stdlib.get_logger("ringfence")


class Throttle(logging.Filter):
    """At most one line a second of each kind that a library writes: a broker's restart makes thousands of them."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "ringfence" or not isinstance(record.msg, str):
            return True
        kind = (record.name, record.msg[:80])
        if record.created - self._last.get(kind, 0.0) < LIBRARIES_EVERY_S:
            return False
        if len(self._last) > 1_000:
            self._last.clear()
        self._last[kind] = record.created
        return True


def _bound_text(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Bounded, without control characters: what a record brought in must not write lines of its own."""
    for name, value in event.items():
        if isinstance(value, str) and not name.startswith("_") and name != "exception":
            event[name] = "".join(c if c.isprintable() else "?" for c in value[:TEXT_LIMIT])
    return event
