"""The nesting depth of objects: it must reach that of the API server, or one deep object ends every watch."""

from __future__ import annotations

import resource
import sys
from typing import Final

MAX_DEPTH: Final = 10_000
"""Maximum depth of an object of the API server: that of Go's encoding/json."""

_CALLS_EACH: Final = 2
_STACK: Final = 64 << 20


def allow_deep_objects() -> None:
    """Let this process decode, render and encode objects of depth :data:`MAX_DEPTH`. Call it in the main thread.

    Python's recursion limit of 1000 also applies to decoders in C. The stack of the main thread grows on demand, up to
    a limit that can be raised at run time.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    most = _STACK if hard == resource.RLIM_INFINITY else min(_STACK, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (most, hard))
    sys.setrecursionlimit(_CALLS_EACH * MAX_DEPTH + sys.getrecursionlimit())
