"""What the demo leaves behind: its recording, and the incident report that a replay of it makes."""

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

from services.cli.output import ExitCode, note, stop

if TYPE_CHECKING:
    from services.contracts.records import Record
    from services.demo.run import Outcome
    from services.engine.settings import Settings

NAME: Final = "demo.html"
REMARK: Final = (
    "This is a replay of what the demo's venue saw, in its order; the worker met prices and fills in slightly another. "
    "By the venue's own ledger {own} below zero."
)


def report_path(asked: str | None) -> str | None:
    """Where the report goes; None, and a word, where the user has no cache folder. Ends the command for a folder that is not there."""
    if asked is not None:
        if not Path(asked).parent.is_dir() or (Path(asked).exists() and not Path(asked).is_file()):
            stop(f"--report {asked}: not a file in a folder that exists", ExitCode.WRONG_USE)
        return asked
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ringfence"
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError) as error:  # no home, or none that can be written
        note(f"no incident report: {error}; --report says where it may go")
        return None
    return str(cache / NAME)


def report_demo(outcome: "Outcome", path: str) -> None:
    """Writes the recording beside `path`, replays it with the answers that it holds, and writes the page; says where both are."""
    from services.adapters.recordings import Recording
    from services.cli.report import Reporter, source_of_plan
    from services.replay.choices import Matching
    from services.replay.session import Plan, drive, prepare
    from services.replay.what_if import WhatIf

    reporter, kept = Reporter(path), Path(path).with_name(f"{Path(path).stem}-as-played.jsonl.zst")
    try:
        _write_recording(kept, outcome.recording)
    except OSError as error:
        stop(f"{kept}: {error.strerror or error}", ExitCode.WRONG_USE)
    note(f"replaying {len(outcome.recording):,} records for the incident report …")
    with Recording(str(kept)) as recording:
        plan = Plan(recording=recording, matching=Matching.RECORDED, settings=_settings(), stretch=1)
        runs = prepare(plan, [WhatIf()])
        show = reporter.shown(lambda _: None)
        [summary] = drive(plan, runs, [show], watched=reporter.watched(iter), observers=[reporter.collector])
        own = outcome.summary.negative_buckets
        remark = REMARK.format(own=f"{own:,} bucket was" if own == 1 else f"{own:,} buckets were")
        reporter.write(source_of_plan(str(kept), plan, remark=remark), plan.settings, summary)
    note(
        f"recording: {kept}; one of its orders, proved: ringfence verify ORDER_ID {quote(str(kept))} {_settings_as_flags()}"
    )


def _settings_as_flags() -> str:
    """A file has no manifest: with which settings its worker decided has to be said."""
    from services.demo.settings import CRASH_ENGINE

    return " ".join(f"--set engine.{name}={value}" for name, value in CRASH_ENGINE.items())


def _settings() -> "Settings":
    """Those of the demo's worker."""
    from services.contracts.decimals import parse
    from services.demo.settings import CRASH_ENGINE
    from services.engine.settings import Settings

    return Settings(**{name: parse(text) for name, text in CRASH_ENGINE.items()})  # type: ignore[arg-type]  # rates, all of them


def _write_recording(path: Path, records: "list[Record]") -> None:
    """JSON Lines, zstd; whole or not at all."""
    import orjson
    import zstandard

    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as stream:
            for record in records:
                stream.write(orjson.dumps(_row(record), option=orjson.OPT_APPEND_NEWLINE))
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _row(record: "Record") -> dict[str, object]:
    """A line of a recording; what is not JSON is kept as its text, as a reader expects it."""
    import orjson

    try:
        orjson.loads(record.value)
    except orjson.JSONDecodeError:
        value: object = record.value.decode(errors="replace")
    else:
        value = orjson.Fragment(record.value)
    return {
        "topic": record.topic, "partition": record.partition, "offset": record.offset, "timestamp_ms": record.timestamp_ms,
        "key": None if record.key is None else record.key.decode(errors="replace"), "value": value,
    }  # fmt: skip
