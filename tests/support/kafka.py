"""A real Kafka broker: one KRaft node, started from its own jars, on loopback."""

from __future__ import annotations

import base64
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.support.kafka_jars import broker_jars, find_java
from tests.support.process import ServerProcess, StartFailed, free_port

METADATA_API_KEY = 3
METADATA_VERSION = 4  # the last but one that needs no tagged fields in what we read, and still served by Kafka 4
FORMAT_TIMEOUT_S = 60


class KafkaServer(ServerProcess):
    """Broker and controller in one process. `restart` keeps data, cluster id and port."""

    name = "kafka"

    def __init__(self, overrides: Mapping[str, str] | None = None, *, lasting: bool = False) -> None:
        """Prepare the data directory; `overrides` are added to `server.properties`. `lasting`: compiled for throughput, as a
        benchmark wants it; else to be there soon: it starts with half the work.

        Raises:
            Unavailable: no Java, or the jars cannot be had.
        """
        self._lasting = lasting
        self._java = find_java()
        self._jars = broker_jars()
        super().__init__()
        self.port = free_port()
        self._controller_port = free_port()
        self._properties = self.directory / "server.properties"
        self._properties.write_text(_properties(self.directory, self.port, self._controller_port, overrides or {}))
        self._format()

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return self._jvm("kafka.Kafka", str(self._properties))

    def is_ready(self) -> bool:
        """Whether a metadata request is answered with a live broker."""
        try:
            return count_brokers(self.port) > 0
        except (OSError, struct.error):
            return False

    def _format(self) -> None:
        # The first byte is free of the bits that would make the text begin with "-", and look like an option.
        raw = bytes([uuid.uuid4().bytes[0] & 0x7F]) + uuid.uuid4().bytes[1:]
        cluster_id = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        command = self._jvm("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties))
        done = subprocess.run(command, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, check=False)
        if done.returncode != 0:
            raise StartFailed(f"formatting the broker's storage failed\n{done.stdout}{done.stderr}")

    def _jvm(self, main: str, *arguments: str) -> list[str]:
        return [
            self._java,
            "-Xms128m",
            "-Xmx512m",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:-UsePerfData",
            *(() if self._lasting else ("-XX:TieredStopAtLevel=1",)),
            "-Djava.awt.headless=true",
            "-Dorg.apache.logging.log4j.level=WARN",
            "-cp",
            f"{self._jars}/*",
            main,
            *arguments,
        ]


async def create_topics(
    bootstrap: str, partitions: Mapping[str, int], *, config: Mapping[str, str] | None = None
) -> None:
    """Create topics (name -> partition count), all with the same topic `config`; an existing topic is an error."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        new = [NewTopic(name, count, 1, topic_configs=dict(config or {})) for name, count in partitions.items()]
        answer = await admin.create_topics(new, timeout_ms=10_000)
        failed = [error for error in answer.topic_errors if error[1] != 0]
        assert not failed, f"topics not created: {failed}"
    finally:
        await admin.close()


def count_brokers(port: int, timeout_s: float = 2.0) -> int:
    """How many live brokers the one on `port` knows, by a metadata request for no topic.

    Raises:
        OSError: nothing listens, or the answer did not come in time.
    """
    client_id = b"ringfence-tests"
    header = struct.pack(">hhih", METADATA_API_KEY, METADATA_VERSION, 1, len(client_id)) + client_id
    request = header + struct.pack(">ib", 0, 0)  # an empty list of topics, and create none
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as stream:
            size = struct.unpack(">i", stream.read(4))[0]
            _correlation, _throttle_ms, brokers = struct.unpack_from(">iii", stream.read(size))
    assert isinstance(brokers, int)
    return brokers


def _properties(directory: Path, port: int, controller_port: int, overrides: Mapping[str, str]) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(directory / "data"),
        "auto.create.topics.enable": "false",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "num.recovery.threads.per.data.dir": "1",
        "log.cleaner.dedupe.buffer.size": "16777216",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Fail-over in tests happens in hundreds of milliseconds, not in the six seconds of production.
        "group.min.session.timeout.ms": "500",
        "group.initial.rebalance.delay.ms": "0",
        # After a kill the same node may register again only when its old session is over: 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        **overrides,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())
