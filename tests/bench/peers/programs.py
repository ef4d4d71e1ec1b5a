"""The peers that the fills are compared with: how each is made ready and started."""

from __future__ import annotations

import abc
import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.kafka_jars import find_java
from tests.support.process import Unavailable

__all__ = ["PEERS", "Peer", "Unavailable"]

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[2] / ".cache" / "peers"
SETUP_TIMEOUT_S = 400
COMMIT_S = 1.0  # between the commits of a peer; the worker stores each 50 ms


class Peer(abc.ABC):
    """`title` is how the figure calls it."""

    name: str
    title: str
    reach: str

    @abc.abstractmethod
    def prepare(self, folder: Path) -> None:
        """Have what it needs to start, in `folder` if it is not kept.

        Raises:
            Unavailable: it cannot be had on this machine; the text says why.
        """

    @abc.abstractmethod
    def command(self, bootstrap: str, topic: str, name: str, state: Path, partitions: int) -> list[str]:
        """The argument list that folds the topic, as an application or group of this name, with its state in the folder."""


class KafkaStreams(Peer):
    """The Java program in `kafka_streams`, compiled by Maven once for each state of its sources."""

    name = "kafka-streams"
    title = "Kafka Streams with RocksDB and changelog, same ledger"
    reach = ">= 1.2"

    def prepare(self, folder: Path) -> None:  # noqa: ARG002  # kept in the cache
        find_java()
        maven = shutil.which("mvn")
        if maven is None or shutil.which("javac") is None:
            raise Unavailable(
                "needs a JDK, 17 or newer, and Maven (Debian: apt-get install default-jdk-headless maven)"
            )
        project = HERE / "kafka_streams"
        sources = sorted(path for path in project.rglob("*") if path.suffix in (".java", ".xml"))
        self._built = CACHE / hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self._built.is_dir():
                self._build(maven, project / "pom.xml")

    def _build(self, maven: str, pom: Path) -> None:
        partial = self._built.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _run([maven, "-q", "-B", "-f", str(pom), "process-classes", f"-Doutput={partial}"], "Maven could not build it")
        partial.rename(self._built)

    def command(self, bootstrap: str, topic: str, name: str, state: Path, partitions: int) -> list[str]:  # noqa: ARG002  # as many as the topic has
        return [
            find_java(), "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{self._built}/classes:{self._built}/jars/*",
            "ringfence.peers.Main", bootstrap, topic, name, str(state), str(round(COMMIT_S * 1_000)),
        ]  # fmt: skip


class StockFaust(Peer):
    """Runs in our own environment: the release that the worker is built on."""

    name = "faust"
    title = "stock Faust with a table, same ledger"
    reach = ">= 10"

    def prepare(self, folder: Path) -> None:
        """Nothing: it is a dependency."""

    def command(self, bootstrap: str, topic: str, name: str, state: Path, partitions: int) -> list[str]:
        script = str(HERE / "stock_faust.py")
        return [sys.executable, script, bootstrap, topic, name, str(partitions), str(COMMIT_S), str(state)]


class QuixStreams(Peer):
    """In an environment of its own: what it needs is none of our dependencies."""

    name = "quix-streams"
    title = "Quix Streams with state, same ledger"
    reach = ">= 3"

    def prepare(self, folder: Path) -> None:
        environment = folder / "quix"
        _run([sys.executable, "-m", "venv", str(environment)], "no environment can be made")
        self._python = str(environment / "bin" / "python")
        locked = str(HERE / "quix-requirements.txt")
        _run(
            [self._python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", locked], "pip could not get it"
        )

    def command(self, bootstrap: str, topic: str, name: str, state: Path, partitions: int) -> list[str]:  # noqa: ARG002  # as many as the topic has
        return [self._python, str(HERE / "quix_streams.py"), bootstrap, topic, name, str(state), str(COMMIT_S)]


def _run(command: list[str], otherwise: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SETUP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{otherwise}: not within {SETUP_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise Unavailable(f"{otherwise}: {(done.stdout + done.stderr)[-1_500:]}")


PEERS: tuple[Peer, ...] = (KafkaStreams(), StockFaust(), QuixStreams())
