"""REST: health, metadata, model repository, metrics. Nothing here is on the path of an inference."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

import msgspec
import prometheus_client
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tandem.errors import Internal, MalformedRequest, MethodNotAllowed, NotFound, RequestError
from tandem.oip.encoding import MIN_COMPRESSED_BYTES
from tandem.oip.extensions import EXTENSIONS as SHARED
from tandem_predictor.metrics import PredictorMetrics
from tandem_predictor.repository import Repository

NAME: Final = "tandem-predictor"
VERSION: Final = version(NAME)
_MANAGED: Final = (*SHARED, "model_repository")


class _JsonResponse(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


class _Endpoints:
    def __init__(self, repository: Repository, metrics: PredictorMetrics) -> None:
        self._repository = repository
        self._metrics = metrics

    async def server(self, request: Request) -> Response:
        return _JsonResponse({"name": NAME, "version": VERSION, "extensions": list_extensions(self._repository)})

    async def live(self, request: Request) -> Response:
        return _JsonResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        ready = self._repository.ready
        return _JsonResponse({"ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        return _JsonResponse(self._repository.get(**_target(request)).metadata())

    async def model_ready(self, request: Request) -> Response:
        model = self._repository.get(**_target(request))
        return _JsonResponse({"name": model.name, "ready": True})

    async def config(self, request: Request) -> Response:
        return _JsonResponse(self._repository.get(**_target(request)).configuration())

    async def statistics(self, request: Request) -> Response:
        return _JsonResponse(self._repository.statistics(**_target(request)))

    async def index(self, request: Request) -> Response:
        self._authorize(request)
        options = await _json(request)
        return _JsonResponse(await self._repository.index(ready_only=bool(options.get("ready"))))

    async def load(self, request: Request) -> Response:
        self._authorize(request)
        self._repository.check_serving()
        name = request.path_params["name"]
        overrides = (await _json(request)).get("parameters") or {}
        if not isinstance(overrides, dict):
            raise MalformedRequest("parameters must be an object")
        if overrides:
            raise MalformedRequest(f"parameters {', '.join(overrides)} are not served: a model is loaded as it is")
        await self._repository.load(name)
        return _JsonResponse({"name": name, "load": True})

    async def unload(self, request: Request) -> Response:
        self._authorize(request)
        self._repository.check_serving()
        name = request.path_params["name"]
        await self._repository.unload(name)
        return _JsonResponse({"name": name, "unload": True})

    def _authorize(self, request: Request) -> None:
        self._repository.authorize(request.headers.get("authorization", ""))

    async def metrics(self, request: Request) -> Response:
        text = prometheus_client.generate_latest(self._metrics.registry)
        return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)


def list_extensions(repository: Repository) -> tuple[str, ...]:
    """Extensions of the protocol that are served."""
    return _MANAGED if repository.managed else SHARED


def build_routes(repository: Repository, metrics: PredictorMetrics) -> Starlette:
    """All of REST but inference.

    Args:
        repository: The models.
        metrics: Metrics.
    """
    endpoints = _Endpoints(repository, metrics)
    managing = _managing_routes(endpoints) if repository.managed else []
    app = Starlette(
        routes=[*_server_routes(endpoints), *_model_routes(endpoints), *managing],
        middleware=[Middleware(GZipMiddleware, minimum_size=MIN_COMPRESSED_BYTES, compresslevel=1)],
        exception_handlers={RequestError: _refuse, 404: _no_route, 405: _no_method, Exception: _unexpected},
    )
    # a redirect would lead to whatever host the client names
    app.router.redirect_slashes = False
    return app


def _server_routes(endpoints: _Endpoints) -> list[Route]:
    return [
        Route("/v2", endpoints.server),
        Route("/v2/health/live", endpoints.live),
        Route("/v2/health/ready", endpoints.ready),
        Route("/metrics", endpoints.metrics),
    ]


def _model_routes(endpoints: _Endpoints) -> list[Route]:
    model = "/v2/models/{name}"
    return [
        # ahead of the next, which takes any name
        Route("/v2/models/stats", endpoints.statistics),
        Route(model, endpoints.model),
        Route(f"{model}/config", endpoints.config),
        Route(f"{model}/stats", endpoints.statistics),
        Route(f"{model}/versions/{{version}}/config", endpoints.config),
        Route(f"{model}/versions/{{version}}/stats", endpoints.statistics),
        Route(f"{model}/ready", endpoints.model_ready),
        Route(f"{model}/versions/{{version}}", endpoints.model),
        Route(f"{model}/versions/{{version}}/ready", endpoints.model_ready),
    ]


def _managing_routes(endpoints: _Endpoints) -> list[Route]:
    return [
        Route("/v2/repository/index", endpoints.index, methods=["POST"]),
        Route("/v2/repository/models/{name}/load", endpoints.load, methods=["POST"]),
        Route("/v2/repository/models/{name}/unload", endpoints.unload, methods=["POST"]),
    ]


def _target(request: Request) -> dict[str, str]:
    return {"name": request.path_params.get("name", ""), "version": request.path_params.get("version", "")}


async def _json(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRequest(f"the body is not a JSON object: {error}") from None


async def _refuse(request: Request, error: Any) -> Response:
    return _JsonResponse(error.body(), error.status)


async def _no_method(request: Request, error: Exception) -> Response:
    allowed = ((error.headers or {}) if isinstance(error, HTTPException) else {}).get("Allow", "")
    refused = MethodNotAllowed(request.method, ", ".join(sorted(allowed.split(", "))))
    return _JsonResponse(refused.body(), refused.status, {"allow": refused.allowed})


async def _no_route(request: Request, error: Exception) -> Response:
    return _JsonResponse(NotFound(f"nothing is served at {request.url.path}", code="not_found").body(), 404)


async def _unexpected(request: Request, error: Exception) -> Response:
    """The answer to the client; uvicorn logs the traceback."""
    return _JsonResponse(Internal("internal error").body(), Internal.status)
