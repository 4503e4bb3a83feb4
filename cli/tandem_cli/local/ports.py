"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"

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
