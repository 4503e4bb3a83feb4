"""The HTTP application: FastAPI with documentation, health, metadata and metrics; predict routes in front of it."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from tandem.errors import Internal, MethodNotAllowed, NotFound, RequestError
from tandem.oip.encoding import MIN_COMPRESSED_BYTES
from tandem_transformer.headers import request_id_of
from tandem_transformer.http import PredictEndpoint
from tandem_transformer.http_codecs import V1Codec, V2Codec
from tandem_transformer.http_responses import error_reply
from tandem_transformer.refresh import add_refresh_route
from tandem_transformer.routes import (
    add_feedback_route,
    add_model_routes,
    add_own_routes,
    add_server_routes,
    check_model,
)
from tandem_transformer.service import Service
from tandem_transformer.v1 import V1
from tandem_transformer.v2 import V2

_PREDICT_PATH = re.compile(r"/v[12]/models/(?P<model>[^/:]+)(?:/versions/(?P<version>[^/:]+))?(?::predict|/infer)")


class TransformerApp:
    """The ASGI application of one process.

    Args:
        service: What answers.
    """

    def __init__(self, service: Service) -> None:
        bundle, name = service.bundle, service.model_name
        config = service.config
        v2 = V2(bundle.contract, name, bundle.version, config.max_request_rows)
        v1 = V1(service.reader, bundle.signature, name, bundle.version, config.max_request_rows)
        predict_v1 = PredictEndpoint(service, V1Codec(service, v1))
        predict_v2 = PredictEndpoint(service, V2Codec(service, v2))
        versioned = f"{name}/versions/{bundle.version}"
        self.predict = {
            f"/v1/models/{name}:predict": predict_v1,
            f"/v1/models/{versioned}:predict": predict_v1,
            f"/v2/models/{name}/infer": predict_v2,
            f"/v2/models/{versioned}/infer": predict_v2,
        }
        self.endpoints = {path.encode(): endpoint for path, endpoint in self.predict.items()}
        self._fastapi = _fastapi(service, v2)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, the predict routes first."""
        endpoint = self.predict.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None and scope.get("method") == "HEAD":
            # as GET; uvicorn, whose own scope still says HEAD, sends no body
            scope = {**scope, "method": "GET"}
        await (endpoint or self._fastapi)(scope, receive, send)


def _fastapi(service: Service, v2: V2) -> FastAPI:
    bundle = service.bundle
    # the pages that FastAPI makes load scripts from another host, which a cluster or a browser may not reach
    about = bundle.model.__doc__ or ""
    # and a redirect to a path without its last slash would lead to whatever host the client names
    options: dict[str, Any] = {"docs_url": None, "redoc_url": None, "redirect_slashes": False}
    if not service.config.docs:
        options["openapi_url"] = None
    app = FastAPI(title=service.model_name, version=bundle.version, description=about, **options)
    app.add_exception_handler(RequestError, _answer_error)
    app.add_exception_handler(Exception, _answer_unexpected)
    # the fastest level: metrics are long, and asked for again and again
    app.add_middleware(GZipMiddleware, minimum_size=MIN_COMPRESSED_BYTES, compresslevel=1)
    add_server_routes(app, service)
    add_model_routes(app, service, v2)
    add_own_routes(app, service)
    add_feedback_route(app, service)
    add_refresh_route(app, service)
    _answer_other_paths(app, service)
    _document(app, service)
    return app


def _answer_other_paths(app: FastAPI, service: Service) -> None:
    """Say what is wrong with a path or a method that there is no route for."""

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> Response:
        try:
            # a predict path without a route names another model or version
            if match := _PREDICT_PATH.fullmatch(request.url.path):
                check_model(service, match["model"], match["version"])
            if error.status_code == MethodNotAllowed.status:
                allowed = (error.headers or {})["Allow"]
                # HEAD is answered wherever GET is, which the routes do not know
                raise MethodNotAllowed(request.method, allowed.replace("GET", "GET, HEAD"))
            raise NotFound(f"there is nothing at {request.url.path}", code="path_not_found")
        except RequestError as refusal:
            return await _answer_error(request, refusal)


def _document(app: FastAPI, service: Service) -> None:
    """Describe the predict routes too, which FastAPI does not know, from the contract."""
    generated = app.openapi

    def documentation() -> dict[str, Any]:
        from tandem.openapi import build_openapi

        bundle = service.bundle
        described = build_openapi(bundle.contract, model_name=service.model_name, version=bundle.version)
        own = generated()
        schemas = {**own.get("components", {}).get("schemas", {}), **described["components"]["schemas"]}
        return {
            **described,
            "paths": {**described["paths"], **own["paths"]},
            "components": {**described["components"], "schemas": schemas},
        }

    app.openapi = documentation  # type: ignore[method-assign]


async def _answer_error(request: Any, error: Any) -> Response:
    request_id = request_id_of(dict(request.scope["headers"]))
    content, headers = error_reply(error, request_id)
    headers.append((b"x-request-id", request_id))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    return Response(content, error.status, {name.decode(): value.decode("latin-1") for name, value in headers})


async def _answer_unexpected(request: Any, error: Exception) -> Response:
    """The answer to the client; uvicorn logs the traceback."""
    return await _answer_error(request, Internal("internal error"))
