"""`ringfence replay --journal`: what the workers were given, given to the engine again; each record that they wrote must come out."""

import time
from pathlib import Path

import typer

from services.cli.output import ExitCode, flush_json, stop, watched, write_json


def replay_journal(path: str, *, config: Path | None, as_json: bool) -> None:
    """Print every effect with its session, then a summary. Exit code 1: something was written that no session decided."""
    from services.adapters.presets import load_presets
    from services.cli.recordings import opened
    from services.cli.replay_output import effect_text, print_line
    from services.replay.journalled import JournalError, Recomputed
    from services.replay.lines import effect_line
    from services.replay.summary import measured

    started, effects = time.perf_counter(), 0
    try:
        with opened(path, config) as recording:
            recomputed = Recomputed(watched(recording.records(), what="records"), load_presets())
            for session, effect in watched(recomputed.run(), what="effects"):
                effects += 1
                line = effect_line(effect)
                if as_json:
                    write_json({**line, "session": session.name})
                else:
                    print_line(f"{effect_text(line)}  [{session.name}]")
    except JournalError as error:
        flush_json()
        stop(str(error), ExitCode.WRONG_USE)
    missing = recomputed.not_decided()
    places = [[record.topic, record.partition, record.offset] for record in missing]
    summary = {
        "effect": "summary", "sessions": len(recomputed.sessions), "effects": effects,
        "written": sum(1 for _ in recomputed.log.outputs()), "not_decided": places,
        "elapsed_s": measured(time.perf_counter() - started, places=3),
    }  # fmt: skip
    if as_json:
        write_json(summary)
        flush_json()
    else:
        print_line(
            f"{summary['sessions']} sessions, {effects} effects; of {summary['written']} records that were written "
            + (f"{len(places)} were decided by none: {places[:10]}" if places else "each came out again, byte for byte")
        )
    raise typer.Exit(ExitCode.NO if missing else ExitCode.DONE)
