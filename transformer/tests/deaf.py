"""A transformer that stops listening on one of its ports at SIGUSR1, without an error anywhere."""

import signal
import socket
import sys

from tandem_transformer import server
from tandem_transformer.__main__ import main

which = int(sys.argv.pop(1))
listeners: list[socket.socket] = []
listen = server._listen


def keep(*arguments: object) -> socket.socket:
    listeners.append(listen(*arguments))  # type: ignore[arg-type]
    return listeners[-1]


server._listen = keep  # type: ignore[assignment]
signal.signal(signal.SIGUSR1, lambda *_: listeners[which].shutdown(socket.SHUT_RDWR))
sys.exit(main(sys.argv[1:]))
