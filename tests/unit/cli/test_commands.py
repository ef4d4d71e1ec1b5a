"""The commands as people and programs call them: exit codes, what goes where, help, quick start."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.adapters.recordings import Recording, RecordingError
from services.cli.main import app
from services.cli.replay_output import clock
from services.replay import session
from services.replay.engines import make_engine
from tests.script.tape import Tape
from tests.unit.replay.fakes import FakeEngine, emit, order

RUNNER = CliRunner()
HEAVY = {"aiokafka", "faust", "redis", "numpy", "pydantic", "zstandard", "structlog"}
NOT_FOR_FILES = {"aiokafka", "faust", "redis", "pyarrow", "jinja2", "textual", "opentelemetry", "pydantic_settings", "services.reference"}  # fmt: skip
CALM = Tape().long().mark("950").text()


def recording(folder: Path, text: str = CALM) -> str:
    path = folder / "recording.jsonl"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("command", ["margin", "replay"])
def test_a_missing_file_is_wrong_use(command: str) -> None:
    result = RUNNER.invoke(app, [command, "nowhere.jsonl", "--json"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "ringfence: nowhere.jsonl: No such file or directory\n"


@pytest.mark.parametrize("command", ["margin", "replay"])
def test_a_bad_line_is_named_with_its_number(command: str, tmp_path: Path) -> None:
    path = recording(tmp_path, CALM + "no json\n")
    result = RUNNER.invoke(app, [command, path, "--json"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"ringfence: {path}:{len(CALM.splitlines()) + 1}: ")


@pytest.mark.parametrize("command", ["margin", "replay"])
def test_a_truncated_file_is_named(command: str, tmp_path: Path) -> None:
    path = tmp_path / "recording.jsonl.gz"
    path.write_bytes(gzip.compress(CALM.encode())[:-4])
    result = RUNNER.invoke(app, [command, str(path), "--json"])
    assert result.exit_code == 2
    assert "truncated" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--engine", "slow"],
        ["--matching", "best"],
        ["--set", "engine.unheard_of=1"],
        ["--set", "no assignment"],
        ["--set", "instrument.SOL-PERP.tick_size=1"],
        ["--set", "instrument.BTC-PERP.tick_size=-1"],
        ["--report", "nowhere/r.html"],
        ["one", "too many"],
    ],
)
def test_wrong_arguments_are_wrong_use(arguments: list[str], tmp_path: Path) -> None:
    assert RUNNER.invoke(app, ["replay", recording(tmp_path), *arguments]).exit_code == 2


def test_a_mistyped_setting_is_told_before_anything_runs(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["replay", recording(tmp_path), "--json", "--set", "engine.unheard_of=1"])
    assert result.stdout == ""
    assert "no such setting" in result.stderr


@pytest.mark.parametrize("content", ["{}", "not json"])
def test_a_file_that_is_no_preset_is_wrong_use(content: str, tmp_path: Path) -> None:
    preset = tmp_path / "preset.json"
    preset.write_text(content)
    assert RUNNER.invoke(app, ["margin", recording(tmp_path), "--preset", str(preset)]).exit_code == 2
    missing = RUNNER.invoke(app, ["margin", recording(tmp_path), "--preset", str(tmp_path / "none.json")])
    assert (missing.exit_code, "none.json" in missing.stderr) == (2, True)


def test_json_is_all_that_goes_to_standard_output(tmp_path: Path) -> None:
    for command in ("margin", "replay"):
        result = RUNNER.invoke(app, [command, recording(tmp_path), "--json"])
        assert result.exit_code == 0
        assert all(json.loads(line) for line in result.stdout.splitlines())
        assert result.stderr == ""


def test_no_number_in_json_output_is_a_float(tmp_path: Path) -> None:
    def refuse(text: str) -> None:
        pytest.fail(f"a float: {text}")

    text = Tape().long().mark("909").wait(100).mark("905").wait(100).mark("890").text()
    for command in ("margin", "replay"):
        result = RUNNER.invoke(app, [command, recording(tmp_path, text), "--json"])
        assert [json.loads(line, parse_float=refuse) for line in result.stdout.splitlines()]


def test_for_people_there_are_tables(tmp_path: Path) -> None:
    text = Tape().long().mark("909").wait(100).mark("908.9").put("fills", "x").text()
    replayed = RUNNER.invoke(app, ["replay", recording(tmp_path, text), "--set", "engine.max_attempts=2"])
    assert replayed.exit_code == 0
    for expected in (
        "sell 0.067 BTC-PERP at 908.3",
        "healthy -> liquidating",
        "invalid_json",
        "engine.max_attempts=2",
        "8.86955185",
    ):
        assert expected in replayed.stdout
    shown = RUNNER.invoke(app, ["margin", recording(tmp_path, text)], env={"COLUMNS": "250"})
    assert "BTC-PERP 1 at 908.9, 909.1" in shown.stdout
    assert "1 record refused" in shown.stderr


def test_engines_that_differ_are_told_and_exit_with_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from services.replay.lockstep import Lockstep

    def differing(*_: object, **__: object) -> Lockstep:
        return Lockstep(FakeEngine(lambda r: [emit(order())] if r.topic == "fills" else []), FakeEngine())

    monkeypatch.setattr(session, "make_engine", differing)
    result = RUNNER.invoke(app, ["replay", recording(tmp_path), "--json", "--engine", "both"])
    assert result.exit_code == 1
    line = json.loads(result.stdout.splitlines()[-1])
    assert list(line) == ["effect", "cause", "fast", "reference"]
    assert (line["effect"], line["cause"]) == ("difference", ["fills", 0, 0])
    people = RUNNER.invoke(app, ["replay", recording(tmp_path), "--engine", "both"])
    assert (people.exit_code, "differ at" in people.stdout) == (1, True)


def test_the_engine_that_is_named_is_the_one_that_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def watched(name: str, *args: object, **flags: object) -> object:
        asked.append(name)
        return make_engine(name, *args, **flags)  # type: ignore[arg-type]  # passed through as they came

    monkeypatch.setattr(session, "make_engine", watched)
    for name in ("fast", "full-scan", "reference"):
        result = RUNNER.invoke(app, ["replay", recording(tmp_path), "--json", "--engine", name])
        assert json.loads(result.stdout.splitlines()[-1])["lowest_equity"] == "50"
    assert asked == ["fast", "full-scan", "reference"]


def test_an_empty_recording_sums_up_to_nothing() -> None:
    result = RUNNER.invoke(app, ["replay", "-", "--json"], input="")
    line = json.loads(result.stdout)
    assert (line["records"], line["lowest_equity"], line["lowest_equity_bucket"], line["deficit"]) == (
        0,
        None,
        None,
        {},
    )
    assert RUNNER.invoke(app, ["margin", "-", "--json"], input="").stdout == ""


def commands() -> list[list[str]]:
    """Every command as it is called, sub-commands with their group."""
    found = [[command.callback.__name__] for command in app.registered_commands if command.callback is not None]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            found.append([str(group.name), command.name or command.callback.__name__])
    return found


def test_every_command_is_there() -> None:
    assert sorted(" ".join(command) for command in commands()) == [
        "account", "config logs", "config metrics", "config show", "control clear", "control halt", "control resume", "demo", "doctor", "liquidator",
        "margin", "record", "replay", "risk", "schemas check", "schemas write", "top", "topics check", "topics create", "venue", "verify", "version",
    ]  # fmt: skip


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    result = RUNNER.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert f"Example: ringfence {' '.join(command)}" in " ".join(result.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    """What makes start-up slow is not loaded before it is needed: `--help` takes well under half a second."""
    code = "import sys; from services.cli.main import app; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("command", ["margin", "replay"])
def test_a_file_is_folded_without_what_it_does_not_need(command: str, tmp_path: Path) -> None:
    code = (
        "import sys; from services.cli.main import app; app(sys.argv[1:], standalone_mode=False); "
        "print(' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command, recording(tmp_path), "--json"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert not NOT_FOR_FILES & set(done.stderr.split())


@pytest.mark.parametrize("command", ["margin", "replay"])
def test_a_pipe_is_read_like_the_file(command: str, tmp_path: Path) -> None:
    """`ringfence replay <(zcat recording.gz)`: what can be read only once is kept until the command ends."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(CALM,))
    writer.start()
    piped = RUNNER.invoke(app, [command, str(pipe), "--json"])
    writer.join(10)
    filed = RUNNER.invoke(app, [command, recording(tmp_path), "--json"])
    lines = [[json.loads(line) for line in result.stdout.splitlines()] for result in (piped, filed)]
    for line in (*lines[0], *lines[1]):
        line.pop("elapsed_s", None), line.pop("records_per_s", None)
    assert piped.exit_code == 0
    assert lines[0] == lines[1] != []


def test_closed_standard_input_is_wrong_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(RecordingError, match="standard input is closed"), Recording("-") as recorded:
        recorded.check()


def test_a_name_that_no_file_can_have_is_wrong_use() -> None:
    result = RUNNER.invoke(app, ["margin", "a" * 300])
    assert (result.exit_code, result.stderr) == (2, f"ringfence: {'a' * 300}: File name too long\n")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--to", "kafka://127.0.0.1:1/x-", "--diff"], "--diff cannot go with --to"),
        (["--journal", "--set", "engine.hysteresis=0.02"], "--set cannot go with --journal"),
        (["--until", "0" * 32, "--report", "page.html"], "--report cannot go with --until"),
        (["--original-topics"], "--original-topics is only of use with --to"),
        (["--shock", "BTC-PERP=-10%@+5m..+1m"], "ends before it begins"),
        (["--drop", "BTC-PERP@2025-10-10T21:15:00Z..2025-10-10T21:14:00Z"], "ends before it begins"),
        (["--report", os.devnull], "not a file in a folder that exists"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_would_go_unheeded_is_wrong_use(options: list[str], word: str, tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["replay", recording(tmp_path), "--json", *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert word in result.stderr


def test_a_refused_fact_of_an_account_without_record_is_the_same_to_both_engines(tmp_path: Path) -> None:
    """Of such an account nothing is evaluated: it is incomplete before it is dirty."""
    fill = {
        "fill_id": "f-1",
        "account": "a-1",
        "instrument": "X",
        "side": "sell",
        "quantity": "-1",
        "price": "1",
        "ts_ms": 1,
    }
    path = recording(tmp_path, json.dumps({"topic": "fills", "value": fill}) + "\n")
    assert RUNNER.invoke(app, ["replay", path, "--json", "--engine", "both"]).exit_code == 0
    for engine in ("fast", "reference"):
        (line,) = RUNNER.invoke(app, ["margin", path, "--json", "--engine", engine]).stdout.splitlines()
        assert json.loads(line)["status"] == "incomplete"


def test_a_time_after_the_last_year_is_told_in_milliseconds() -> None:
    assert clock(1_700_000_000_123) == "22:13:20.123"
    assert clock(253_402_300_802_199) == "253402300802199 ms"


def test_a_bad_preset_is_named(tmp_path: Path) -> None:
    preset = tmp_path / "mine.json"
    preset.write_text("{")
    result = RUNNER.invoke(app, ["margin", recording(tmp_path), "--preset", str(preset)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"ringfence: {preset}: not JSON: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scope", "all", "--minutes", "nan"],
        ["--scope", "all", "--minutes", "1e18"],
        ["--scope", "all", "--target", "a-1"],
        ["--scope", "account"],
    ],
    ids=" ".join,
)
def test_a_halt_that_cannot_be_meant_is_wrong_use(arguments: list[str]) -> None:
    assert RUNNER.invoke(app, ["control", "halt", *arguments]).exit_code == 2


@pytest.mark.parametrize("through", ["fills", "fills=-1", "fills=\u00b2", f"fills={2**63}"])
def test_an_offset_that_no_topic_has_is_wrong_use(through: str) -> None:
    arguments = ["control", "clear", "--scope", "account", "--target", "a-1", "--through", through]
    assert RUNNER.invoke(app, arguments).exit_code == 2


def test_schemas_into_a_file_are_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "schemas").write_text("")
    result = RUNNER.invoke(app, ["schemas", "write", "--directory", str(tmp_path / "schemas")])
    assert result.exit_code == 2
    assert "File exists" in result.stderr


@pytest.mark.parametrize("group", ["topics", "control", "config", "schemas"])
def test_every_group_has_help_with_an_example(group: str) -> None:
    assert f"Example: ringfence {group} " in " ".join(RUNNER.invoke(app, [group, "--help"]).stdout.split())


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).parent / "ringfence"
    done = subprocess.run([command, "version"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip().count(".") == 2


def test_no_command_is_wrong_use() -> None:
    assert RUNNER.invoke(app, []).exit_code == 2
    assert RUNNER.invoke(app, ["unheard-of"]).exit_code == 2
