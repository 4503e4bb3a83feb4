"""The controller's client of MLflow's REST API, against MLflow's own handlers on an SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from mlflow import MlflowClient
from rollout.tests.sources.servers import serving

from tandem_offline.registry import Registry
from tandem_rollout.sources.mlflow import AliasTags, MlflowRegistry


@pytest.fixture
def client(registry: Registry) -> MlflowClient:
    """A client of a registry with two versions, the first of which is champion."""
    client = MlflowClient(tracking_uri=registry.uri, registry_uri=registry.uri)
    client.create_registered_model("small")
    for digest in ("a" * 64, "b" * 64):
        client.create_model_version("small", "file:///nowhere", tags={"tandem.digest": digest})
    client.set_registered_model_alias("small", "champion", "1")
    return client


@pytest.fixture
async def rest(
    registry: Registry, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MlflowRegistry]:
    for variable in ("_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_REGISTRY_STORE"):
        monkeypatch.setenv(variable, registry.uri)
    from mlflow.server import app, handlers

    monkeypatch.setattr(handlers, "_model_registry_store", None)
    flask = app.test_client()

    async def handle(request: web.Request) -> web.Response:
        body, headers = await request.read(), {"Content-Type": request.content_type}
        answer = await asyncio.to_thread(
            flask.open,
            request.path,
            method=request.method,
            query_string=dict(request.query),
            data=body,
            headers=headers,
        )
        return web.Response(status=answer.status_code, body=answer.get_data())

    async with serving(handle) as address:
        rest = MlflowRegistry(address, timeout=30.0)
        yield rest
        await rest.close()


async def test_aliases_tags_and_moves(rest: MlflowRegistry, registry: Registry, client: MlflowClient) -> None:
    first, second = ({"tandem.digest": digit * 64} for digit in "ab")
    assert await rest.read("small", "champion", {2, 9}, known=0) == AliasTags(version=1, tags={1: first, 2: second})
    # the tags of the version that is known are read only if they are asked for
    assert await rest.read("small", "champion", set(), known=1) == AliasTags(version=1, tags={})
    assert await rest.read("small", "champion", {1}, known=1) == AliasTags(version=1, tags={1: first})
    assert await rest.read("small", "other", set(), known=0) == AliasTags(version=None, tags={})
    assert await rest.read("other", "champion", {1}, known=0) == AliasTags(version=None, tags={})

    await rest.tag("small", 2, {"tandem.verdict": "Aborted", "tandem.rollout.models.small": "{}"})
    assert client.get_model_version("small", "2").tags == {
        **second,
        "tandem.verdict": "Aborted",
        "tandem.rollout.models.small": "{}",
    }

    await rest.put_back("small", "champion", 1, expected=2, reason="")
    assert registry.history("small") == []
    await rest.put_back("small", "champion", 2, expected=1, reason="MetricsFailed: failed by errors")
    assert (await rest.read("small", "champion", set(), known=2)).version == 2
    (move,) = registry.history("small")
    assert (move.alias, move.number, move.previous, move.action) == ("champion", 2, 1, "rollback")
    assert move.reason == "MetricsFailed: failed by errors"

    client.delete_model_version("small", "2")
    assert await rest.read("small", "champion", {2}, known=2) == AliasTags(version=None, tags={})
