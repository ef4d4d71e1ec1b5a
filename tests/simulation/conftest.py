"""Histories are run two at a time: each is one thread's work, and there are hundreds."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest


@pytest.fixture(scope="session")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Spawned, not forked: other tests may have left threads behind."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        yield processes
