"""The broker that docker-compose.yml describes: its settings start a real one, which gets every topic of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from services.cli.main import app
from tests.conftest import in_ci
from tests.support.kafka import KafkaServer, count_brokers
from tests.support.process import Unavailable, free_port
from tests.tidy.tree import ROOT

SETTINGS: dict[str, str] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["kafka"]["environment"]
ROLES = {9092: "inside", 9093: "controller", 29092: "host"}


class ComposeKafka(KafkaServer):
    """The image makes `a.b` of KAFKA_A_B; here ports that are free stand for those of the container, and loopback for its names."""

    def __init__(self) -> None:
        self.ports = {number: free_port() for number in ROLES}
        settings = {name.removeprefix("KAFKA_").replace("_", ".").lower(): text for name, text in SETTINGS.items()}
        del settings["log.dirs"], settings["cluster.id"]
        super().__init__({name: self._here(text) for name, text in settings.items()})
        self.port = self.ports[29092]

    def _here(self, text: str) -> str:
        named = re.sub(r"(?<=://)(?:kafka|localhost)?(?=:)|(?<=@)localhost", "127.0.0.1", text)
        return re.sub(r":(\d{4,5})\b", lambda found: f":{self.ports[int(found[1])]}", named)


@pytest.fixture
def compose_kafka() -> Iterator[ComposeKafka]:
    try:
        server = ComposeKafka()
    except Unavailable as missing:
        if in_ci():
            pytest.fail(f"a real part is missing: {missing}", pytrace=False)
        pytest.skip(str(missing))
    try:
        yield server.start()
    finally:
        server.close()


@pytest.mark.kafka
@pytest.mark.slow
def test_it_starts_and_gets_its_topics(compose_kafka: ComposeKafka, tmp_path: Path) -> None:
    assert count_brokers(compose_kafka.ports[9092]) == 1
    assert count_brokers(compose_kafka.ports[29092]) == 1
    config = tmp_path / "ringfence.toml"
    config.write_text(f'[kafka]\nbootstrap = "{compose_kafka.bootstrap}"\n[redis]\nurl = "redis://localhost:1"\n')
    made = CliRunner().invoke(app, ["topics", "create", "--config", str(config)])
    assert made.exit_code == 0, made.output
    assert CliRunner().invoke(app, ["topics", "check", "--config", str(config)]).exit_code == 0
