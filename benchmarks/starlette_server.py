"""How the Starlette applications of the benchmarks are served: one process, uvloop, httptools, no access log."""

from __future__ import annotations

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse


async def ready(_: Request) -> JSONResponse:
    """Readiness, as the other servers have it."""
    return JSONResponse({})


def serve(app: Starlette, port: int) -> None:
    """Serve an application on the loopback interface until SIGTERM."""
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
