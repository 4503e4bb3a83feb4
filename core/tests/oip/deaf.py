"""A server that stops listening on one of its ports at SIGUSR1, without an error anywhere: PACKAGE PORT [FLAG...].

PORT is 0 for HTTP and 1 for gRPC.
"""

import signal
import socket
import sys
from importlib import import_module
from typing import Any

from tandem.oip import serving

package, port = sys.argv.pop(1), int(sys.argv.pop(1))
listeners: list[socket.socket] = []
listen = serving.listen


def keep(*arguments: Any, **options: Any) -> socket.socket:
    """Listen, and remember the socket."""
    listeners.append(listen(*arguments, **options))
    return listeners[-1]


serving.listen = keep
signal.signal(signal.SIGUSR1, lambda *_: listeners[port].shutdown(socket.SHUT_RDWR))
sys.exit(import_module(f"{package}.__main__").main(sys.argv[1:]))
