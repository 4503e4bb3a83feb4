"""Free TCP ports on the loopback interface, and paths of Unix sockets."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from tandem_cli.local.processes import LOOPBACK, StackError

_LONGEST_PATH = 107 if sys.platform == "linux" else 103
"""Maximum length of a socket's path in bytes."""

_returned: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports that no process listens on, and that this function has not returned before.

    Another process can still take one before it is used, so a caller that starts a server must be able to try again.
    """
    with ExitStack() as listeners:
        ports: list[int] = []
        while len(ports) < count:
            # all stay open until the last, so that the kernel returns each port once
            listener = listeners.enter_context(socket.socket())
            listener.bind((LOOPBACK, 0))
            port: int = listener.getsockname()[1]
            if port not in _returned:
                ports.append(port)
        _returned.update(ports)
        return ports


def socket_path(directory: Path, name: str) -> Path:
    """Path of a Unix socket, reachable only for those who may enter the directory.

    Raises:
        StackError: if the path is too long for a socket.
    """
    path = directory / f"{name}.sock"
    if len(str(path).encode()) > _LONGEST_PATH:
        raise StackError(
            f"{path} is longer than {_LONGEST_PATH} bytes, the limit for a socket",
            advice="set TMPDIR to a shorter directory",
        )
    return path
