"""Ctrl-C, SIGTERM and SIGHUP as one interruption, after which further ones are ignored."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RESEND_SECONDS = 0.01


@contextmanager
def until_interrupted() -> Iterator[None]:
    """Run the body until one of these signals; the first raises ``KeyboardInterrupt`` in it, which is caught here.

    Further ones are ignored, so that each ``finally`` of the body is completed. For the main thread.
    """
    interrupted: int | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted is None:
            interrupted = number
            raise KeyboardInterrupt

    def resend(unraisable: sys.UnraisableHookArgs) -> None:
        """Python drops an exception that is raised in a finalizer: then the signal is sent again."""
        nonlocal interrupted
        if interrupted is None or unraisable.exc_type is not KeyboardInterrupt:
            hook(unraisable)
            return
        number, interrupted = interrupted, None
        threading.Timer(_RESEND_SECONDS, os.kill, (os.getpid(), number)).start()

    previous = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    hook, sys.unraisablehook = sys.unraisablehook, resend
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        sys.unraisablehook = hook
        for number, handler in previous.items():
            signal.signal(number, handler)
