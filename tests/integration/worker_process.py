"""A worker as its own process: started, asked, stopped, killed."""

from __future__ import annotations

import asyncio
import http.client
import re
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.integration.venue import until

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "from services.cli.main import app; app()"


class WorkerProcess:
    """`ringfence liquidator` on a configuration file in `folder`; its log is there too."""

    def __init__(
        self, folder: Path, name: str, bootstrap: str, redis_url: str, prefix: str, *, session_timeout_ms: int = 1_200,
        **worker: object,
    ) -> None:  # fmt: skip
        self.name = name
        self.config = folder / f"{name}.toml"
        self.log_path = folder / f"{name}.log"
        worker.setdefault("max_price_silence_ms", 60_000)  # a slow start is no silent feed
        extra = "".join(f"{key} = {value}\n" for key, value in worker.items())
        self.config.write_text(
            f'[kafka]\nbootstrap = "{bootstrap}"\ntopic_prefix = "{prefix}"\ngroup = "{prefix}group"\n'
            f"session_timeout_ms = {session_timeout_ms}\nheartbeat_interval_ms = 300\nrebalance_timeout_ms = 1500\n"
            f'[redis]\nurl = "{redis_url}"\nprefix = "{prefix}"\n'
            f'[worker]\ninstance = "{name}"\n{extra}[http]\nport = 0\n[log]\nformat = "json"\n'
        )
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *flags: str, ready: bool = True) -> WorkerProcess:
        with self.log_path.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, "liquidator", "--config", str(self.config), *flags,
                cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        if ready:
            await until(f"{self.name} is ready\n{self.log()}", self.is_ready)
        return self

    async def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, self.log()
        found = re.search(r'"port": (\d+)', self.log())
        if found is None:
            return False
        self.port = int(found[1])
        return (await self.get("/readyz"))[0] == 200

    async def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self.port}{path}", method)

    async def metric(self, name: str) -> float:
        """Sum over the labels of a metric."""
        _, text = await self.get("/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line))

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 15)


def _get(url: str, method: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, http.client.HTTPException) as error:  # also: it was killed in the middle of its answer
        return 0, str(error)
