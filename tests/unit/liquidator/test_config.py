"""Configuration: file < environment < flags, errors in one line, secrets from files alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.engine.settings import Ladder, Settings
from services.liquidator.build import instance_id, kafka_connection, table_settings
from services.liquidator.config import EngineSection, Misconfigured, load, read_secret, show

NEEDED = '[kafka]\nbootstrap = "file:1"\n[redis]\nurl = "redis://file"\n'


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("RINGFENCE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ringfence.toml"
    path.write_text(NEEDED)
    return path


def test_the_environment_overrides_the_file_and_flags_override_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(file).kafka.bootstrap == "file:1"
    monkeypatch.setenv("RINGFENCE_KAFKA__BOOTSTRAP", "env:1")
    assert load(file).kafka.bootstrap == "env:1"
    assert load(file, {"kafka.bootstrap": "flag:1", "redis.url": None}).kafka.bootstrap == "flag:1"
    assert load(file).redis.url == "redis://file"


def test_show_tells_where_each_value_is_from(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGFENCE_ENGINE__HYSTERESIS", "0.07")
    shown = {name: (value, origin) for name, value, origin in show(file, {"http.port": 1})}
    assert shown["kafka.bootstrap"] == ("file:1", f"file {file}")
    assert shown["engine.hysteresis"] == ("0.07", "environment")
    assert shown["http.port"] == ("1", "flag")
    assert shown["worker.flush_ms"] == ("50", "default")


def test_every_engine_parameter_can_be_configured_and_defaults_to_the_engines_own() -> None:
    shown = set(Settings.__struct_fields__) - {"account_partitions", "grade_prices"}  # a worker always grades
    assert set(EngineSection.model_fields) == shown
    assert EngineSection().settings(8) == Settings(account_partitions=8)


def test_a_class_of_accounts_has_a_ladder_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "ringfence.toml"
    path.write_text(NEEDED + '[engine.ladders."house:cross"]\nwarning_buffer = "0.5"\n')
    assert load(path).engine.settings(8).ladders == {"house:cross": Ladder(warning_buffer=5 * 10**17)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[redis]\nurl = "redis://h"\n', r"kafka\.bootstrap is not set.*RINGFENCE_KAFKA__BOOTSTRAP"),
        ('[kafka]\nbootstrap = "h:1"\n', r"redis\.url is not set"),
        ('[kafka]\nbootstap = "h:1"\n', r"kafka\.bootstap is not a setting"),
        (NEEDED + "[engine]\nhysteresis = 0.1\n", r"engine\.hysteresis.*string"),
        (NEEDED + '[engine]\nhysteresis = "1e5"\n', r"engine\.hysteresis.*decimal"),
        (NEEDED + '[engine.ladders."broker:cross"]\nwarning_buffer = "1"\n', r"engine\.ladders\.broker:cross"),
        (NEEDED + "[worker]\nflush_ms = 1\n", r"worker\.flush_ms"),
        (NEEDED + "[worker]\nflsh_ms = 50\n", r"worker\.flsh_ms is not a setting"),
        (NEEDED + "[wroker]\nflush_ms = 50\n", r"unknown section \[wroker\]"),
        ("[kafka\n", "is not TOML"),
        (NEEDED.replace("redis://file", "redis://:secret@h"), r"must not hold a password"),
        (NEEDED.replace('"file:1"', '"h:1"\nsecurity_protocol = "SASL_SSL"'), r"needs kafka\.sasl_username"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=told) as raised:
        load(path)
    assert "\n" not in str(raised.value)
    assert "secret@" not in str(raised.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_secrets_come_from_files_and_are_never_shown(file: Path, tmp_path: Path) -> None:
    password, key = tmp_path / "password", tmp_path / "key"
    password.write_text("kafka secret\n")
    key.write_text("row secret\n")
    flags = {
        "kafka.security_protocol": "SASL_PLAINTEXT", "kafka.sasl_username": "monitor",
        "kafka.sasl_password_file": str(password), "redis.row_key_file": str(key),
    }  # fmt: skip
    config = load(file, flags)
    connection = kafka_connection(config)
    assert connection.arguments()["sasl_plain_password"] == "kafka secret"
    assert table_settings(config, Settings()).key == b"row secret"
    for shown in (repr(config), repr(connection), str(show(file, flags))):
        assert "secret" not in shown.replace(str(tmp_path), "")


def test_an_empty_or_missing_secret_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "missing"):
        with pytest.raises(Misconfigured, match=name):
            read_secret(tmp_path / name)


def test_an_instance_is_an_id_of_the_contracts() -> None:
    assert instance_id("host-1.example") == "host-1.example"
    assert instance_id("_ü host") == "host"
    assert len(instance_id("x" * 200)) == 64
    assert instance_id("---") != ""


@pytest.mark.parametrize(
    ("more", "flags", "missing"),
    [("[worker]\njournal = false\n", {}, "worker.journal"), ("", {"shadow": True}, "shadow")],
)
def test_a_standby_needs_the_journal(file: Path, more: str, flags: dict[str, object], missing: str) -> None:
    assert load(file, {"worker.standby": True}).worker.standby_silence_ms == 1_000
    file.write_text(NEEDED + more)
    with pytest.raises(Misconfigured, match=rf"worker\.standby .*{missing}.*sign of life"):
        load(file, {"worker.standby": True, **flags})
