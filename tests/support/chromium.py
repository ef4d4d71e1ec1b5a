"""A real Chromium of the system, headless and without a network, driven over its debugging pipe."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.process import Unavailable

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VARIABLE: Final = "RINGFENCE_CHROMIUM"
FLAGS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
START_MS: Final = 60_000


def find_chromium() -> str:
    """Its path. Raises `Unavailable` with what to do."""
    named = os.environ.get(VARIABLE)
    found = named or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise Unavailable(f"Chromium is not installed: apt-get install chromium, or {VARIABLE}=its path")
    return found


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A browser with a profile of its own below `profile`; everything of it is gone afterwards."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise Unavailable("playwright is not installed: make setup") from error
    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(profile), executable_path=find_chromium(), headless=True, args=list(FLAGS), timeout=START_MS
        )
        try:
            yield context
        finally:
            context.close()
