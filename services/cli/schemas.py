"""`ringfence schemas`: writes the published contract below `schemas/`, or checks that it is what the types say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from services.cli.output import ExitCode, stop
from services.contracts.published import files, incompatible

app = typer.Typer(
    help="Write or check the JSON Schemas, examples and AsyncAPI document.\n\nExample: ringfence schemas check",
    no_args_is_help=True,
)

SCHEMA_FILES = "*.v*.json"

Directory = Annotated[Path, typer.Option("--directory", help="The folder of the published contract.")]


class Complaint(Struct, frozen=True):
    """A file below `schemas/` and what is wrong with it: incompatible, missing, outdated, left_over or unreadable."""

    file: str
    problem: str
    detail: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.detail}"


@app.command()
def write(
    directory: Directory = Path("schemas"),
    allow_incompatible: Annotated[
        bool, typer.Option("--allow-incompatible", help="Write even what breaks those who read or write the messages.")
    ] = False,
) -> None:
    """Write every file of the contract. Example: ringfence schemas write"""
    broken = _incompatible(directory)
    for complaint in broken:
        typer.echo(str(complaint), err=True)
    if broken and not allow_incompatible:
        typer.echo("nothing written; --allow-incompatible writes nevertheless", err=True)
        raise typer.Exit(1)
    generated = files()
    try:
        for name, content in generated.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        stop(f"{error.filename}: {error.strerror}", ExitCode.WRONG_USE)
    for path in _left_over(directory, generated):
        typer.echo(f"{path} belongs to no message any more: remove it", err=True)
    typer.echo(f"{len(generated)} files written to {directory}")


@app.command()
def check(
    directory: Directory = Path("schemas"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each complaint.")] = False,
) -> None:
    """Exit with 1 unless the files are what the types say. Example: ringfence schemas check"""
    complaints = [*_incompatible(directory), *_outdated(directory)]
    for complaint in complaints:
        typer.echo(msgspec.json.encode(complaint).decode() if as_json else str(complaint))
    if complaints:
        raise typer.Exit(1)
    if not as_json:
        typer.echo(f"{len(files())} files are what the types say")


def _incompatible(directory: Path) -> list[Complaint]:
    committed, complaints = {}, []
    for path in sorted(directory.glob(SCHEMA_FILES)):
        try:
            committed[path.name] = msgspec.json.decode(path.read_bytes(), type=dict)
        except msgspec.DecodeError as error:
            complaints.append(Complaint(path.name, "unreadable", f"{path.name}: {error}"))
    return complaints + [Complaint(found.file, "incompatible", str(found)) for found in incompatible(committed)]


def _outdated(directory: Path) -> Iterator[Complaint]:
    generated = files()
    for name, content in generated.items():
        path = directory / name
        if not path.is_file():
            yield Complaint(name, "missing", name)
        elif path.read_bytes() != content:
            yield Complaint(name, "outdated", f"{name} is not what the types say: ringfence schemas write")
    for path in _left_over(directory, generated):
        name = path.relative_to(directory).as_posix()
        yield Complaint(name, "left_over", f"{name} belongs to no message")


def _left_over(directory: Path, generated: dict[str, bytes]) -> list[Path]:
    """JSON files of the folder that nothing generates."""
    return [
        path for path in sorted(directory.rglob("*.json")) if path.relative_to(directory).as_posix() not in generated
    ]
