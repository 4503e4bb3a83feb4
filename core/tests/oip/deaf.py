"""A server that stops listening on one of its ports at SIGUSR1, without an error anywhere: PACKAGE PORT [FLAG...]."""

import signal
import socket
import sys
from importlib import import_module

package, which = sys.argv.pop(1), int(sys.argv.pop(1))
server = import_module(f"{package}.server")
listeners: list[socket.socket] = []
listen = server._listen


def keep(*arguments: object) -> socket.socket:
    """Listen, and remember the socket."""
    listeners.append(listen(*arguments))
    return listeners[-1]


server._listen = keep
signal.signal(signal.SIGUSR1, lambda *_: listeners[which].shutdown(socket.SHUT_RDWR))
sys.exit(import_module(f"{package}.__main__").main(sys.argv[1:]))
