"""The floor: what one Starlette worker does when there is nothing to do."""

from __future__ import annotations

import argparse

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.starlette_server import ready, serve


async def empty(request: Request) -> JSONResponse:
    """Read the body, answer ``{}``."""
    await request.body()
    return JSONResponse({})


app = Starlette(
    routes=[
        Route("/v1/models/{name}:predict", empty, methods=["POST"]),
        Route("/v2/health/ready", ready),
    ]
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--http_port", type=int, required=True)
    serve(app, parser.parse_args().http_port)
