"""JSON Schemas of requests, answers and errors, for the OpenAPI document of a contract."""

from __future__ import annotations

from typing import Any

from tandem.contract import Contract
from tandem.dtypes import is_ragged, mask_column
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
from tandem.examples import datatypes
from tandem.fields import Field

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


_TENSOR_JSON: dict[str, dict[str, Any]] = {
    "float64": {"type": "number"},
    "float32": {"type": "number"},
    "int64": {"type": "integer"},
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "timestamp": {"type": ["string", "integer"]},
    "bytes": {"type": "string"},
}


def component_schemas(contract: Contract) -> dict[str, Any]:
    """The schemas of a document by name, as ``#/components/schemas`` has them."""
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
    inputs += [
        _mask_tensor(name, field.length or 0) for name, field in contract.inputs.items() if is_ragged(field.type)
    ]
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
    # a tensor's timestamp may be a number, a tensor has no field that could be left out, and its bytes are no base64
    for key in ("format", "default", "contentEncoding", "maxLength"):
        schema.pop(key, None)
    value = {**(schema if field.length is None else schema["items"]), **_TENSOR_JSON[field.scalar]}
    length = field.length or 1
    return _tensor_of(name, value, 0 if is_ragged(field.type) else length, length, datatypes)


def _tensor_of(name: str, value: dict[str, Any], least: int, most: int, datatypes: tuple[str, ...]) -> dict[str, Any]:
    # the numbers of an array may stand in a list of their own, or one row after the other
    row = {"oneOf": [value, {"type": "array", "items": value, "minItems": least, "maxItems": most}]}
    size = {"type": "integer", "minimum": min(least, 1)}
    return _object(
        {
            "name": {"const": name},
            "shape": {"type": "array", "items": size, "minItems": 1, "maxItems": 2},
            "datatype": {"enum": list(datatypes)},
            "data": {"type": "array", "items": row},
        },
        {"parameters": {"type": "object"}},
    )


def _mask_tensor(name: str, length: int) -> dict[str, Any]:
    schema = _tensor_of(mask_column(name), {"type": "boolean"}, 0, length, ("BOOL",))
    schema["description"] = f"Which numbers of `{name}` count, if not all: those of a row, and then padding."
    return schema


def _degraded_tensor() -> dict[str, Any]:
    schema = _tensor("degraded", Field("string"), ("BYTES",))
    schema["description"] = (
        "For each row, `view:reason:source` of the stored values that could not be used, with commas between; a last "
        "known row has its age in seconds after another colon."
    )
    return schema


def _error_schema(codes: tuple[str, ...]) -> dict[str, Any]:
    return _object(
        {
            "error": {"type": "string", "description": "The message."},
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
