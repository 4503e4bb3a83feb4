"""Processes that belong to the benchmark: started in order, ended by their ids, last first."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

_STOP_S: Final = 15.0


class StartError(Exception):
    """Something that the benchmark needs is not there, or does not start."""


class Processes:
    """Processes, and where they print.

    Args:
        logs: Folder for what they print.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._started:
            _stop(self._started.pop())

    def start(self, label: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> int:
        """Start a process; returns its id."""
        with self.log(label).open("ab") as output:
            # its own session: Ctrl-C reaches only us, and the order of stopping is ours
            process = subprocess.Popen(
                [str(part) for part in command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self._started.append(process)
        return process.pid

    def stop(self, pid: int) -> None:
        """End a process before the others."""
        process = next(candidate for candidate in self._started if candidate.pid == pid)
        self._started.remove(process)
        _stop(process)

    def check(self) -> None:
        """See that all of them run.

        Raises:
            StartError: if one has ended; with its last lines.
        """
        for process in self._started:
            if process.poll() is not None:
                name = Path(str(process.args[0])).name if isinstance(process.args, list) else "a process"
                raise StartError(f"{name} ended with code {process.returncode}; its log is in {self._logs}")

    def log(self, label: str) -> Path:
        """What a process prints."""
        return self._logs / f"{label}.log"


def free_port() -> int:
    """An unused port of the loopback interface."""
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
