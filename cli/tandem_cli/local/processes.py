"""Child processes: watched, stopped in order, and never left behind by their parent."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tandem_cli.errors import AdvisedError

GRACE_SECONDS = 10.0
LOOPBACK = "127.0.0.1"
TAIL_LINES = 20
POLL_SECONDS = 0.02
_PORT_HINT = "another program has the port; choose a different one with --port, or omit --port"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class StackError(AdvisedError):
    """The local stack cannot be started, or a part of it has failed."""


class ChildDied(StackError):
    """A process of the stack ended unexpectedly.

    Attributes:
        name: Name of the process.
        exit_code: Its exit code, negative for a signal.
        log_tail: The last lines of its log.
        port_was_taken: Whether another process has a port that it was to listen on.
    """

    def __init__(self, name: str, exit_code: int, log_tail: str, *, port_was_taken: bool = False) -> None:
        how = f"was ended by {_signal_name(-exit_code)}" if exit_code < 0 else f"ended with exit code {exit_code}"
        tail = f"; the end of its log:\n{log_tail}" if log_tail else "; its log is empty"
        super().__init__(f"{name} {how}{tail}", advice=_PORT_HINT if port_was_taken else None)
        self.name = name
        self.exit_code = exit_code
        self.log_tail = log_tail
        self.port_was_taken = port_was_taken


@dataclass
class Child:
    """One process of the stack; started by :func:`start`.

    Attributes:
        name: Its name in messages.
        process: The process.
        log: File with its standard output and error.
        ports: Ports of the loopback interface that it listens on.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    ports: tuple[int, ...] = ()
    _stopping: bool = field(default=False, repr=False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def check(self) -> None:
        """Check that it runs.

        Raises:
            ChildDied: if it has ended, and was not stopped.
        """
        exit_code = self.process.poll()
        if exit_code is not None and not self._stopping:
            # its own sockets ended with it
            port_was_taken = any(map(is_taken, self.ports))
            raise ChildDied(self.name, exit_code, self.log_tail(), port_was_taken=port_was_taken)

    def log_tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def terminate(self) -> None:
        """Send it SIGTERM, without waiting."""
        self._stopping = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, with all processes that it started itself."""
        self._stopping = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            # the group that it leads: itself and all that it started
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


def start(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    ports: Iterable[int] = (),
) -> Child:
    """Start a process that ends with the calling thread, so call this from the main thread.

    It leads a process group of its own: Ctrl-C in a terminal reaches the parent only, which then stops its children
    in order.

    Args:
        name: Its name in messages.
        command: Program and arguments.
        log: File that receives its standard output and error.
        environment: Variables to set in addition to those of the parent.
        ports: Ports of the loopback interface that it is going to listen on.

    Raises:
        StackError: if the program cannot be run.
    """
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                process_group=0,
                # a parent that is killed can stop nothing: then the kernel kills the child
                preexec_fn=_dying_with(os.getpid(), _libc) if _libc else None,
            )
    except OSError as error:
        raise StackError(f"{name} cannot be started: {error}") from error
    return Child(name, process, log, tuple(ports))


def is_taken(port: int) -> bool:
    """Whether a process listens on a port of the loopback interface."""
    with socket.socket() as probe:
        # connections that were closed a moment ago take no port from a server
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
        return False


def wait_until(condition: Callable[[], bool], children: Iterable[Child], *, seconds: float, what: str) -> None:
    """Wait for a condition while all children run.

    Args:
        condition: Evaluated every :data:`POLL_SECONDS`.
        children: Processes that must run meanwhile.
        seconds: How long to wait at most.
        what: Name of the condition in the message.

    Raises:
        ChildDied: if a child ends before.
        StackError: if the condition is not true in time.
    """
    watched = list(children)
    deadline = time.monotonic() + seconds
    while not condition():
        for child in watched:
            child.check()
        if time.monotonic() > deadline:
            tails = "\n".join(f"{child.name}: {tail}" for child in watched if (tail := child.log_tail(5)))
            raise StackError(
                f"timed out after {seconds:g} s waiting for {what}{'; the logs end with' if tails else ''}\n{tails}"
            )
        time.sleep(POLL_SECONDS)


def stop(children: Sequence[Child], *, grace: float = GRACE_SECONDS) -> None:
    """Stop children together: SIGTERM, and SIGKILL for those that still run after the grace period.

    Args:
        children: Processes, which may have ended already.
        grace: Seconds to wait in between.
    """
    # all get the signal before the first wait, so that they end at the same time
    for child in children:
        child.terminate()
    deadline = time.monotonic() + grace
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.process.wait()
        # processes that it started itself may still run
        child.kill()


def _dying_with(parent: int, libc: ctypes.CDLL) -> Callable[[], Any]:
    """The function that runs in the child between fork and exec: it requests SIGKILL for when the parent ends."""
    prctl = libc.prctl

    def request_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # the parent ended before the request
            os._exit(1)

    return request_signal


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
