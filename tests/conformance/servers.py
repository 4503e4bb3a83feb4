"""Servers under test. Add one by yielding a :class:`Server` from a fixture in ``conftest.py``."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Tensor:
    """A tensor as JSON: ``data`` is flat, text stands for BYTES in UTF-8."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: tuple[Any, ...]


@dataclass(frozen=True)
class Sample:
    """A request to one model, and what it must answer."""

    model: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        base_url: ``http://HOST:PORT`` of REST.
        grpc_address: ``HOST:PORT`` of gRPC.
        samples: A request for each model.
        repository: The authorization with which clients may load and unload models; empty where nobody may.
        health_body: Whether health is answered with JSON, which KServe's client wants, or with an empty body.
        unknown_model: HTTP statuses that an unknown model may be answered with.
    """

    base_url: str
    grpc_address: str
    samples: tuple[Sample, ...]
    repository: str = ""
    health_body: bool = True
    unknown_model: tuple[int, ...] = (404,)

    def as_dict(self) -> dict[str, Any]:
        """For a client in another process."""
        return asdict(self)


VALUES: dict[str, tuple[Any, ...]] = {
    "BOOL": (True, False, False, True),
    "UINT8": (0, 255, 1, 2),
    "INT8": (-128, 127, 0, 1),
    "INT32": (-(2**31), 2**31 - 1, 0, 1),
    "INT64": (-(2**63), 2**63 - 1, 0, 1),
    "FP16": (0.5, -1.5, 0.0, 2048.0),
    "FP32": (0.5, -1.5, 0.0, 3e38),
    "FP64": (0.1, -1.5, 0.0, 1e300),
    "BYTES": ("ä", "", "two words", "0"),
}


#: FP16 is a model of its own, since it has neither JSON nor typed contents.
MODELS: dict[str, tuple[str, ...]] = {
    "all": tuple(datatype for datatype in VALUES if datatype != "FP16"),
    "half": ("FP16",),
}


def identity_samples() -> tuple[Sample, ...]:
    """A request to each of :data:`MODELS`: for each datatype an input like ``x_fp32``, given back as ``y_fp32``."""
    return tuple(
        Sample(
            model,
            tuple(Tensor(f"x_{datatype.lower()}", datatype, (2, 2), VALUES[datatype]) for datatype in datatypes),
            tuple(Tensor(f"y_{datatype.lower()}", datatype, (2, 2), VALUES[datatype]) for datatype in datatypes),
        )
        for model, datatypes in MODELS.items()
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def running(
    command: Sequence[str], server: Server, *, timeout_s: float = 60, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server process, from when all its models are ready until the end of the block."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            deadline = time.monotonic() + timeout_s
            for sample in server.samples:  # Triton calls itself ready while models are still to be added
                _wait_until_ready(process, f"{server.base_url}/v2/models/{sample.model}/ready", deadline)
            _wait_until_ready(process, f"{server.base_url}/v2/health/ready", deadline)
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, deadline: float) -> None:
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} is not ready; exit code {process.poll()}")
