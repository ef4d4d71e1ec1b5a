"""What the deployment files promise: loopback only, pinned images, health checks, secrets as files and none in the tree."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.liquidator.config import load
from tests.support.process import Unavailable
from tests.support.tools import find_tool
from tests.tidy.tree import ROOT, project_files, where

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*")
OWN = ("topics", "liquidator", "recorder", "venue")
PROFILES = {"prometheus": ["observability"], "grafana": ["observability"], "venue": ["demo"]}
BASE = {"kafka", "redis", "topics", "liquidator", "recorder"}


def test_the_compose_file_has_every_part() -> None:
    assert set(SERVICES) == BASE | set(PROFILES)
    assert {name: service.get("profiles") for name, service in SERVICES.items()} == dict.fromkeys(BASE) | PROFILES


def test_two_workers_share_the_work() -> None:
    assert SERVICES["liquidator"]["scale"] == 2


def test_the_compose_file_follows_the_specification() -> None:
    """By `docker compose` where it is installed, else by the library that it is made of."""
    environment = os.environ | {"COMPOSE_PROFILES": "demo,observability"}
    docker = ["docker", "compose", "--file", "docker-compose.yml", "config", "--quiet"]
    try:
        present = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        present = False
    try:
        command = docker if present else [find_tool("compose-spec"), "docker-compose.yml"]
    except Unavailable as missing:
        pytest.skip(f"no docker compose here, and {missing}")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_or_built_here(name: str) -> None:
    service = SERVICES[name]
    assert "build" in service or PINNED.fullmatch(service["image"])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(OWN)))
def test_long_running_parts_have_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_logs_cannot_fill_the_disk(name: str) -> None:
    assert SERVICES[name]["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", OWN)
def test_our_own_containers_are_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_files(name: str) -> None:
    environment: dict[str, str] = SERVICES[name].get("environment", {})
    secret = {key: value for key, value in environment.items() if re.search(r"PASSWORD|SECRET|TOKEN|KEY", key)}
    mounted = {f"/run/secrets/{each}" for each in SERVICES[name].get("secrets", [])}
    assert set(secret.values()) <= mounted
    assert all(key.endswith("FILE") for key in secret)


def test_the_script_makes_every_secret_once(tmp_path: Path) -> None:
    script, folder = ROOT / "deploy" / "secrets.sh", tmp_path / "secrets"
    subprocess.run([str(script), str(folder)], check=True, timeout=20)
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} == set(made)
    assert all(re.fullmatch(r"[0-9a-f]{48}", text) for name, text in made.items() if name != "redis-users.acl")
    assert len(set(made.values())) == len(made)
    assert sha256(made["redis-password"].encode()).hexdigest() in made["redis-users.acl"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    subprocess.run([str(script), str(folder)], check=True, timeout=20)
    assert {path.name: path.read_text() for path in folder.iterdir()} == made
    (folder / "redis-password").unlink()
    subprocess.run([str(script), str(folder)], check=True, timeout=20)
    rotated = (folder / "redis-password").read_text()
    assert sha256(rotated.encode()).hexdigest() in (folder / "redis-users.acl").read_text()


def test_no_secret_can_be_committed() -> None:
    folders = {Path(secret["file"]).parent.as_posix() for secret in COMPOSE["secrets"].values()}
    assert folders == {"deploy/secrets"}
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", OWN)
def test_our_settings_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a container is told by variables is what the configuration knows."""
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    config = load(None)
    assert config.kafka.bootstrap == "kafka:9092"
    assert config.redis.password_file == Path("/run/secrets/redis-password")
    assert config.http.port == 8080


def test_image_chart_and_package_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "deploy" / "helm" / "ringfence" / "Chart.yaml").read_text())
    assert chart["appVersion"] == version
    assert f"ARG VERSION={version}\n" in DOCKERFILE


def test_base_images_are_pinned() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    (pinned,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert bases == ["${BASE}", "${BASE}"]
    assert PINNED.fullmatch(pinned)
    assert f"library/{pinned}" in DOCKERFILE


def test_the_image_checks_its_own_health_and_runs_without_root() -> None:
    (probe,) = re.findall(r"^HEALTHCHECK[^\[]*CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    _python, _flag, program = json.loads(probe)
    assert "/healthz" in program
    compile(program, "HEALTHCHECK", "exec")  # raises on what is no program
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", DOCKERFILE, re.MULTILINE)


def test_the_image_listens_on_loopback_unless_it_is_told_otherwise() -> None:
    assert "HTTP__HOST=" not in DOCKERFILE


def test_the_image_is_made_by_the_steps_that_are_tested() -> None:
    """tests/integration/test_image_steps.py runs the script; here: the image runs nothing else to install anything."""
    steps = re.findall(r"^RUN (.*(?:\\\n.*)*)", DOCKERFILE, re.MULTILINE)
    assert [step for step in steps if "build.sh" in step] == [
        "deploy/build.sh dependencies /opt/ringfence",
        "deploy/build.sh program /opt/ringfence",
    ]
    assert not [step for step in steps if re.search(r"pip install|apt-get|curl|wget", step)]


def test_what_the_image_copies_is_let_through() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    allowed = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    wanted = {source for line in copied for source in line.split()}
    assert {f"!{source}" for source in wanted} <= set(allowed)
    assert all((ROOT / source).exists() for source in wanted)


# Templates are no YAML yet: test_chart.py renders them.
@pytest.mark.parametrize(
    "path", [p for p in project_files() if p.suffix in (".yml", ".yaml") and "templates" not in p.parts], ids=where
)
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


def test_a_worker_has_time_to_drain_before_it_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in SERVICES["liquidator"]["environment"].items():
        monkeypatch.setenv(variable, value)
    seconds = int(SERVICES["liquidator"]["stop_grace_period"].removesuffix("s"))
    assert seconds * 1000 > load(None).worker.shutdown_ms
