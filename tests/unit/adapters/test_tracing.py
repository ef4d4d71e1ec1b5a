"""Tracing is off unless it is switched on, needs its extra then, and never holds up the end of a worker."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.adapters.batch_transport import _Fetched, to_batch
from services.adapters.otel import exporting
from services.adapters.tracing import Arrived, NoTracing
from services.liquidator.build import kafka_connection, stream_settings, topic_names, tracer
from services.liquidator.config import Config, Misconfigured, load
from tests.unit.liquidator.fakes import an_order

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def config_of(folder: Path, tracing: str = "") -> Config:
    file = folder / "ringfence.toml"
    file.write_text(f'[kafka]\nbootstrap = "b:1"\n[redis]\nurl = "redis://r"\n{tracing}')
    return load(file)


def raw(offset: int, *headers: tuple[str, bytes]) -> Any:
    return SimpleNamespace(offset=offset, timestamp=1, key=b"a", value=b"{}", headers=headers)


def test_it_is_off_by_default(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert isinstance(tracer(config), NoTracing)
    assert not stream_settings(config, topic_names(config), kafka_connection(config)).trace_context


def test_switched_on_it_follows_the_records(tmp_path: Path) -> None:
    config = config_of(tmp_path, "[tracing]\nenabled = true\n")
    made = tracer(config)
    assert not isinstance(made, NoTracing)
    made.close()
    assert stream_settings(config, topic_names(config), kafka_connection(config)).trace_context


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "services.adapters.otel", None)
    with pytest.raises(Misconfigured, match=r"pip install 'ringfence\[otel\]'"):
        tracer(config_of(tmp_path, "[tracing]\nenabled = true\n"))


def test_only_the_trace_context_of_a_record_is_kept() -> None:
    records = [raw(4), raw(5, ("other", b"x"), ("traceparent", TRACEPARENT)), raw(6, ("traceparent", b""))]
    part = _Fetched(1, 4, 7, records)
    assert to_batch("fills", 0, part, with_traces=True).traceparents == {5: TRACEPARENT}
    assert to_batch("fills", 0, part).traceparents == {}


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port where connections are taken and nothing is answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(4)
        yield listener.getsockname()[1]


def test_a_collector_that_does_not_answer_delays_the_end_by_seconds_only(deaf: int) -> None:
    tracing = exporting("w-1", f"http://127.0.0.1:{deaf}")
    for number in range(5):
        tracing.decided(an_order(f"a-{number}", 1), Arrived("fills", 0, number, 1, 2))
    started = time.monotonic()
    tracing.close()
    assert time.monotonic() - started < 4.5  # the shutdown gives each step five seconds
