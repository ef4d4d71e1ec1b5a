"""`ringfence top` in scripts: one screen or JSON Lines, and an exit code."""

from __future__ import annotations

import json

import pytest
from msgspec import structs
from typer.testing import CliRunner

from services.cli.main import app
from services.cli.top import default_url
from services.contracts.status import WorkerStatus
from services.liquidator.config import HttpSection
from tests.unit.top.statuses import a_status, telling

RUNNER = CliRunner()


def long_named() -> WorkerStatus:
    status = a_status()
    return structs.replace(status, worst=[structs.replace(status.worst[0], account="a" * 60)])


def test_one_screen_of_two_workers() -> None:
    with telling(a_status("w-1", (0, 1))) as first, telling(a_status("w-2", (2, 3))) as second:
        result = RUNNER.invoke(app, ["top", "--once", "--url", first.url, "--url", second.url])
    assert result.exit_code == 0, result.output
    assert "all well" in result.stdout
    assert "shards deciding 4/4" in result.stdout


def test_a_pipe_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    with telling(long_named()) as told:
        result = RUNNER.invoke(app, ["top", "--once", "--url", told.url])
    assert "a" * 60 in result.stdout
    assert "sell 1.25" in result.stdout


def test_json_has_everything_exactly() -> None:
    with telling(a_status()) as told:
        result = RUNNER.invoke(app, ["top", "--json", "--url", told.url])
    (line,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert (line["url"], line["reachable"], line["error"]) == (told.url, True, None)
    assert line["status"]["worst"][0]["equity"] == "812.123456789"
    assert line["status"]["shards"][0]["next"] == {"fills": 120_417}


def test_a_lost_worker_is_the_answer_no() -> None:
    with telling(a_status()) as told, telling(a_status()) as gone:
        gone.code = 500
        result = RUNNER.invoke(app, ["top", "--json", "--url", told.url, "--url", gone.url])
    assert result.exit_code == 1
    assert [json.loads(line)["reachable"] for line in result.stdout.splitlines()] == [True, False]


def test_a_worker_that_is_not_ready_is_the_answer_no() -> None:
    with telling(a_status(not_ready=["no fresh price"])) as told:
        result = RUNNER.invoke(app, ["top", "--once", "--url", told.url])
    assert result.exit_code == 1
    assert "w-1 is not ready: no fresh price" in result.stdout


def test_nobody_there_is_unreachable() -> None:
    with telling(a_status()) as told:
        url = told.url
    result = RUNNER.invoke(app, ["top", "--once", "--url", url])
    assert result.exit_code == 3
    assert "connection refused" in result.stdout


def test_without_an_address_it_asks_the_worker_of_the_same_container(monkeypatch: pytest.MonkeyPatch) -> None:
    with telling(a_status()) as told:
        monkeypatch.setenv("RINGFENCE_HTTP__PORT", told.url.split(":")[2].split("/")[0])
        assert RUNNER.invoke(app, ["top", "--once"]).exit_code == 0
    assert told.asked == ["/statusz"]


def test_the_default_is_the_port_that_workers_have_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RINGFENCE_HTTP__PORT", raising=False)
    assert default_url() == f"http://127.0.0.1:{HttpSection().port}"


@pytest.mark.parametrize("arguments", [["--url", "file:///etc/passwd"], ["--interval", "0"]])
def test_wrong_use(arguments: list[str]) -> None:
    assert RUNNER.invoke(app, ["top", "--once", *arguments]).exit_code == 2
