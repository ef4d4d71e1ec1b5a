"""What the doctor concludes from what it sees, and what `config show` prints."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from msgspec import structs
from typer.testing import CliRunner

from services.adapters.redis_reader import ServerFacts
from services.adapters.topic_admin import Difference, FoundTopic, differences, wanted_topics
from services.cli.checkup import check_clock, check_instruments, check_server, check_topics, check_versions
from services.cli.main import app
from services.contracts.messages import MarginTier
from tests.unit.replay.fakes import instrument, of, record

SOUND = ServerFacts(version="8.0.2", time_ms=0, may_evict=False, eviction_policy="noeviction", keeps_log=True)
RUNNER = CliRunner()


def tier(rate: str) -> list[MarginTier]:
    return [MarginTier(notional_floor="0", maintenance_margin_rate=rate)]


@pytest.mark.parametrize(
    ("rate", "verdict"), [("0.0016", "ok"), ("0.001500000000000001", "ok"), ("0.0015", "problem"), ("0.001", "problem")]
)
def test_the_first_tier_must_pay_for_the_close(rate: str, verdict: str) -> None:
    records = [of(instrument(taker_fee_rate="0.0005", margin_tiers=tier(rate)))]
    (finding,) = check_instruments(records, Fraction("0.001"))
    assert finding.verdict == verdict
    assert bool(finding.advice) == (verdict == "problem")


def test_only_the_newest_record_of_an_instrument_counts() -> None:
    thin, sound = (of(instrument(margin_tiers=tier(rate))) for rate in ("0.001", "0.01"))
    assert check_instruments([thin, sound], Fraction(0))[0].verdict == "ok"
    assert check_instruments([sound, thin, record("instruments", b"x")], Fraction(0))[0].verdict == "problem"


@pytest.mark.parametrize(
    ("server_ms", "verdict"), [(1_000, "ok"), (750, "ok"), (1_350, "ok"), (749, "problem"), (1_351, "problem")]
)
def test_a_clock_may_differ_by_what_prices_tolerate(server_ms: int, verdict: str) -> None:
    """Asked at 1000, answered by 1100: the server's clock was read somewhere in between."""
    assert check_clock(server_ms, 1_000, 1_100).verdict == verdict


def test_a_clock_says_which_way_it_is_wrong() -> None:
    assert check_clock(5_000, 1_000, 1_100).detail == "3900 ms behind the Redis server's"
    assert check_clock(0, 1_000, 1_100).detail == "1000 ms ahead of the Redis server's"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": "6.2.1"}, "6.2.1"),
        ({"may_evict": True, "eviction_policy": "allkeys-lru"}, "allkeys-lru"),
        ({"keeps_log": False}, "append-only"),
    ],
)
def test_a_server_that_forgets_is_a_problem(changes: dict[str, object], told: str) -> None:
    (finding,) = check_server(structs.replace(SOUND, **changes))
    assert (finding.verdict, told in finding.detail, bool(finding.advice)) == ("problem", True, True)


def test_a_sound_server_and_these_versions_are_fine() -> None:
    assert [finding.verdict for finding in (*check_server(SOUND), check_versions())] == ["ok", "ok"]


def test_every_difference_of_a_topic_comes_with_what_to_do() -> None:
    made = [
        Difference(topic="fills", what="topic", wanted="to exist", found=None),
        Difference(topic="fills", what="partitions", wanted="4", found="2"),
        Difference(topic="prices", what="message.timestamp.type", wanted="LogAppendTime", found="CreateTime"),
    ]
    advice = [finding.advice for finding in check_topics(made)]
    assert advice[0] == "run `ringfence topics create`"
    assert "cannot be changed" in advice[1]
    assert advice[2].endswith("--entity-name prices --add-config message.timestamp.type=LogAppendTime")
    assert check_topics([])[0].verdict == "ok"


@pytest.mark.parametrize(
    ("needed", "has", "enough"),
    [
        ("1000", "1000", True),
        ("1000", "2000", True),
        ("1000", "-1", True),
        ("1000", "999", False),
        ("-1", "1000", False),
    ],
)
def test_more_retention_than_needed_is_no_difference(needed: str, has: str, enough: bool) -> None:
    wanted = structs.replace(wanted_topics("", 2)[0], config={"retention.ms": needed})
    found = {wanted.name: FoundTopic(name=wanted.name, partitions=wanted.partitions, config={"retention.ms": has})}
    assert (differences([wanted], found) == []) == enough


def test_config_show_tells_value_and_origin_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    file = tmp_path / "ringfence.toml"
    file.write_text(f'[kafka]\nbootstrap = "k:9092"\n[redis]\nurl = "redis://r:6379/0"\npassword_file = "{secret}"\n')
    monkeypatch.setenv("RINGFENCE_REDIS__PREFIX", "mine:")
    arguments = ["config", "show", "--config", str(file), "--set", "http.port=8080"]
    result = RUNNER.invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0
    rows = {line["setting"]: (line["value"], line["origin"]) for line in map(json.loads, result.stdout.splitlines())}
    assert rows["kafka.bootstrap"] == ("k:9092", f"file {file}")
    assert rows["redis.prefix"] == ("mine:", "environment")
    assert rows["http.port"] == ("8080", "flag")
    assert rows["redis.timeout_ms"] == ("2000", "default")
    people = RUNNER.invoke(app, arguments)
    assert "hunter2" not in result.stdout + people.stdout
    assert str(secret) == rows["redis.password_file"][0]


@pytest.mark.parametrize("arguments", [["config", "show"], ["topics", "check"], ["account", "a-1"], ["doctor"]])
def test_a_configuration_that_is_missing_is_wrong_use(arguments: list[str]) -> None:
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 2
    assert "kafka.bootstrap is not set" in result.output


def test_the_function_for_redis_is_printed_as_it_is() -> None:
    from services.adapters.redis_function import SOURCE

    assert RUNNER.invoke(app, ["doctor", "--print-function"]).stdout == SOURCE
