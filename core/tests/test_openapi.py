from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tandem import Field
from tandem.errors import RequestError
from tandem.examples import TENSOR_DATATYPES, example_row, example_value
from tandem.openapi import build_openapi
from tandem.openapi_schemas import ERROR_CODES
from tandem.rows import RowReader

TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}


@pytest.fixture(scope="module")
def document(trained: Any) -> dict[str, Any]:
    return build_openapi(trained.model.contract, version="v1")


def everything(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from everything(child)


def test_is_json_and_complete(document: dict[str, Any]) -> None:
    assert json.loads(json.dumps(document)) == document
    assert document["openapi"] == "3.1.0"
    assert list(document["paths"]) == [
        "/v1/models/rides:predict",
        "/v2/models/rides/infer",
        "/v2/models/rides/versions/v1/infer",
    ]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    references = [node["$ref"] for node in everything(document) if "$ref" in node]
    assert references
    assert all(reference.removeprefix("#/components/schemas/") in schemas for reference in references)


def test_schemas_are_schemas(document: dict[str, Any]) -> None:
    for schema in everything(document["components"]["schemas"]):
        kinds = schema.get("type")
        if isinstance(kinds, str | list):
            assert set([kinds] if isinstance(kinds, str) else kinds) <= TYPES
        if isinstance(schema.get("required"), list):
            assert set(schema["required"]) <= schema["properties"].keys()


def test_every_error_is_documented(document: dict[str, Any]) -> None:
    # these operations are POST, so that nobody meets a 405 there, and only the predictor's repository asks for a token
    concrete = {error for error in RequestError.__subclasses__() if error.status not in (401, 405)}
    assert set(ERROR_CODES) == concrete
    for error, codes in ERROR_CODES.items():
        assert error.default_code in codes
    for path in document["paths"].values():
        assert set(path["post"]["responses"]) == {"200", *(str(error.status) for error in concrete)}


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [path["post"]["operationId"] for path in document["paths"].values()]
    assert len(set(names)) == len(names)


def test_examples_obey_the_contract(trained: Any, document: dict[str, Any]) -> None:
    contract = trained.model.contract
    reader = RowReader(contract)
    assert reader.violations([example_row(contract)]) == []
    body = document["paths"]["/v1/models/rides:predict"]["post"]["requestBody"]["content"]["application/json"]
    msgspec.convert(body["example"]["instances"], list[reader.row_type])  # type: ignore[name-defined]
    tensors = document["paths"]["/v2/models/rides/infer"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    assert [tensor["name"] for tensor in tensors["inputs"]] == list(contract.inputs)


@pytest.mark.parametrize(
    "field",
    [
        Field("float64"),
        Field("float64", gt=0),
        Field("float64", lt=-5),
        Field("float64", ge=2, lt=2.5),
        Field("int64", gt=3),
        Field("int64", ge=2, lt=4),
        Field("int64", le=-7),
        Field("int64", enum=(4, 5)),
        Field("string", enum=("a",)),
        Field("string", default="q"),
        Field("bool"),
        Field("timestamp"),
        Field("timestamp", optional=True),
        Field("float32[3]", ge=2),
        Field("int64[2]", lt=-5),
        Field("int64[<=5]", gt=3),
        Field("bytes"),
        Field("bytes", max_bytes=1),
    ],
)
def test_example_values_are_allowed(field: Field) -> None:
    assert field.broken_rule(example_value("x", field)) is None


def test_tensors_state_the_usual_datatype_first(document: dict[str, Any]) -> None:
    assert {type_: names[0] for type_, names in TENSOR_DATATYPES.items()} == {
        "float64": "FP64", "float32": "FP32", "int64": "INT64", "bool": "BOOL", "string": "BYTES", "timestamp": "BYTES",
        "bytes": "BYTES"}  # fmt: skip
    inputs = document["components"]["schemas"]["InferRequest"]["properties"]["inputs"]["items"]["oneOf"]
    kinds = {schema["properties"]["name"]["const"]: schema["properties"]["datatype"]["enum"][0] for schema in inputs}
    assert kinds["distance_km"] == "FP64"
    assert kinds["asked_at"] == "BYTES"


def test_name_under_which_the_model_is_served(trained: Any) -> None:
    paths = build_openapi(trained.model.contract, model_name="taxis", version="7")["paths"]
    assert "/v1/models/taxis:predict" in paths
