"""The runbook: an entry for each alert, complete, with commands that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
import yaml

from services.adapters.metric_catalogue import series
from services.cli.main import app
from tests.tidy.tree import ROOT
from tests.unit.deployment.test_alerts import ALERTS, RECORDED

TEXT = (ROOT / "deploy" / "runbook.md").read_text()
HEADINGS = re.findall(r"^#{1,4} (.+)$", TEXT, re.MULTILINE)
ENTRIES = dict(re.findall(r"^### (Ringfence\w+)\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL))
PARTS = ("Means", "Harm", "First look", "Do", "Verify", "Undo")
OPERATIONS = (
    "Deploy", "Roll", "Scale out and in", "Drain", "Halt and resume", "Restore from snapshots", "Rotate secrets", "Redis gone",
    "Kafka gone", "Both gone",
)  # fmt: skip
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
COMPOSE_TAKES_VALUE = {"--since", "--scale", "--profile"}


def commands() -> Iterator[str]:
    """Every command: lines of code blocks, and what stands in backticks and starts like one."""
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    for quoted in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)):
        if re.match(r"(ringfence|docker compose|kubectl|promtool|deploy/\S+\.sh)(\s|$)", quoted):
            yield quoted.partition(" …")[0]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def test_each_alert_has_an_entry_and_each_entry_an_alert() -> None:
    assert sorted(ENTRIES) == sorted(ALERTS)
    assert len(re.findall(r"^### Ringfence", TEXT, re.MULTILINE)) == len(ALERTS)


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_says_all_that_is_needed(name: str) -> None:
    assert re.findall(r"^- \*\*([\w ]+)\*\*:", ENTRIES[name], re.MULTILINE) == list(PARTS)


def test_operations_are_described() -> None:
    assert set(OPERATIONS) <= set(HEADINGS)


def test_links_lead_somewhere() -> None:
    anchors = [anchor(heading) for heading in HEADINGS]
    assert len(set(anchors)) == len(anchors)
    for inside, path in re.findall(r"\]\((?:#([^)]+)|([^)#]+))\)", TEXT):
        assert inside in anchors if inside else (ROOT / "deploy" / path).is_file(), inside or path
    assert all(alert["annotations"]["runbook_url"].partition("#")[2] in anchors for alert in ALERTS.values())


def test_metrics_and_files_that_it_names_exist() -> None:
    assert set(re.findall(r"\bringfence_\w+", TEXT)) <= series()
    assert set(re.findall(r"\bringfence:\w+:\w+", TEXT)) <= RECORDED
    named = re.findall(r"`?(deploy/[\w./-]+\w)", TEXT)
    missing = [path for path in named if not (ROOT / path).exists() and not path.startswith("deploy/secrets/")]
    assert not missing


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_commands_exist(command: str) -> None:
    check_command(command.split())


@pytest.mark.parametrize(
    "wrong",
    [
        "ringfence haltall", "ringfence control halt --scop all", "docker compose exec worker ls", "docker compose explode liquidator",
        "docker compose exec liquidator ringfence nothing", "deploy/none.sh",
    ],
)  # fmt: skip
def test_a_command_that_does_not_exist_is_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check_command(wrong.split())


def check_command(words: list[str]) -> None:
    if words[0] == "ringfence":
        check_ringfence(words[1:])
    elif words[:2] == ["docker", "compose"]:
        check_compose(words[2:])
    elif words[0].startswith("deploy/"):
        assert (ROOT / words[0]).is_file(), words[0]
    elif words[0] == "rm":
        assert words[1].startswith("deploy/secrets/"), words
    else:
        assert words[0] in ("kubectl", "promtool"), words


def check_ringfence(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and words:
        name = words.pop(0)
        assert name in command.commands, f"ringfence has no {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    used = {word for word in words if word.startswith("--")}
    assert used <= known, f"{command.name} has no {sorted(used - known)}"


def check_compose(words: list[str]) -> None:
    while words and words[0].startswith("--"):
        takes_value = words.pop(0) in COMPOSE_TAKES_VALUE
        if takes_value:
            words.pop(0)
    action, rest = words[0], words[1:]
    assert action in {"up", "logs", "exec", "ps", "restart", "stop", "start", "build"}, action
    places: list[str] = []
    while rest:
        word = rest.pop(0)
        if word in COMPOSE_TAKES_VALUE:
            rest.pop(0)
        elif not word.startswith("--"):
            places.append(word)
            if action == "exec":
                break
    assert set(places) <= set(SERVICES), f"no such service: {places}"
    if action == "exec" and rest and rest[0] == "ringfence":
        check_ringfence(rest[1:])
