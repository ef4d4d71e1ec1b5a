"""How commands speak: JSON Lines and tables on standard output, everything else on standard error."""

import sys
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")
PROGRESS_EVERY = 1_000
PIPE_WIDTH = 240  # columns of a table that no terminal shows: nothing is cut in a file


class ExitCode(IntEnum):
    """The meaning of exit codes, the same for every command."""

    DONE = 0
    NO = 1  # the answer is "no": a check failed, a bucket went negative, a replay differs
    WRONG_USE = 2
    UNREACHABLE = 3


def stop(text: str, code: ExitCode) -> NoReturn:
    """Ends the command with one line on standard error."""
    note(f"ringfence: {text}")
    raise typer.Exit(code)


def note(text: str) -> None:
    """One line for the person, on standard error."""
    typer.echo(text, err=True)


def write_json(line: dict[str, Any]) -> None:
    """One JSON object a line on standard output; keys keep their order."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def flush_json() -> None:
    """Everything written is handed over before the command ends or a person is spoken to."""
    sys.stdout.buffer.flush()


def console() -> "Console":
    """Standard output for tables: as wide as the terminal, or as COLUMNS says; wide enough for all where there is neither."""
    import os

    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH)


def watched(items: Iterable[Item], what: str) -> Iterator[Item]:
    """The items, with a running count on standard error while a person watches it."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …") as status:
        for number, item in enumerate(items, 1):
            if number % PROGRESS_EVERY == 0:
                status.update(f"{number:,} {what} …")
            yield item
