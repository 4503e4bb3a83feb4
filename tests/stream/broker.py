"""A real Kafka broker: one process in KRaft mode, from the jars that Maven fetches."""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
JAVA = [
    "java",
    *("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
    # the agents of a developer's machine are none of the broker's business
    "-XX:-UsePerfData",
]
START_S = 120


def missing_programs() -> list[str]:
    """Programs that the broker needs and this machine lacks."""
    return [program for program in ("java", "mvn") if shutil.which(program) is None]


def classpath() -> str:
    """The broker's jars; Maven is asked for them once for each checkout."""
    CACHE.mkdir(parents=True, exist_ok=True)
    target = CACHE / f"classpath-{uuid.uuid5(uuid.NAMESPACE_OID, POM.read_text())}"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        jars = target.read_text() if target.exists() else ""
        if not jars or not all(Path(jar).exists() for jar in jars.split(os.pathsep)):
            command = ["mvn", "-q", "-B", "-f", POM, "dependency:build-classpath", "-Dmdep.includeScope=runtime"]
            subprocess.run([*command, f"-Dmdep.outputFile={target}"], check=True)
            jars = target.read_text()
    return jars.strip()


class Broker:
    """One broker with its log in a directory, which stays when it is stopped and started again.

    Args:
        directory: An empty directory.

    Attributes:
        address: ``host:port``.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._java = [*JAVA, "-cp", classpath()]
        self._properties = directory / "server.properties"
        port, controller_port = _free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self._properties.write_text(PROPERTIES.format(port=port, controller=controller_port, log=directory / "log"))
        self._process: subprocess.Popen[bytes] | None = None
        cluster = base64.urlsafe_b64encode(uuid.UUID(int=uuid.uuid4().int >> 2).bytes).decode().rstrip("=")
        formatting = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", self._properties]
        subprocess.run([*self._java, *formatting], check=True, capture_output=True)

    def start(self) -> None:
        """Start, and return when the broker answers."""
        with (self._directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", self._properties], stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_S
        admin = self.admin()
        while True:
            try:
                admin.list_topics(timeout=1)
                return
            except KafkaException:
                assert self._process.poll() is None, (self._directory / "output").read_text()
                assert time.monotonic() < deadline, "the broker does not answer"

    def stop(self) -> None:
        """Stop as a node that is drained."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def admin(self) -> AdminClient:
        """A client that may do everything."""
        return AdminClient({"bootstrap.servers": self.address, "logger": _Silence()})

    def create(self, *names: str, partitions: int = 4, **config: str) -> None:
        """Create topics; properties have underscores for dots."""
        # results end with their client
        admin = self.admin()
        properties = {name.replace("_", "."): value for name, value in config.items()}
        topics = [NewTopic(name, partitions, 1, config=properties) for name in names]
        for result in admin.create_topics(topics).values():
            result.result(30)


class _Silence:
    """The log of a client that asks until the broker is there."""

    def log(self, *_: object) -> None:
        pass


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [own.getsockname()[1] for own in sockets]
    finally:
        for own in sockets:
            own.close()


PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={log}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""
