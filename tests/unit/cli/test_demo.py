"""What `ringfence demo` says to the person beside its figures."""

import os

import pytest

from services.cli.demo import BUSY, _busy


@pytest.mark.parametrize(("load", "said"), [(0.5, False), (BUSY, True)])
def test_a_busy_machine_is_named(monkeypatch: pytest.MonkeyPatch, load: float, said: bool) -> None:
    cores = os.cpu_count() or 1
    monkeypatch.setattr(os, "getloadavg", lambda: (load * cores, 0.0, 0.0))
    assert (_busy() is not None) is said
