"""Long requests and answers are worked on beside the event loop, by whichever front end they came.

One thread reads and one writes: several of a kind would only wait for each other, and hold what is made of several
bodies at once. What they run must leave other threads their turn every few milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple

from tandem.oip.jsonscan import LONG

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")

_reader: Final = ThreadPoolExecutor(1, "reader")
_writer: Final = ThreadPoolExecutor(1, "writer")


def is_long(content: bytes | bytearray) -> bool:
    """Whether the event loop must not decode or compress it, since that may take too long."""
    return len(content) > LONG


def read(work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> asyncio.Future[_Result]:
    """Run a function of a request, after those that were given before.

    Args:
        work: Decodes it.
        arguments: Of ``work``.
    """
    return asyncio.get_running_loop().run_in_executor(_reader, work, *arguments)


def write(work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> asyncio.Future[_Result]:
    """Run a function of an answer, after those that were given before.

    Args:
        work: Encodes or compresses it.
        arguments: Of ``work``.
    """
    return asyncio.get_running_loop().run_in_executor(_writer, work, *arguments)
