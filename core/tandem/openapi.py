"""The deployment API of one version as an OpenAPI 3.1 document, generated from its contract."""

from __future__ import annotations

from typing import Any

from tandem.contract import Contract
from tandem.examples import example_row, example_tensors
from tandem.openapi_schemas import ERROR_CODES, component_schemas


def build_openapi(contract: Contract, *, model_name: str | None = None, version: str) -> dict[str, Any]:
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
        "components": {"schemas": component_schemas(contract)},
    }  # fmt: skip


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
