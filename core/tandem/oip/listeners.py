"""The ports of a server, asked by the server itself: a process that answers on one and not on another is broken.

A port may be lost without any error of the process, so nothing but asking it tells. Whoever does not answer in time may
just be busy, and is left to the probes of the kubelet; a connection that is refused or cut off says that it is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tandem.oip import grpc_messages, header_blocks, http2
from tandem.oip.protobuf import SERVICE

logger = logging.getLogger(__name__)

EVERY_S: Final = 1.0
_PATIENCE_S: Final = 5.0
_LOST: Final = 3
_LONGEST_ANSWER: Final = 2**16
_LOCAL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (what is listened on, and how it is reached)


@dataclass(frozen=True)
class Listener:
    """A port that must answer.

    Attributes:
        host: Address that is listened on.
        port: Its number.
        question: What is sent.
        answer: What an answer contains.
    """

    host: str
    port: int
    question: bytes
    answer: bytes

    async def check(self) -> None:
        """Ask it.

        Raises:
            ConnectionError: No process listens, or the one that listens does not answer.
            OSError: It cannot be asked, or not in time.
        """
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_connection(_LOCAL.get(self.host, self.host), self.port)
            try:
                writer.write(self.question)
                received = b""
                while self.answer not in received and len(received) < _LONGEST_ANSWER:
                    part = await reader.read(4096)
                    if not part:
                        raise ConnectionError("the connection was closed without an answer")
                    received += part
            finally:
                writer.close()


def http_listener(host: str, port: int) -> Listener:
    """A port that must answer ``GET /v2/health/live``."""
    question = b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    return Listener(host, port, question, b"HTTP/1.1 200 ")


def grpc_listener(host: str, port: int) -> Listener:
    """A port that must answer ``ServerLive``."""
    head = (
        header_blocks.NO_TABLE
        + b"\x83\x86"  # :method POST, :scheme http
        + header_blocks.indexed(4, f"/{SERVICE}/ServerLive")
        + header_blocks.indexed(1, "localhost")
        + header_blocks.indexed(31, "application/grpc")
        + header_blocks.literal("te", "trailers")
    )
    call = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, head)
    call += http2.frame(http2.DATA, http2.END_STREAM, 1, grpc_messages.pack(b""))
    question = http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0, b"") + call
    return Listener(host, port, question, header_blocks.literal("grpc-status", "0"))


async def watch(
    listeners: Sequence[Listener],
    report: Callable[[bool], object],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Ask all listeners again and again.

    Args:
        listeners: The ports.
        report: Called after each round with whether all ports answer.
        sleep: Waits for so many seconds.

    Raises:
        ConnectionError: One has not been there for three rounds: the process should end, and be started again.
    """
    failures = [0] * len(listeners)
    while True:
        outcomes = await asyncio.gather(*(listener.check() for listener in listeners), return_exceptions=True)
        for index, (listener, outcome) in enumerate(zip(listeners, outcomes, strict=True)):
            # a timeout does not count: a busy server is left to the probes of the kubelet
            failures[index] = failures[index] + 1 if isinstance(outcome, ConnectionError) else 0
            if failures[index] >= _LOST:
                raise ConnectionError(f"port {listener.port} does not answer any more: {outcome}") from outcome
        report(not any(failures))
        await sleep(EVERY_S)
