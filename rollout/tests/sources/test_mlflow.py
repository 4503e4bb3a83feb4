"""Registries that do not answer, or answer something else."""

from __future__ import annotations

import re

import pytest
from aiohttp import web

from tandem_rollout.sources.mlflow import AliasTags, MlflowRegistry, RegistryError

from .servers import serving

MISSING = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not here"}'


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, "", "the registry responded with HTTP 500: no message"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no\\nway"}', "HTTP 403: no way"),
        # of a proxy, and not of MLflow
        (404, "<html>", "the registry responded with HTTP 404: no message"),
        (302, "", "the registry responded with HTTP 302"),
        (200, "<html>", "the registry sent an invalid response"),
        (200, '{"registered_model": []}', "the registry sent an invalid response"),
    ],
)
async def test_what_is_no_answer_of_mlflow(status: int, body: str, message: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    async with serving(answer) as address:
        registry = MlflowRegistry(address)
        with pytest.raises(RegistryError, match=re.escape(message)):
            await registry.read("m", "champion", set(), known=0)
        if status != 200:
            with pytest.raises(RegistryError, match=re.escape(message)):
                await registry.tag("m", 1, {"a": "b"})
        await registry.close()


async def test_a_model_that_is_missing_has_no_alias() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=404, text=MISSING)

    async with serving(answer) as address:
        registry = MlflowRegistry(f"{address}/")
        assert await registry.read("m", "champion", {1}, known=0) == AliasTags(version=None, tags={})
        await registry.close()


async def test_names_are_sent_as_they_are() -> None:
    asked: list[tuple[str, str, dict[str, str]]] = []

    async def answer(request: web.Request) -> web.Response:
        sent = dict(request.query) if request.method == "GET" else await request.json()
        asked.append((request.method, request.path, sent))
        return web.Response(text='{"registered_model": {"aliases": [{"alias": "champion", "version": "x"}]}}')

    async with serving(answer) as address:
        registry = MlflowRegistry(address)
        assert (await registry.read("a b&c=d", "champion", set(), known=0)).version is None
        await registry.tag("a b&c=d", 2, {"k": "v"})
        await registry.close()
    assert asked == [
        ("GET", "/api/2.0/mlflow/registered-models/get", {"name": "a b&c=d"}),
        (
            "POST",
            "/api/2.0/mlflow/model-versions/set-tag",
            {"name": "a b&c=d", "version": "2", "key": "k", "value": "v"},
        ),
    ]


async def test_a_registry_that_is_not_there() -> None:
    registry = MlflowRegistry("http://127.0.0.1:1")
    with pytest.raises(RegistryError, match="the registry does not answer"):
        await registry.read("m", "champion", set(), known=0)
    await registry.close()
