"""`ringfence doctor`: looks at everything a worker needs and says what to do about each problem."""

from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.output import ExitCode, flush_json, write_json
from services.cli.topics import AsJson, ConfigFile

if TYPE_CHECKING:
    from services.cli.checkup import Finding


def doctor(
    config: ConfigFile = None,
    as_json: AsJson = False,
    print_function: Annotated[
        bool,
        typer.Option(
            "--print-function", help="Print the function library for Redis, for a login that may not load it."
        ),
    ] = False,
) -> None:
    """Check configuration, versions, Kafka, topics, instruments, Redis and clock; say what to do about each problem.

    Exit code 1: there is a problem; 2: the configuration is wrong; 3: something does not answer. Nothing is changed anywhere.

    Example: ringfence doctor --config ringfence.toml
    """
    import asyncio

    if print_function:
        from services.adapters.redis_function import SOURCE

        typer.echo(SOURCE, nl=False)
        raise typer.Exit(ExitCode.DONE)
    from services.cli.checkup import examine, misconfigured
    from services.liquidator.config import Misconfigured, load

    try:
        findings = asyncio.run(examine(load(config)))
    except Misconfigured as error:
        _tell([misconfigured(error)], as_json=as_json)
        raise typer.Exit(ExitCode.WRONG_USE) from error
    _tell(findings, as_json=as_json)
    verdicts = {finding.verdict for finding in findings}
    raise typer.Exit(
        ExitCode.UNREACHABLE if "unreachable" in verdicts else ExitCode.NO if "problem" in verdicts else ExitCode.DONE
    )


def _tell(findings: "list[Finding]", *, as_json: bool) -> None:
    if as_json:
        for finding in findings:
            write_json({name: getattr(finding, name) for name in finding.__struct_fields__})
        flush_json()
        return
    for finding in findings:
        typer.echo(f"{finding.verdict:<11} {finding.subject:<13} {finding.detail}")
        if finding.advice:
            typer.echo(f"{'':<25} -> {finding.advice}")
