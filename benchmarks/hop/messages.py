"""Requests and answers of ``ModelInfer``: the same bytes for every stack."""

from __future__ import annotations

from typing import Final

import numpy as np

from tandem.oip import InferRequest, InferResponse, Tensor, protobuf

COLUMNS: Final = 18
"""Inputs of the model, as many as that of ``make bench`` has: one tensor for each."""

ROWS: Final = (1, 64)
"""Rows of a request: one client's, and what a coalescer puts together under load."""

_MODEL: Final = "delivery-time-0123abcd"


def request(rows: int) -> bytes:
    """A serialised ``ModelInferRequest``.

    Args:
        rows: Values of each tensor.
    """
    inputs = [_tensor(f"feature_{column}", rows, column) for column in range(COLUMNS)]
    return protobuf.encode_request(InferRequest(model_name=_MODEL, inputs=inputs))


def answer(rows: int) -> bytes:
    """The serialised ``ModelInferResponse`` to it."""
    outputs = [_tensor("delivery_minutes", rows, COLUMNS)]
    return protobuf.encode_response(InferResponse(model_name=_MODEL, model_version="1", outputs=outputs))


def _tensor(name: str, rows: int, seed: int) -> Tensor:
    return Tensor(name, "FP64", (rows, 1), np.random.default_rng(seed).normal(size=(rows, 1)))
