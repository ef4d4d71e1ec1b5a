"""Metrics and probes over HTTP: GET only, no table data, loopback unless configured otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Probes:
    """`/metrics`, `/livez` (= `/healthz`) and `/readyz`. `why_not_*` answer reasons; none means yes."""

    def __init__(
        self,
        metrics: Callable[[], bytes],
        why_not_live: Callable[[], Sequence[str]],
        why_not_ready: Callable[[], Sequence[str]],
    ) -> None:
        self._metrics = metrics
        self._runner: web.AppRunner | None = None
        self._why_not_live = why_not_live
        self._why_not_ready = why_not_ready

    async def start(self, host: str, port: int) -> int:
        """Listen; answers the port (chosen by the system for 0).

        Raises:
            OSError: the address is taken.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._serve_metrics, allow_head=False)
        app.router.add_get("/livez", self._serve_live, allow_head=False)
        app.router.add_get("/healthz", self._serve_live, allow_head=False)
        app.router.add_get("/readyz", self._serve_ready, allow_head=False)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": TEXT})

    async def _serve_live(self, _: web.Request) -> web.Response:
        return _verdict(self._why_not_live())

    async def _serve_ready(self, _: web.Request) -> web.Response:
        return _verdict(self._why_not_ready())


def _verdict(reasons: Sequence[str]) -> web.Response:
    return web.Response(status=503, text="\n".join(reasons) + "\n") if reasons else web.Response(text="ok\n")
