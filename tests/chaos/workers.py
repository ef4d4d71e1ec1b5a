"""The workers of a chaos run: each in its place, behind its own cable to Redis, started again whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

from services.adapters.process import Exit
from tests.chaos.proxy import Proxy
from tests.integration.venue import now_ms
from tests.integration.worker_process import WorkerProcess

RESTART_S = 0.5
END_S = 60.0
TAIL_BYTES = 2_000


class ChaosWorker(WorkerProcess):
    """A worker with a session that a loaded machine can keep, and snapshots every few seconds."""

    def __init__(self, folder: Path, name: str, bootstrap: str, redis_url: str, prefix: str) -> None:
        super().__init__(folder, name, bootstrap, redis_url, prefix)
        self.config.write_text(
            f'[kafka]\nbootstrap = "{bootstrap}"\ntopic_prefix = "{prefix}"\ngroup = "{prefix}group"\n'
            "session_timeout_ms = 2000\nheartbeat_interval_ms = 500\nrebalance_timeout_ms = 2000\nrequest_timeout_ms = 10000\n"
            f'[redis]\nurl = "{redis_url}"\nprefix = "{prefix}"\n'
            "[engine]\norder_ttl_ms = 4000\n"
            f'[worker]\ninstance = "{name}"\nsnapshot_ms = 8000\nreclaim_ms = 10000\nshutdown_ms = 30000\n'
            '[http]\nport = 0\n[log]\nformat = "json"\n'
        )

    def tail(self) -> str:
        return self.log().encode()[-TAIL_BYTES:].decode(errors="replace")


@dataclass
class Life:
    """One process: when it was killed, if it was."""

    worker: ChaosWorker
    killed_ms: int | None = None
    frozen: bool = False


@dataclass
class Place:
    """Where one worker after the other lives. Every life has an instance name of its own, so that its claims tell it apart."""

    name: str
    folder: Path
    bootstrap: str
    prefix: str
    proxy: Proxy
    draw: random.Random
    standby: bool = False
    lives: list[Life] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)  # ends that nobody caused
    refused_starts: int = 0  # Kafka or Redis did not answer
    closing: bool = False

    @property
    def life(self) -> Life | None:
        """The process that runs now."""
        last = self.lives[-1] if self.lives else None
        if last is None or last.worker.process is None or last.worker.process.returncode is not None:
            return None
        return last

    @property
    def is_up(self) -> bool:
        """Whether the process that runs now has got as far as to answer its probes; recovery comes after that."""
        return self.life is not None and '"event": "listening"' in self.life.worker.log()

    async def keep(self) -> None:
        """Start, wait for the end, start again: what a supervisor does. Cancelled, it leaves the last process as it is."""
        while not self.closing:
            url = f"redis://127.0.0.1:{self.proxy.port}/0"
            life = Life(ChaosWorker(self.folder, f"{self.name}.{len(self.lives)}", self.bootstrap, url, self.prefix))
            self.lives.append(life)
            await life.worker.start(*(("--standby",) if self.standby else ()), ready=False)
            assert life.worker.process is not None
            code = await life.worker.process.wait()
            if life.killed_ms is None and not self.closing:
                self._note(life, code)
            await asyncio.sleep(RESTART_S * self.draw.uniform(0.2, 3))

    def _note(self, life: Life, code: int) -> None:
        if code == Exit.UNREACHABLE:
            self.refused_starts += 1
        else:
            self.unexpected.append(f"{life.worker.name} ended with {code}\n{life.worker.tail()}")

    @property
    def is_frozen(self) -> bool:
        life = self.life
        return life is not None and life.frozen

    def kill(self) -> str:
        """The instance that was killed; to be asked of a place that `is_up`."""
        life = self.life
        assert life is not None
        assert life.worker.process is not None
        life.killed_ms = now_ms()
        life.worker.process.kill()
        return life.worker.name

    def freeze(self) -> Life:
        """To be asked of a place that `is_up` and is not frozen."""
        life = self.life
        assert life is not None
        assert not life.frozen
        life.frozen = True
        life.worker.freeze()
        return life

    def thaw(self, life: Life) -> None:
        life.frozen = False
        with contextlib.suppress(ProcessLookupError):  # killed while it was frozen
            life.worker.thaw()

    async def is_ready(self) -> bool:
        life = self.life
        return life is not None and await life.worker.is_ready()

    async def open_gates(self) -> int:
        life = self.life
        if life is None or (not life.worker.port and not await self._knows_port(life)):
            return 0
        return int(await life.worker.metric("ringfence_gate_open"))

    async def state(self) -> str:
        """For people: how many of its shards may decide, and why the others may not."""
        life = self.life
        if life is None:
            return "gone"
        if life.frozen:
            return "frozen"
        if not life.worker.port and not await self._knows_port(life):
            return "starting"
        status, text = await life.worker.get("/metrics")
        if status == 0:
            return "silent"
        gates = int(sum(float(value) for value in re.findall(r"^ringfence_gate_open\{.*\} (.*)$", text, re.MULTILINE)))
        reasons = re.findall(r'^ringfence_gate_shut_reason\{.*reason="(\w+)".*\} 1', text, re.MULTILINE)
        return f"{gates}{'' if not reasons else ':' + ','.join(sorted(set(reasons)))}"

    async def _knows_port(self, life: Life) -> bool:
        """The port is in the log; a process that ended says nothing."""
        with contextlib.suppress(AssertionError):
            await life.worker.is_ready()
        return life.worker.port > 0

    async def end(self) -> int | None:
        """SIGTERM, and wait; the exit code."""
        self.closing = True
        life = self.life
        if life is None or life.worker.process is None:
            return None
        life.worker.process.terminate()
        return await asyncio.wait_for(life.worker.process.wait(), END_S)

    async def destroy(self) -> None:
        """Whatever still runs is killed."""
        self.closing = True
        for life in self.lives:
            if life.worker.process is not None and life.worker.process.returncode is None:
                life.worker.process.kill()
                await life.worker.process.wait()

    @property
    def takeovers(self) -> int:
        """How often a shard was claimed because its owner was silent."""
        return sum(life.worker.log().count('"event": "taken_over"') for life in self.lives)

    def logs(self) -> str:
        """The ends of the logs of the last two lives."""
        return "\n".join(f"--- {life.worker.name}\n{life.worker.tail()}" for life in self.lives[-2:])
