"""The worker as a child process: started, watched, and ended by its id."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

STOP_TIMEOUT_S: Final = 10.0
LOG_TAIL_BYTES: Final = 2_000


class WorkerFailed(RuntimeError):
    """The worker ended by itself, or did not get ready in time; the text holds the end of its log."""


class WorkerProcess:
    """One `ringfence liquidator`, with its log in a file and its working folder beside it."""

    def __init__(self, config: Path, log: Path) -> None:
        self._config = config
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "from services.cli.main import app; app()"),
                *("liquidator", "--config", str(self._config)),
                cwd=self._log.parent,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
            )

    async def watch(self) -> None:
        """Returns never; raises `WorkerFailed` when the process ends."""
        assert self._process is not None, "watched before it was started"
        code = await self._process.wait()
        raise WorkerFailed(f"the worker ended with code {code}\n{self.log_tail()}")

    async def stop(self) -> None:
        """Asks it to end, and ends it after `STOP_TIMEOUT_S`."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def log_tail(self) -> str:
        content = self._log.read_bytes() if self._log.exists() else b""
        return content[-LOG_TAIL_BYTES:].decode(errors="replace")


def _environment() -> dict[str, str]:
    """Ours, without settings that would override the demo's configuration, and with the program's own place on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RINGFENCE_")}
    root = str(Path(__file__).resolve().parents[2])
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, [root, kept.get("PYTHONPATH")]))}
