"""A server under fuzzing: its process, the probes of its ports, and what is sent to it at the moment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from benchmarks.fuzz import grpc, http1
from benchmarks.fuzz.judge import Judge
from benchmarks.fuzz.seeds import Seeds
from benchmarks.fuzz.tally import Tally

HANG_S: Final = 10.0
"""After this time without an answer a server hangs. Requests of either server have less by their own limits."""

START_S: Final = 60.0


@dataclass
class Target:
    """One server.

    Attributes:
        name: ``transformer`` or ``predictor``.
        command: Of its process.
        port: Of HTTP.
        grpc_port: Of gRPC.
        log: Where its lines go.
        seeds: Good requests.
        judge: Knows its answers.
        tally: Where its deaths are counted.
        environment: Of its process.
        in_flight: What each worker has sent without an answer: case and bytes.
        rounds: Since the process was started.
        process: Of the server; None before it was started.
        lock: Held while it is looked at whether the server is alive.
    """

    name: str
    command: Sequence[str]
    port: int
    grpc_port: int
    log: Path
    seeds: Seeds
    judge: Judge
    tally: Tally
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    in_flight: dict[object, list[tuple[str, bytes]]] = field(default_factory=dict)
    rounds: int = 0
    process: subprocess.Popen[bytes] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self) -> None:
        """Start the process and wait until both ports answer.

        Raises:
            RuntimeError: It did not start.
        """
        self.process = self._popen()
        self.rounds = 0
        deadline = time.monotonic() + START_S
        while not await self.answers(1.0):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the {self.name} did not start; its log is {self.log}")
            await asyncio.sleep(0.1)

    def _popen(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.command, stdout=output, stderr=output, env=self.environment, start_new_session=True
            )

    async def answers(self, seconds: float) -> bool:
        """Whether both ports answer a good request within some time."""
        try:
            async with asyncio.timeout(seconds):
                live = await http1.is_live(self.port)
                return live and await grpc.is_live(self.grpc_port)
        except (OSError, TimeoutError):
            return False

    async def revive(self) -> None:
        """Where the server is dead, count that and start it anew; nothing where it answers."""
        suspects = [case for cases in self.in_flight.values() for case in cases]
        async with self.lock:
            if self.running.poll() is None and await self.answers(HANG_S):
                return
            code = self.running.poll()
            fault = "a port does not answer any more" if code is None else f"the process ended with {code}"
            self.tally.report("death", self.name, fault, suspects)
            self.stop()
            await self.start()

    def growth_mb(self, warm: int) -> float:
        """Growth of the memory of the process at the end of a round, in MB.

        Args:
            warm: Rounds after which it is compared with: pools, caches and the heap have their size then.
        """
        self.rounds += 1
        rss_mb = self.rss_mb()
        if self.rounds <= warm:
            self._rested_mb = rss_mb
        return rss_mb - self._rested_mb

    def rss_mb(self) -> float:
        """Memory of the process, in MB."""
        return float(psutil.Process(self.running.pid).memory_info().rss) / 1e6

    @property
    def running(self) -> subprocess.Popen[bytes]:
        """The process.

        Raises:
            RuntimeError: It was not started.
        """
        if self.process is None:
            raise RuntimeError(f"the {self.name} was not started")
        return self.process

    def stop(self) -> None:
        """End the process, if it was started."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def command(module: str, *flags: object) -> list[str]:
    """The command line of a server."""
    return [sys.executable, "-m", module, "--host", "127.0.0.1", *map(str, flags)]
