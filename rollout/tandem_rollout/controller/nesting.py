"""How deeply objects may be nested: as deeply as the API server takes them, or one object ends every watch."""

from __future__ import annotations

import resource
import sys
from typing import Final

MAX_DEPTH: Final = 10_000
"""Levels of an object that the API server takes: those of Go's encoding/json."""

_CALLS_EACH: Final = 2
_STACK: Final = 64 << 20


def allow_deep_objects() -> None:
    """Let this process decode, render and encode objects of :data:`MAX_DEPTH` levels. To be called in the main thread.

    Python counts the calls of decoders in C, too, and gives up at a thousand. The stack of the main thread grows with
    its use, up to a limit that may be raised while it runs.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    most = _STACK if hard == resource.RLIM_INFINITY else min(_STACK, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (most, hard))
    sys.setrecursionlimit(_CALLS_EACH * MAX_DEPTH + sys.getrecursionlimit())
