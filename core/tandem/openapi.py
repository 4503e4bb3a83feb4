"""The deployment API of one version as an OpenAPI 3.1 document, generated from its contract."""

from __future__ import annotations

from typing import Any

from tandem.contract import Contract, Field, FieldType
from tandem.errors import (
    ContractViolation,
    DeadlineExceeded,
    HeadTooLarge,
    Internal,
    MalformedRequest,
    NotFound,
    Overloaded,
    RequestError,
    RequestTooLarge,
    Unavailable,
    UnsupportedMedia,
    UploadTimeout,
)

TENSOR_DATATYPES: dict[str, tuple[str, ...]] = {
    "float64": ("FP64", "FP32", "FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"),
    "int64": ("INT64", "INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32"),
    "bool": ("BOOL",),
    "string": ("BYTES",),
    "timestamp": ("BYTES", "INT64"),
}
"""Datatypes of the Open Inference Protocol that each type of field takes, the usual one first; see :func:`datatypes`.

A timestamp is RFC 3339 as BYTES, or microseconds since 1970-01-01T00:00Z as INT64.
"""

ERROR_CODES: dict[type[RequestError], tuple[str, ...]] = {
    MalformedRequest: ("malformed_request", "duplicate_key"),
    NotFound: ("model_not_found", "version_not_found", "entity_not_found", "entity_stale", "feature_null"),
    UploadTimeout: ("upload_timeout",),
    RequestTooLarge: ("request_too_large", "too_many_rows", "too_many_parts"),
    UnsupportedMedia: ("unsupported_media_type", "unsupported_encoding"),
    ContractViolation: ("contract_violation",),
    Overloaded: ("overloaded", "predictor_overloaded", "too_many_uploads"),
    HeadTooLarge: ("head_too_large",),
    Internal: ("internal_error", "transform_failed", "prediction_not_finite", "predictor_refused"),
    Unavailable: ("unavailable", "store_unavailable", "predictor_unavailable", "predictor_mismatch"),
    DeadlineExceeded: ("deadline_exceeded", "predictor_timeout"),
}
"""Values of ``code`` by error. A client should treat one that it does not know by the status."""


def datatypes(type_: FieldType) -> tuple[str, ...]:
    """Datatypes that a type of field takes, the usual one first; of an array, those of its numbers."""
    return TENSOR_DATATYPES[type_.partition("[")[0]]


_TENSOR_JSON: dict[str, dict[str, Any]] = {
    "float64": {"type": "number"},
    "int64": {"type": "integer"},
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "timestamp": {"type": ["string", "integer"]},
}


def openapi(contract: Contract, *, model_name: str | None = None, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 document of one version.

    Args:
        contract: The contract.
        model_name: Name under which the model is served, where it is not that of the contract.
        version: The author's name for the version.

    Returns:
        The document, ready for JSON.
    """
    name = model_name or contract.model
    v2 = {"$ref": "#/components/schemas/InferRequest"}, {"$ref": "#/components/schemas/InferResponse"}
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version},
        "paths": {
            f"/v1/models/{name}:predict": _operation(
                "predict", "Predictions for rows of values, as KServe's V1 protocol has it.",
                {"$ref": "#/components/schemas/PredictRequest"}, {"$ref": "#/components/schemas/PredictResponse"},
                {"instances": [example_row(contract)]},
            ),
            f"/v2/models/{name}/infer": _operation(
                "infer", "Predictions for tensors, as the Open Inference Protocol has it.",
                *v2, example_tensors(contract),
            ),
            f"/v2/models/{name}/versions/{version}/infer": _operation(
                "inferVersion", "The same, and 404 from any other version.", *v2, example_tensors(contract)
            ),
        },
        "components": {"schemas": _schemas(contract)},
    }  # fmt: skip


def example_row(contract: Contract) -> dict[str, Any]:
    """One instance with every field, that obeys the contract."""
    return {name: example_value(name, field) for name, field in contract.inputs.items()}


def example_tensors(contract: Contract) -> dict[str, Any]:
    """The same as :func:`example_row` as a request of the Open Inference Protocol."""
    return {
        "inputs": [
            {
                "name": name,
                "shape": [1] if field.length is None else [1, field.length],
                "datatype": datatypes(field.type)[0],
                "data": [example_value(name, field)],
            }
            for name, field in contract.inputs.items()
        ]
    }


def example_value(name: str, field: Field) -> Any:
    """A value that the field allows: its default, the first of its enum, or the middle of its range."""
    if field.default is not None:
        return list(field.default) if isinstance(field.default, tuple) else field.default
    if field.enum is not None:
        return field.enum[0]
    match field.type:
        case "bool":
            return True
        case "string":
            return f"{name}-1"
        case "timestamp":
            return "2026-05-01T08:00:00Z"
    if field.length is not None:
        return [example_value(name, field.number)] * field.length
    lower = field.gt if field.ge is None else field.ge
    upper = field.lt if field.le is None else field.le
    if lower is None or upper is None:
        value: float = 1 if lower is None and upper is None else (lower or 0) + 1 if upper is None else upper - 1
    else:
        value = lower + (upper - lower) / 2
    return int(value) if field.type == "int64" else float(value)


def _operation(
    operation: str, summary: str, request: dict[str, Any], response: dict[str, Any], example: dict[str, Any]
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "The predictions.", "content": _json(response)}}
    for error, codes in ERROR_CODES.items():
        schema = {"$ref": f"#/components/schemas/{error.__name__}"}
        listed = ", ".join(f"`{code}`" for code in codes)
        responses[str(error.status)] = {"description": f"{error.__doc__} `code` is {listed}.", "content": _json(schema)}
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "requestBody": {"required": True, "content": _json(request, example)},
            "responses": responses,
        }
    }


def _json(schema: dict[str, Any], example: dict[str, Any] | None = None) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": schema}
    return {"application/json": media | ({"example": example} if example is not None else {})}


def _schemas(contract: Contract) -> dict[str, Any]:
    return {
        "Instance": contract.row_schema(),
        "Prediction": contract.answer_schema(),
        "PredictRequest": _object(
            {"instances": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Instance"}}},
            closed=True,
        ),
        "PredictResponse": _object(
            {
                "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
            }
        ),
        **_tensor_schemas(contract),
        **{error.__name__: _error_schema(codes) for error, codes in ERROR_CODES.items()},
    }


def _tensor_schemas(contract: Contract) -> dict[str, Any]:
    inputs = [_tensor(name, field, datatypes(field.type)) for name, field in contract.inputs.items()]
    outputs = [_tensor(name, field, datatypes(field.type)[:1]) for name, field in contract.answers.items()]
    text = {"type": "string"}
    output = _object({"name": {"enum": [*contract.answers, "degraded"]}})
    return {
        "InferRequest": _object(
            {"inputs": {"type": "array", "minItems": 1, "items": {"oneOf": inputs}}},
            {"id": text, "parameters": {"type": "object"}, "outputs": {"type": "array", "items": output}},
        ),
        "InferResponse": _object(
            {
                "model_name": text,
                "model_version": text,
                "outputs": {"type": "array", "items": {"oneOf": [*outputs, _degraded_tensor()]}},
            },
            {"id": text},
        ),
    }


def _tensor(name: str, field: Field, datatypes: tuple[str, ...]) -> dict[str, Any]:
    """One tensor with a row for each instance; the range of its values is that of the field."""
    schema = field.json_schema()
    schema.pop("format", None)
    schema.pop("default", None)
    value = {**(schema if field.length is None else schema["items"]), **_TENSOR_JSON[field.scalar]}
    length = field.length or 1
    # the numbers of an array may stand in a list of their own, or one row after the other
    row = {"oneOf": [value, {"type": "array", "items": value, "minItems": length, "maxItems": length}]}
    return _object(
        {
            "name": {"const": name},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2},
            "datatype": {"enum": list(datatypes)},
            "data": {"type": "array", "items": row},
        },
        {"parameters": {"type": "object"}},
    )


def _degraded_tensor() -> dict[str, Any]:
    schema = _tensor("degraded", Field("string"), ("BYTES",))
    schema["description"] = (
        "For each row, `view:reason` of the stored values that could not be used, with commas between."
    )
    return schema


def _error_schema(codes: tuple[str, ...]) -> dict[str, Any]:
    return _object(
        {
            "error": {"type": "string", "description": "For people."},
            "code": {"type": "string", "examples": list(codes)},
        },
        {
            "details": {
                "type": "array",
                "description": "What exactly is wrong, one entry for each broken rule.",
                "items": _object(
                    {
                        "row": {"type": ["integer", "null"], "description": "Index of the row, from 0."},
                        "field": {"type": "string"},
                        "rule": {"type": "string"},
                    }
                ),
            }
        },
    )


def _object(
    required: dict[str, Any], optional: dict[str, Any] | None = None, *, closed: bool = False
) -> dict[str, Any]:
    schema = {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}
    return schema | {"additionalProperties": False} if closed else schema
