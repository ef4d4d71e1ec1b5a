"""Metrics, probes and status over HTTP: GET and HEAD only, no table data, loopback unless configured otherwise.

Whoever can reach the port can ask, so an answer must never cost a decision: a request is at most a few kilobytes and a few seconds,
there is one request a connection and a small number of connections, and a slow answer is given up.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from aiohttp import web

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
LINE_BYTES: Final = 2_048  # of a request's first line, and of each of its header fields
FIELDS: Final = 40
CONNECTIONS: Final = 32
ANSWER_S: Final = 5.0
CONNECTION_S: Final = 10.0  # from connecting to having read the whole answer
BACKLOG: Final = 64


class Status(Protocol):
    """The status page as JSON; told whether it may name accounts."""

    async def __call__(self, *, name_accounts: bool) -> bytes: ...


class Probes:
    """`/livez` (= `/healthz`), `/readyz`, `/metrics`, and `/statusz` where there is a `status`. `why_not_*` answer reasons; none means yes."""

    def __init__(
        self,
        metrics: Callable[[], bytes],
        why_not_live: Callable[[], Sequence[str]],
        why_not_ready: Callable[[], Sequence[str]],
        status: Status | None = None,
        ready_as: Callable[[], str] = lambda: "ok",
    ) -> None:
        self._metrics = metrics
        self._why_not_live = why_not_live
        self._why_not_ready = why_not_ready
        self._status = status
        self._ready_as = ready_as
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; answers the port (chosen by the system for 0).

        Raises:
            OSError: the address is taken.
        """
        app = web.Application(middlewares=[_bounded])
        app.router.add_get("/metrics", self._serve_metrics)
        app.router.add_get("/livez", self._serve_live)
        app.router.add_get("/healthz", self._serve_live)
        app.router.add_get("/readyz", self._serve_ready)
        if self._status is not None:
            app.router.add_get("/statusz", self._serve_status)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, lingering_time=0, max_line_size=LINE_BYTES, max_field_size=LINE_BYTES,
            max_headers=FIELDS,
        )  # fmt: skip
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._connection, host, port, backlog=BACKLOG)
        bound: int = self._listening.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _connection(self) -> asyncio.BaseProtocol:
        """One connection: answered and closed within its time, or closed."""
        assert self._runner is not None
        server = self._runner.server
        assert server is not None, "set up before listening"
        if len(server.connections) >= CONNECTIONS:
            return _Refusal()
        handler = server()
        asyncio.get_running_loop().call_later(CONNECTION_S, handler.force_close)
        return handler

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": TEXT})

    async def _serve_live(self, _: web.Request) -> web.Response:
        return _verdict(self._why_not_live())

    async def _serve_ready(self, _: web.Request) -> web.Response:
        return _verdict(self._why_not_ready(), self._ready_as())

    async def _serve_status(self, request: web.Request) -> web.Response:
        assert self._status is not None
        local = is_loopback(request.remote or "") and is_loopback(host_of(request.host))
        return web.Response(body=await self._status(name_accounts=local), content_type="application/json")


class _Refusal(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@web.middleware
async def _bounded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """An answer in time or 503, and no second request on the connection."""
    try:
        async with asyncio.timeout(ANSWER_S):
            response = await handler(request)
    except TimeoutError:
        response = web.Response(status=503, text=f"no answer within {ANSWER_S:g} s\n")
    except web.HTTPException as refusal:
        response = web.Response(status=refusal.status, text=f"{refusal.reason}\n", headers=_allow(refusal))
    response.force_close()
    response.headers["Server"] = "ringfence"  # and not the versions of what it is made of
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _allow(refusal: web.HTTPException) -> dict[str, str]:
    return {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}


def _verdict(reasons: Sequence[str], yes: str = "ok") -> web.Response:
    return web.Response(status=503, text="\n".join(reasons) + "\n") if reasons else web.Response(text=f"{yes}\n")


def host_of(authority: str) -> str:
    """The host of a `Host` header, without its port."""
    return authority.partition("]")[0].lstrip("[") if authority.startswith("[") else authority.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own. A foreign name that resolves to loopback (DNS rebinding) is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
