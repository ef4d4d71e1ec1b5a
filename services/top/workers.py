"""Asking workers for their status. One that does not answer is lost, with what was last known of it."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

import msgspec

from services.contracts.status import WorkerStatus

TIMEOUT_S: Final = 3.0
LARGEST: Final = 4 * 1024 * 1024  # bytes of an answer; a worker's own stays far below
PATH: Final = "/statusz"

Fetch = Callable[[str], bytes]


class Lost(Exception):
    """No usable answer; the text says why in a few words."""


@dataclass(slots=True)
class Seen:
    """One worker as it was last seen. `lost_since` (monotonic) is set while it does not answer."""

    url: str
    status: WorkerStatus | None = None
    raw: bytes = b""
    error: str | None = None
    lost_since: float | None = None
    is_namesake: bool = False  # another says the same name: two workers of one host

    @property
    def name(self) -> str:
        return urlsplit(self.url).netloc if self.status is None or self.is_namesake else self.status.instance


@dataclass
class Workers:
    """All that were named on the command line, in that order."""

    urls: Sequence[str]
    monotonic: Callable[[], float]
    fetch: Fetch = field(default_factory=lambda: fetch_status)
    seen: list[Seen] = field(init=False)

    def __post_init__(self) -> None:
        self.seen = [Seen(url) for url in dict.fromkeys(self.urls)]

    async def refresh(self) -> None:
        """Ask all of them at once; each answers, or is lost, within the time-out."""
        await asyncio.gather(*(self._refresh(each) for each in self.seen))
        names = Counter(each.status.instance for each in self.seen if each.status is not None)
        for each in self.seen:
            each.is_namesake = each.status is not None and names[each.status.instance] > 1

    async def _refresh(self, worker: Seen) -> None:
        try:
            raw = await asyncio.to_thread(self.fetch, worker.url)
            status = read_status(raw)
        except Lost as error:
            worker.error = str(error)
            worker.lost_since = worker.lost_since if worker.lost_since is not None else self.monotonic()
        else:
            worker.raw, worker.status, worker.error, worker.lost_since = raw, status, None, None


def read_status(raw: bytes) -> WorkerStatus:
    """The answer's content.

    Raises:
        Lost: it is no worker's status.
    """
    try:
        return msgspec.json.decode(raw, type=WorkerStatus)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Lost(f"what answers there is no worker: {error}") from error


def status_url(text: str) -> str:
    """`http://host:port` with the path of the status, from what a person wrote.

    Raises:
        ValueError: it is no address of a worker.
    """
    parts = urlsplit(text if "//" in text else f"http://{text}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is no address like http://127.0.0.1:9464")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith(PATH) else path + PATH}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A worker never redirects: whatever does is something else."""

    def redirect_request(self, *_: object) -> None:
        return None


def fetch_status(url: str) -> bytes:
    """The bytes behind a status address, asked directly: no proxy, no redirect, no file.

    Raises:
        Lost: no answer in time, or no status.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            raw: bytes = answer.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        raise Lost(f"answers {error.code}") from error
    except urllib.error.URLError as error:
        raise Lost(_in_words(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise Lost(_in_words(error)) from error
    if len(raw) > LARGEST:
        raise Lost(f"answers more than {LARGEST} bytes")
    return raw


def _in_words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason) or type(reason).__name__
