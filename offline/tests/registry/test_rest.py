"""The controller's client of MLflow's REST API, against MLflow's own store and messages on an SQLite file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from google.protobuf.message import Message
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.protos import model_registry_pb2 as messages
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.proto_json_utils import message_to_json, parse_dict
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


def answer(store: SqlAlchemyStore, path: str, sent: dict[str, Any]) -> Message:
    """The answer of a server, in the messages of MLflow's own API."""
    match path.removeprefix("/api/2.0/mlflow/"):
        case "registered-models/get":
            return messages.GetRegisteredModel.Response(
                registered_model=store.get_registered_model(sent["name"]).to_proto()
            )
        case "model-versions/get":
            version = store.get_model_version(sent["name"], sent["version"])
            return messages.GetModelVersion.Response(model_version=version.to_proto())
        case "registered-models/alias":
            asked = parsed(sent, messages.SetRegisteredModelAlias())
            store.set_registered_model_alias(asked.name, asked.alias, asked.version)
            return messages.SetRegisteredModelAlias.Response()
        case "registered-models/set-tag":
            asked = parsed(sent, messages.SetRegisteredModelTag())
            store.set_registered_model_tag(asked.name, RegisteredModelTag(asked.key, asked.value))
            return messages.SetRegisteredModelTag.Response()
        case "model-versions/set-tag":
            asked = parsed(sent, messages.SetModelVersionTag())
            store.set_model_version_tag(asked.name, asked.version, ModelVersionTag(asked.key, asked.value))
            return messages.SetModelVersionTag.Response()
        case other:
            raise AssertionError(f"MLflow has no {other}")


def parsed(sent: dict[str, Any], message: Any) -> Any:
    """A request, as MLflow's handlers read it."""
    parse_dict(sent, message)
    return message


@pytest.fixture
async def rest(registry: Registry, client: MlflowClient) -> AsyncIterator[MlflowRegistry]:
    """A client of a server with MLflow's store, messages and errors; its handlers are not part of mlflow-skinny."""
    store = SqlAlchemyStore(registry.uri)

    async def handle(request: web.Request) -> web.Response:
        sent = dict(request.query) if request.method == "GET" else await request.json()
        try:
            return web.Response(text=message_to_json(answer(store, request.path, sent)))
        except MlflowException as error:
            return web.Response(status=error.get_http_status_code(), text=error.serialize_as_json())

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
