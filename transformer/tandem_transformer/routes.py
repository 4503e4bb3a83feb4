"""Routes of the HTTP application for health, metadata, verification, metrics and documentation."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.responses import JSONResponse

from tandem.errors import NotFound
from tandem.oip.extensions import EXTENSIONS
from tandem_transformer.prediction_log.feedback import FeedbackReader
from tandem_transformer.service import Service
from tandem_transformer.v2 import V2
from tandem_transformer.verification import replay_pair

_DOCS_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
"""The documentation page connects to this server only."""


def add_server_routes(app: FastAPI, service: Service) -> None:
    """Health and metadata of the server, and all metadata of V1."""

    @app.get("/v2/health/live", tags=["health"])
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready", tags=["health"])
    async def ready() -> JSONResponse:
        return JSONResponse({"ready": service.ready}, 200 if service.ready else 503)

    @app.get("/v2", tags=["metadata"])
    async def server() -> dict[str, Any]:
        return {"name": "tandem-transformer", "version": _version(), "extensions": EXTENSIONS}

    @app.get("/v1/models", tags=["metadata"])
    async def models() -> dict[str, list[str]]:
        return {"models": [service.model_name]}

    @app.get("/v1/models/{model}", tags=["metadata"])
    async def model_v1(model: str) -> dict[str, Any]:
        check_model(service, model, None)
        return {"name": model, "ready": service.ready}


def add_model_routes(app: FastAPI, service: Service, v2: V2) -> None:
    """Health and metadata of the model in the Open Inference Protocol v2."""
    name = service.model_name

    # ahead of /v2/models/{model}, which would take "stats" for a name
    _add_extension_routes(app, service, v2)

    @app.get("/v2/models/{model}", tags=["metadata"])
    @app.get("/v2/models/{model}/versions/{version}", tags=["metadata"])
    async def metadata(model: str, version: str | None = None) -> dict[str, Any]:
        check_model(service, model, version)
        return v2.metadata()

    @app.get("/v2/models/{model}/ready", tags=["health"])
    @app.get("/v2/models/{model}/versions/{version}/ready", tags=["health"])
    async def model_ready(model: str, version: str | None = None) -> JSONResponse:
        check_model(service, model, version)
        return JSONResponse({"name": name, "ready": service.ready}, 200 if service.ready else 503)


def _add_extension_routes(app: FastAPI, service: Service, v2: V2) -> None:
    """Statistics and configuration of the model, of Triton's extensions."""
    name = service.model_name

    @app.get("/v2/models/stats", tags=["metadata"])
    @app.get("/v2/models/{model}/stats", tags=["metadata"])
    @app.get("/v2/models/{model}/versions/{version}/stats", tags=["metadata"])
    async def statistics(model: str | None = None, version: str | None = None) -> dict[str, Any]:
        # no name stands for all models in Triton's extension, and here is one
        check_model(service, name if model is None else model, version)
        return {"model_stats": [service.recorder.statistics().as_dict(name, service.bundle.version)]}

    @app.get("/v2/models/{model}/config", tags=["metadata"])
    @app.get("/v2/models/{model}/versions/{version}/config", tags=["metadata"])
    async def configuration(model: str, version: str | None = None) -> dict[str, Any]:
        check_model(service, model, version)
        return v2.configuration()


def add_own_routes(app: FastAPI, service: Service) -> None:
    """Routes of no protocol: what a rollout verifies a version by, metrics, and the page of documentation."""
    bundle = service.bundle

    @app.get("/tandem/verification", include_in_schema=False)
    async def verification(provider: str = "CPUExecutionProvider") -> Response:
        rows = await replay_pair(bundle, service.backends, provider)
        if (simpler := service.simpler) is not None:
            rows += await replay_pair(simpler.bundle, simpler.backends, provider)
        described = {
            "name": bundle.name,
            "version": bundle.version,
            "digest": bundle.digest,
            "rows": rows,
            "contract": bundle.contract,
        }
        return Response(msgspec.json.encode(described), media_type="application/json")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.recorder.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    if service.config.docs:
        _add_docs_page(app)


def _add_docs_page(app: FastAPI) -> None:
    page = (files("tandem_transformer") / "docs.html").read_bytes()

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(page, media_type="text/html", headers={"content-security-policy": _DOCS_POLICY})


def add_feedback_route(app: FastAPI, service: Service) -> None:
    """What turned out to be true about predictions, where these are logged."""
    reader = FeedbackReader(service.bundle.contract.prediction.type)

    @app.post("/v1/models/{model}:feedback", tags=["feedback"])
    async def feedback(model: str, request: Request) -> JSONResponse:
        check_model(service, model, None)
        if service.prediction_log is None:
            raise NotFound("predictions are not logged here, so there is nothing to give feedback to",
                           code="prediction_log_off")  # fmt: skip
        records = reader.read(await request.body())
        await service.prediction_log.feedback(records)
        return JSONResponse({"recorded": records.rows})


def check_model(service: Service, model: str, version: str | None) -> None:
    """Refuse a model or a version that is not served here.

    Raises:
        NotFound: naming the one that is.
    """
    if model != service.model_name:
        raise NotFound(f"there is no model {model!r} here, only {service.model_name!r}")
    if version is not None and version != service.bundle.version:
        raise NotFound(
            f"version {version!r} is not served here, only {service.bundle.version!r}", code="version_not_found"
        )


def _version() -> str:
    from importlib.metadata import version

    return version("tandem-transformer")
