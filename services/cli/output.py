"""How commands speak: JSON Lines and tables on standard output, everything else on standard error."""

import sys
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import typer

Item = TypeVar("Item")
PROGRESS_EVERY = 1_000


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
