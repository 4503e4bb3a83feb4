"""How both stock halves are served: the SDK's ``ModelServer``, one worker, without a log line per request."""

from __future__ import annotations

import asyncio
import logging
import os

import kserve
import uvloop

from benchmarks import UVLOOP


def serve(model: kserve.Model) -> None:
    """Serve until SIGTERM.

    With one worker the SDK stays on asyncio's own event loop, whatever ``--event-loop`` says. That is what its users
    get, so that is measured, unless :data:`benchmarks.UVLOOP` is set.
    """
    if os.environ.get(UVLOOP):
        uvloop.install()
        asyncio.set_event_loop(asyncio.new_event_loop())
    server = kserve.ModelServer(workers=1, enable_latency_logging=False)
    logging.getLogger("uvicorn.access").handlers.clear()
    for name in ("kserve", "kserve.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server.start([model])
