"""Ctrl-C, SIGTERM and SIGHUP as one interruption, after which nothing disturbs the stopping."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.01


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Run the body until one of these signals, the first of which raises ``KeyboardInterrupt`` in it and ends here.

    Further ones are ignored, so that the body's own ``finally`` runs to its end. For the main thread.
    """
    interrupted: int | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted is None:
            interrupted = number
            raise KeyboardInterrupt

    def lost(unraisable: sys.UnraisableHookArgs) -> None:
        """Python drops what is raised while it throws an object away: then the signal has to come again."""
        nonlocal interrupted
        if interrupted is None or unraisable.exc_type is not KeyboardInterrupt:
            hook(unraisable)
            return
        number, interrupted = interrupted, None
        threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)).start()

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    hook, sys.unraisablehook = sys.unraisablehook, lost
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
