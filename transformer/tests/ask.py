"""Rows as requests of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tandem.oip import InferRequest, InferResponse, Tensor

from . import world

DATATYPES = {"float64": "FP64", "int64": "INT64", "bool": "BOOL", "string": "BYTES", "timestamp": "BYTES"}
DTYPES = {"float64": np.float64, "int64": np.int64, "bool": np.bool_}


def tensors(rows: Sequence[dict[str, Any]]) -> list[Tensor]:
    """A tensor for each field that any row has; where another row lacks it, what stands for *not given*."""
    request_tensors = []
    for name, field in world.model().contract.inputs.items():
        values = [row.get(name) for row in rows]
        if all(value is None for value in values):
            continue
        filled = [field.filler if value is None else value for value in values]
        if field.type in DTYPES:
            data = np.array(filled, DTYPES[field.type])
        else:
            data = np.empty(len(rows), object)
            data[:] = [str(value).encode() for value in filled]
        request_tensors.append(Tensor(name, DATATYPES[field.type], data.shape, data))
    return request_tensors


def infer_request(rows: Sequence[dict[str, Any]], id_: str = "") -> InferRequest:
    return InferRequest("parcels", tensors(rows), id=id_)


def columns(response: InferResponse) -> dict[str, list[Any]]:
    """Outputs as lists, texts decoded."""
    return {
        output.name: [value.decode() if isinstance(value, bytes) else value for value in output.data.tolist()]
        for output in response.outputs
    }
