"""`ringfence venue` keeps away from anything but a plain Kafka of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.main import app

RUNNER = CliRunner()


@pytest.mark.parametrize("setting", ['topic_prefix = "live-"', 'security_protocol = "SSL"'])
def test_it_refuses_what_looks_like_a_real_venues_kafka(setting: str, tmp_path: Path) -> None:
    config = tmp_path / "ringfence.toml"
    config.write_text(f'[kafka]\nbootstrap = "127.0.0.1:1"\n{setting}\n[redis]\nurl = "redis://127.0.0.1:1"\n')
    result = RUNNER.invoke(app, ["venue", "--config", str(config)])
    assert result.exit_code == 2
    assert "PLAINTEXT Kafka without a topic prefix only" in result.stderr


def test_without_a_configuration_it_says_what_to_set() -> None:
    result = RUNNER.invoke(app, ["venue"])
    assert result.exit_code == 2
    assert "kafka.bootstrap is not set" in result.stderr
