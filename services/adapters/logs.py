"""Structured logs: one JSON object a line, or colours for a person at a terminal.

What is written is safe to keep and to look at: no values of variables in stack traces, passwords masked, nothing that steers a
terminal, bounded lines, and no kind of line so often that it hides the others. The events are listed in `log_events`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Hashable, Mapping
from typing import Any, Final, Literal, TextIO

import structlog

from services.adapters.log_events import LINES_HELD_BACK
from services.adapters.rate_limit import RateLimit

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]
OWN: Final = "ringfence"
TEXT_LIMIT: Final = 500
STACK_LIMIT: Final = 10_000
ITEMS_LIMIT: Final = 64
DEPTH_LIMIT: Final = 8
FRAMES_LIMIT: Final = 30
LIBRARIES: Final = (
    "aiokafka",
    "faust",
    "mode",
    "asyncio",
    "opentelemetry",
    "services",
)  # "services": mode, for our subclasses
OURS_BURST, OURS_PER_S = 20, 10.0
LIBRARIES_PER_S: Final = 1.0
KIND_FIELDS: Final = (
    "reason",
    "name",
    "step",
    "partition",
)  # of the same event, these tell one kind of line from another
SECRET_NAME: Final = re.compile(r"(?:password|passwd|secret|token|credential|api_?key|row_?key)$", re.IGNORECASE)
URL_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*@")
MASK: Final = "***"


def configure(level: Level, form: Format) -> structlog.stdlib.BoundLogger:
    """Route our own logger and the libraries' through one format on standard error."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = Throttled(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[_held_back, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendered(console=console)],
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
        )
    )  # fmt: skip
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))
    return structlog.stdlib.get_logger(OWN)


def _rendered(*, console: bool) -> list[structlog.typing.Processor]:
    """From an event to a line. Both ways of showing a stack leave the values of variables out: they hold passwords and payloads."""
    if console:
        plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        return [structlog.processors.format_exc_info, clean, plain]
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=FRAMES_LIMIT)
    return [structlog.processors.ExceptionRenderer(transformer), clean, structlog.processors.JSONRenderer()]


class Throttled(logging.StreamHandler[TextIO]):
    """Holds back what comes too often, and tells how much: with the next line of the kind, or with any other line after a while."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._ours = RateLimit(OURS_BURST, OURS_PER_S)
        self._libraries = RateLimit(1, LIBRARIES_PER_S)
        self._told = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, unless its kind is held back."""
        self._tell_overdue(record.created)
        limit = self._ours if record.name == OWN else self._libraries
        held = limit.admit(kind_of(record), record.created)
        if held is None:
            return
        record.__dict__["held_back"] = held
        super().emit(record)

    def close(self) -> None:
        """Tell what is still owed."""
        if not getattr(self.stream, "closed", True):
            self._tell_overdue(float("inf"))
        super().close()

    def _tell_overdue(self, now: float) -> None:
        if now - self._told < LIBRARIES_PER_S:
            return
        self._told = now
        for kind, count in [*self._ours.overdue(now), *self._libraries.overdue(now)]:
            line = logging.LogRecord(OWN, logging.WARNING, "", 0, LINES_HELD_BACK, None, None)
            named = " ".join(str(part) for part in kind if part) if isinstance(kind, tuple) else str(kind)
            line.__dict__.update(kind=named, count=count)
            super().emit(line)


def kind_of(record: logging.LogRecord) -> Hashable:
    """What makes two lines the same to a reader: event and reason, not their numbers."""
    if isinstance(record.msg, Mapping):
        fields = tuple(str(record.msg.get(name, ""))[:80] for name in KIND_FIELDS)
        return (record.name, str(record.msg.get("event", ""))[:80], *fields)
    return (record.name, str(record.msg)[:80])


def _held_back(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What `Throttled` noted on the record."""
    record = event.get("_record")
    for name in ("held_back", "kind", "count"):
        if value := getattr(record, name, None):
            event.setdefault(name, value)
    return event


def clean(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The event with every text in it bounded, without control characters, and without what should be secret."""
    return {
        name: _stack(value) if name == "exception" and isinstance(value, str) else _clean(value, name, 0)
        for name, value in event.items()
    }


def _clean(value: Any, name: str, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if SECRET_NAME.search(name):
        return MASK
    if depth < DEPTH_LIMIT and isinstance(value, Mapping):
        items = list(value.items())[:ITEMS_LIMIT]
        return {escaped(str(key), TEXT_LIMIT): _clean(item, str(key), depth + 1) for key, item in items}
    if depth < DEPTH_LIMIT and isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, name, depth + 1) for item in list(value)[:ITEMS_LIMIT]]
    return escaped(value if isinstance(value, str) else repr(value), TEXT_LIMIT)


def escaped(text: str, limit: int) -> str:
    """What a record brought in must not write lines of its own, nor steer the terminal that shows it."""
    masked = URL_LOGIN.sub(f"{MASK}@", text[: 4 * limit])[:limit]  # masked before it is cut, or half a login would stay
    return masked if masked.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in masked)


def _stack(text: str) -> str:
    """A stack trace for a terminal keeps its lines."""
    return "\n".join(escaped(line, TEXT_LIMIT) for line in text[:STACK_LIMIT].splitlines())


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
