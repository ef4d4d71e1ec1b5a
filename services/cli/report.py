"""The incident report of a replay, for the commands that offer one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from services.cli.output import ExitCode, note, stop

if TYPE_CHECKING:
    from services.contracts.records import Record
    from services.engine.effects import Effect
    from services.engine.settings import Settings
    from services.replay.diff import Finding
    from services.replay.session import Plan
    from services.replay.summary import Summary
    from services.replay.what_if import WhatIf
    from services.report.page import Source, Variant

FINDINGS: Final = 1_000  # of --diff, in the page


class Reporter:
    """Looks on at the first run of a replay, and writes the page when all runs are summed up."""

    def __init__(self, path: str) -> None:
        from services.report.collector import Collector

        self.path = Path(path)
        if not self.path.parent.is_dir() or (
            self.path.exists() and not self.path.is_file()
        ):  # a device stays what it is
            stop(f"--report {path}: not a file in a folder that exists", ExitCode.WRONG_USE)
        self.collector = Collector()
        self.diff: dict[str, Any] | None = None
        self.compared: Sequence[Mapping[str, Any]] = ()  # each run's column of a comparison, where there is one

    def shown(self, show: "Callable[[Effect], None]") -> "Callable[[Effect], None]":
        """Effects go to the report, then to `show`."""

        def both(effect: "Effect") -> None:
            self.collector.effect(effect)
            show(effect)

        return both

    def watched(
        self, watched: "Callable[[Iterable[Record]], Iterable[Record]]"
    ) -> "Callable[[Iterable[Record]], Iterable[Record]]":
        """Records are looked at after whoever else watches them."""
        return lambda records: self.collector.records_of(watched(records))

    def note_diff(self, findings: "list[Finding]") -> None:
        """What `--diff` found: all of it counted, the first `FINDINGS` told, what is not explained before the rest."""
        from services.replay.diff import bad_first, summary_line

        told = [{**each.line(), "is_good": each.is_good} for each in islice(bad_first(findings), FINDINGS)]
        self.diff = {"counts": summary_line(findings), "findings": told}

    def write(
        self, source: "Source", settings: "Settings", summary: "Summary", variants: "Sequence[Variant]" = ()
    ) -> None:
        """The page of the run. Ends the command with `WRONG_USE` where it cannot be written."""
        from services.report.page import render, write_page

        page = render(
            self.collector.payload(),
            source=source,
            settings=settings,
            summary=summary.line(),
            variants=variants,
            diff=self.diff,
        )
        try:
            write_page(self.path, page)
        except OSError as error:
            stop(f"{self.path}: {error.strerror or error}", ExitCode.WRONG_USE)
        note(f"incident report: {self.path.resolve().as_uri()} ({len(page.encode()) / 1e6:.1f} MB)")


def source_of_plan(path: str, plan: "Plan", *, remark: str | None = None) -> "Source":
    """What the report says about the recording and how it was replayed; `plan.matching` must be chosen."""
    from services.report.page import source_of

    manifest = plan.recording.manifest
    details = {}
    if manifest is not None:
        details["recorded from"] = f"cluster {manifest.cluster}, prefix {manifest.prefix!r}"
        if manifest.settings is not None:
            details["engine settings of the recorded worker"] = manifest.settings
    matching = None if plan.matching is None else plan.matching.value
    return source_of(path, matching=matching, engine=plan.engine.value, remark=remark, details=details)


def variants_of(
    asked: "Sequence[WhatIf]", summaries: "Sequence[Summary]", compared: Sequence[Mapping[str, Any]]
) -> "list[Variant]":
    """One column a run; `compared` as long as the others, or empty."""
    from services.report.page import Variant

    columns: list[Variant] = []
    for number, (what_if, summary) in enumerate(zip(asked, summaries, strict=True)):
        column = compared[number] if compared else {}
        first = column.get("first_difference")
        columns.append(
            Variant(
                name=what_if.name or ("as recorded" if what_if.is_plain else "what if"),
                summary=summary.line(), changes={key: value for key, value in what_if.changes.items() if key != "name"}, notional=column.get("notional"),
                first_ms=None if first is None else first["ts_ms"],
                first_difference=None if first is None else f"{first['what']} {first['account'] or ''}".strip(),
            )
        )  # fmt: skip
    return columns
