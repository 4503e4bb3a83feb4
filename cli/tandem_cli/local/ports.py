"""Free TCP ports on the loopback interface, and paths of Unix sockets."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from tandem_cli.local.processes import LOOPBACK, StackError

_LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Bytes of a socket's path."""

_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, none of which this process was given before.

    Another process can still take one before it is used: whoever starts a server there must be ready to try again.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            # held until all are found, so that the kernel gives each only once
            listener = held.enter_context(socket.socket())
            listener.bind((LOOPBACK, 0))
            port: int = listener.getsockname()[1]
            if port not in _given:
                ports.append(port)
        _given.update(ports)
        return ports


def socket_path(directory: Path, name: str) -> Path:
    """Path of a Unix socket that only those reach who may enter the directory.

    Raises:
        StackError: The path is longer than one of a socket may be.
    """
    path = directory / f"{name}.sock"
    if len(str(path).encode()) > _LONGEST_PATH:
        raise StackError(f"{path} is too long for a socket, {_LONGEST_PATH} bytes: set TMPDIR to a shorter directory")
    return path
