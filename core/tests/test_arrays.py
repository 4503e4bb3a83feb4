"""Arrays of a fixed length, from the declaration to the answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

from tandem import (
    DefinitionError,
    EmbeddedModel,
    Feature,
    FeatureView,
    Field,
    Model,
    Prediction,
    fit,
    inputs_from_table,
    matrix,
    postprocess,
    write_bundle,
)
from tandem.check import check_model
from tandem.compatibility import compare
from tandem.errors import ContractViolation
from tandem.materialize import materialize
from tandem.openapi import build_openapi
from tandem.package import ModelPackage
from tandem.stores.memory import MemoryStore

SOURCE = """
import numpy as np

from tandem import Feature, FeatureView, Field, Model, Prediction, on_demand

item = FeatureView("item", keys=["item_id"], features=[
    Feature("embedding", "float64[3]", default=[0.0, 0.0, 1.0]), Feature("price", default=1.0)])


@on_demand
def similarity(query, embedding):
    return np.einsum("ij,ij->i", query, embedding)


model = Model(
    "rides",
    serving_keys={"item_id": "string"},
    passed_features={"query": Field("float64[3]", ge=-1, le=1), "context": Field("float64[2]", default=[0.5, 0.25])},
    views=[item],
    inputs=["embedding", "price", "context", similarity],
    prediction=Prediction("score"),
)
"""
VECTORS = np.array([[0.5, 0.25, 0.0], [1.0, -1.0, 0.5]])


@pytest.fixture
def package(make_package: Any) -> Path:
    return make_package(source=SOURCE)  # type: ignore[no-any-return]


def test_arrays_are_stored_asked_for_and_answered(package: Path, tmp_path: Path) -> None:
    model = ModelPackage.read(package).load()
    rng = np.random.default_rng(3)
    rows = 60
    table = {
        "item_id": [f"i{row}" for row in range(rows)],
        "query": rng.uniform(-1, 1, (rows, 3)),
        "embedding": [None if row % 5 == 0 else rng.uniform(-1, 1, 3) for row in range(rows)],
        "price": rng.uniform(1, 2, rows),
        "as_of": np.full(rows, np.datetime64("2026-05-01")),
        "item_event_time": np.full(rows, np.datetime64("2026-05-01")),
    }
    inputs = inputs_from_table(model, table)
    pipeline = fit(model, inputs)
    assert pipeline.signature.columns == (
        "embedding[0]", "embedding[1]", "embedding[2]", "price", "context[0]", "context[1]", "similarity",
    )  # fmt: skip
    x = matrix(pipeline, inputs)
    assert x[0, :3].tolist() == [0, 0, 1]
    estimator = LinearRegression().fit(x, x @ np.arange(1, 8))
    bundle = write_bundle(
        tmp_path, package=package, version="v1", pipeline=pipeline, golden=inputs.take(slice(0, 20)),
        onnx=to_onnx(estimator, x[:1]).SerializeToString(), expected=estimator.predict(x[:20]),
    )  # fmt: skip
    store = MemoryStore()
    view = model.views[0].view
    stored = {name: table[name] for name in ("item_id", "embedding", "price")}
    asyncio.run(materialize(view, stored | {"event_time": np.full(rows, np.datetime64("2026-05-01", "us"))}, store))
    served = EmbeddedModel.open(bundle.path, get=store.get_now)
    requests = [{"item_id": f"i{row}", "query": table["query"][row]} for row in range(rows)]  # type: ignore[index]
    answers = served.predict(requests)
    assert [answer["score"] for answer in answers] == pytest.approx(estimator.predict(x).tolist(), rel=1e-5)
    assert [answer.get("degraded") for answer in answers[:2]] == [
        {"item.embedding": {"reason": "null", "source": "default"}},
        None,
    ]
    with pytest.raises(ContractViolation, match="row 0, field 'query': number 1 must be <= 1"):
        served.predict([{"item_id": "i1", "query": [0.0, 1.5, 0.0]}])


def test_tandem_check_and_the_api_know_arrays(package: Path) -> None:
    model = ModelPackage.read(package).load()
    assert [finding for finding in check_model(model) if finding.status == "failed"] == []
    schema = model.contract.row_schema()["properties"]["query"]
    number = {"type": "number", "minimum": -1, "maximum": 1}
    assert schema == {"type": "array", "items": number, "minItems": 3, "maxItems": 3}
    document = build_openapi(model.contract, version="v1")
    example = document["paths"]["/v1/models/rides:predict"]["post"]["requestBody"]["content"]["application/json"]
    assert example["example"]["instances"] == [{"item_id": "item_id-1", "query": [0.0] * 3, "context": [0.5, 0.25]}]
    tensors = document["paths"]["/v2/models/rides/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert [tensor["shape"] for tensor in tensors["example"]["inputs"]] == [[1], [1, 3], [1, 2]]


def test_another_length_breaks_clients() -> None:
    def contract(length: int) -> Any:
        fields: dict[str, Any] = {"e": f"float64[{length}]"}
        return Model("m", serving_keys={"id": "string"}, passed_features=fields, inputs=["e"],
                     prediction=Prediction("y")).contract  # fmt: skip

    (change,) = compare(contract(2), contract(3))
    assert (change.breaking, change.what) == (True, "type changed from float64[2] to float64[3]")


@pytest.mark.parametrize(
    ("declare", "reason"),
    [
        (lambda: Field("float64[2]", default=[1.0]), "must be a list of 2 numbers, not 1"),
        (lambda: Field("float64[2]", default=[1.0, float("nan")]), "number 1 must be finite"),
        (lambda: Field("float64[2]", default=1.0), "must be a list of 2 numbers"),
        (lambda: Field("float64[0]"), "unknown type 'float64\\[0\\]'; known are .*float64\\[N\\]"),
        (lambda: Field("int32[2]"), "unknown type"),
        (lambda: Field("int64[2]", default=[1, 2.5]), "number 1 must be a whole number"),
        (lambda: Field("float32[2]", default=[1, 1e39]), "number 1 must be finite in 32 bits"),
        (lambda: Field("int64[<=2]", default=[1, 2, 3]), "must be a list of at most 2 numbers, not 3"),
        (lambda: Field("int64[<=2]", optional=True), r"needs a default, such as \[\]"),
        (lambda: Field("int64[2]", optional=True), "needs a default"),
        (lambda: Field("bytes", optional=True), "needs a default"),
        (lambda: Field("bytes", default="not base64"), "must be bytes in base64"),
        (lambda: Field("bytes", default="AAAA", max_bytes=2), "must have at most 2 bytes, not 3"),
        (lambda: Field("bytes", max_bytes=0), "max_bytes=0 of a bytes: it is a whole number"),
        (lambda: Field("string", max_bytes=5), "max_bytes=5 of a string"),
        (lambda: Feature("e", "bytes"), "feature 'e': bytes are for request fields"),
        (lambda: Field("string[2]"), "unknown type"),
        (lambda: Field("float64[2]", enum=[1]), "enum is for string and int64"),
        (lambda: Feature("e", "float64[2]", default=[1]), "feature 'e': default .* must be a list of 2 numbers, not 1"),
        (lambda: postprocess("float64[<=2]"), "single values or arrays of a fixed length, not float64"),
        (lambda: postprocess("bytes"), "single values or arrays of a fixed length, not bytes"),
        (lambda: Prediction("y", "float64[<=2]"), "prediction 'y': a prediction is"),
        (lambda: Prediction("y", "bytes"), "prediction 'y': a prediction is"),
        (lambda: Prediction("y", "float64[2]", column=1), "a column is one number, not float64"),
        (lambda: Prediction("y", classes=["a", "a"]), "classes must be different texts"),
        (lambda: Prediction("y", "float64[3]", classes=["a", "b"]), r"2 classes need float64\[2\] or float32\[2\]"),
        (lambda: Prediction("y", "int64", classes=["a", "b"]), r"2 classes need float64\[2\]"),
    ],
)
def test_arrays_that_cannot_be_declared(declare: Any, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        declare()


def test_a_view_with_arrays_survives_json() -> None:
    view = FeatureView("v", keys=["k"], features=[Feature("e", "float64[2]", default=[1, 2])])
    assert msgspec.json.decode(msgspec.json.encode(view), type=FeatureView) == view
    assert hash(view) == hash(FeatureView("v", keys=["k"], features=[Feature("e", "float64[2]", default=[1, 2])]))
