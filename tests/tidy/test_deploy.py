"""What the deployment files promise: loopback only, pinned images, health checks, no password in the tree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tidy.tree import ROOT, project_files, where

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*")


def test_the_compose_file_has_every_part() -> None:
    assert set(SERVICES) == {"kafka", "redis", "topics", "liquidator", "prometheus", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_or_built_here(name: str) -> None:
    service = SERVICES[name]
    assert "build" in service or PINNED.fullmatch(service["image"])


def test_base_images_are_pinned() -> None:
    bases = re.findall(r"^FROM (\S+)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    assert bases
    assert all(PINNED.fullmatch(base) for base in bases)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"topics", "liquidator"}))
def test_long_running_parts_have_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


def test_the_image_checks_its_own_health_and_runs_without_root() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    (probe,) = re.findall(r"^HEALTHCHECK[^\[]*CMD (\[.*\])$", dockerfile, re.MULTILINE)
    _python, _flag, program = json.loads(probe)
    assert "/healthz" in program
    compile(program, "HEALTHCHECK", "exec")  # raises on what is no program
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", dockerfile, re.MULTILINE)


@pytest.mark.parametrize("name", ["topics", "liquidator"])
def test_our_own_containers_are_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", SERVICES)
def test_passwords_come_from_the_environment(name: str) -> None:
    environment: dict[str, str] = SERVICES[name].get("environment", {})
    secret = {key: value for key, value in environment.items() if re.search(r"PASSWORD|SECRET|TOKEN", key)}
    assert all(str(value).startswith("${") for value in secret.values())


@pytest.mark.parametrize("path", [p for p in project_files() if p.suffix in (".yml", ".yaml")], ids=where)
def test_yaml_parses(path: Path) -> None:
    assert list(yaml.safe_load_all(path.read_text())) != [None]


def test_prometheus_scrapes_the_port_that_the_workers_listen_on() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    scraped = jobs["liquidator"]["dns_sd_configs"][0]
    assert scraped["names"] == ["liquidator"]
    assert str(scraped["port"]) == SERVICES["liquidator"]["environment"]["RINGFENCE_HTTP__PORT"]


def test_dashboards_are_provisioned_from_where_they_are_mounted() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning" / "dashboards"
    (provider,) = yaml.safe_load((folder / "ringfence.yml").read_text())["providers"]
    mounts = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts
