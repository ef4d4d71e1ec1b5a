"""A real Prometheus that scrapes what it is told to, and promtool: both of the distribution."""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from tests.support.process import ServerProcess, Unavailable, free_port

HOW_TO_GET = "apt-get install prometheus (it brings promtool)"
ANSWER_S = 10.0
DURATION = r"\d+(?:ms|[smhdw])"
# What a window of the rules becomes when a test is in a hurry; longer ones stay longer.
LOWERED = {"ringfence_outbox_records > 1000": "ringfence_outbox_records > 100"}
RESTARTS = "120s"  # starting a process a few times takes a while even then
HURRIED = {"5m": "5s", "15m": "8s", "30m": "10s", "1h": "12s", "2h": "12s", "6h": "15s", "1d": "15s", "3d": "20s"}


def find(name: str) -> str:
    """The executable.

    Raises:
        Unavailable: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"no {name} found: {HOW_TO_GET}")
    return found


def hurried(rules: str) -> str:
    """The same rules with windows of seconds, one second in place of every `for` and `keep_firing_for`, and what takes minutes
    to gather lowered."""
    for limit, lower in LOWERED.items():
        assert limit in rules, f"no rule says {limit}"
        rules = rules.replace(limit, lower)
    rules = re.sub(rf"^(\s*(?:keep_firing_)?for:) {DURATION}$", r"\1 1s", rules, flags=re.MULTILINE)
    rules = re.sub(rf"(changes\([^[]*)\[{DURATION}\]", rf"\1[{RESTARTS}]", rules)
    rules = re.sub(rf"\[({DURATION})\]", lambda found: f"[{HURRIED.get(found[1], found[1])}]", rules)
    return re.sub(rf"offset ({DURATION})", lambda found: f"offset {HURRIED[found[1]]}", rules)


class PrometheusServer(ServerProcess):
    """Scrapes the targets of `watch` twice a second under the job `liquidator`, and evaluates `rules` as often."""

    name = "prometheus"
    start_timeout_s = 20.0
    stop_timeout_s = 10.0

    def __init__(self, rules: str = "") -> None:
        """Prepare an empty data directory.

        Raises:
            Unavailable: it is not installed.
        """
        self._program = find("prometheus")
        super().__init__()
        self.port = free_port()
        self._targets = self.directory / "targets.json"
        self.watch({})
        (self.directory / "rules.yml").write_text(rules or "groups: []\n")
        (self.directory / "prometheus.yml").write_text(
            "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n"
            "rule_files: [rules.yml]\n"
            "scrape_configs:\n"
            "  - job_name: liquidator\n"
            "    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]\n"
        )

    def command(self) -> list[str]:
        return [
            self._program,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def watch(self, targets: Mapping[str, int]) -> None:
        """Scrape these: instance to port on loopback. Those left out are forgotten."""
        groups = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in targets.items()]
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps(groups))
        new.replace(self._targets)

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant query: the series of its answer.

        Raises:
            ValueError: Prometheus refuses the query; the text says why.
        """
        found = self._ask("query", query=expr)["result"]
        return found if isinstance(found, list) else []

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        return {alert["labels"]["alertname"] for alert in self._ask("alerts")["alerts"] if alert["state"] == "firing"}

    def healthy_targets(self) -> set[str]:
        """Instances whose last scrape succeeded."""
        return {
            target["labels"]["instance"] for target in self._ask("targets")["activeTargets"] if target["health"] == "up"
        }

    def rule_errors(self) -> list[str]:
        """What rules could not be evaluated, and why."""
        rules = [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]
        return [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError")]

    def _ask(self, what: str, **arguments: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
                return data
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from error
