"""A server process that a test starts, kills and starts again on the same directory and port."""

from __future__ import annotations

import abc
import atexit
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

POLL_S = 0.05
LOG_TAIL_BYTES = 4000


class Unavailable(RuntimeError):
    """A real part cannot be had on this machine; the text says how to get it."""


class StartFailed(RuntimeError):
    """The server is there, but it did not come up; the text carries the end of its log."""


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess(abc.ABC):
    """Start, stop, kill, pause and restart one server. All calls block: from async code use `asyncio.to_thread`."""

    name: str
    start_timeout_s: float = 120.0  # a broker that was killed takes some 5 s, where much else runs as many times longer
    stop_timeout_s: float = 30.0

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"ringfence-{self.name}-"))
        self.log_path = self.directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    @abc.abstractmethod
    def command(self) -> list[str]:
        """The argument list that starts the server in the foreground."""

    @abc.abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers a request now. Never raises for a server that is not there yet."""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    def start(self) -> Self:
        """Start and wait until the server answers.

        Raises:
            StartFailed: it exited, or did not answer within `start_timeout_s`.
        """
        assert not self.running, f"{self.name} is running"
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def wait_ready(self) -> None:
        """Wait until the server answers, at most `start_timeout_s`."""
        assert self._process is not None
        deadline = time.monotonic() + self.start_timeout_s
        while not self.is_ready():
            try:
                status = self._process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                raise StartFailed(
                    f"{self.name} gave no answer in {self.start_timeout_s:g} s\n{self.log_tail()}"
                ) from None
            raise StartFailed(f"{self.name} exited with {status}\n{self.log_tail()}")

    def stop(self) -> None:
        """Ask it to end (SIGTERM), and insist (SIGKILL) after `stop_timeout_s`. Nothing to do if it does not run."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it without notice (SIGKILL) and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def restart(self) -> Self:
        """Stop if it runs, then start on the same directory and port."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """End it and remove its directory; it cannot be started again. Without notice: what it would write in leaving is gone too."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def log_tail(self) -> str:
        """The end of what the server printed."""
        return self.log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, f"{self.name} was never started"
        assert self.running, f"{self.name} is not running"
        self._process.send_signal(number)
