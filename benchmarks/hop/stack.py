"""What a stack is: a server and a client for unary calls of ``ModelInfer`` with serialised messages."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

Handler = Callable[[bytes], Awaitable[bytes]]
"""From a serialised request to a serialised response."""

Call = Callable[[bytes], Awaitable[bytes]]
"""Sends a serialised request and waits for its serialised response."""

STACKS: Final = ("tandem", "h2", "grpcio")
"""Names of all stacks; ours first."""

MAX_MESSAGE: Final = 2**24
"""Longest request, in bytes."""


class Stack(Protocol):
    """A module of this package that carries calls over one connection."""

    async def serve(self, port: int, handler: Handler) -> object:
        """Answer calls on a port of the loopback interface, as long as what this returns is held."""

    async def connect(self, port: int) -> Call:
        """A connection that any number of calls may share at once."""


def load(name: str) -> Stack:
    """A stack by its name, without the libraries of the others."""
    return cast(Stack, importlib.import_module(f"benchmarks.hop.{name}_stack"))
