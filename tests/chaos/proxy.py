"""A TCP proxy on loopback whose cable can be cut: silently, as a lost link is, or with a reset, as a dead host's is."""

from __future__ import annotations

import asyncio
import contextlib

CHUNK = 64 * 1024


class Proxy:
    """Listens on a port of its own and passes everything on to `target_port`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._refusing = False
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def cut(self, *, silently: bool) -> None:
        """Silently: connections stay and what was sent waits, to arrive late after `mend`. Else they are reset and none is let in."""
        if silently:
            self._passing.clear()
        else:
            self._refusing = True
            self._reset()

    def mend(self) -> None:
        self._refusing = False
        self._passing.set()

    async def close(self) -> None:
        self.mend()
        if self._server is not None:
            self._server.close()
        self._reset()

    def _reset(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            beyond_reader, beyond = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:  # the server is down: so is the connection
            writer.transport.abort()
            return
        self._open |= {writer, beyond}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, beyond))
                tasks.create_task(self._pump(beyond_reader, writer))
        finally:
            self._open -= {writer, beyond}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either end is gone; then the other end goes too."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
