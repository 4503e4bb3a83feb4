"""Messages to a predictor and from it: tensors as an Open Inference Protocol request, and its answer as tensors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.bundle import Bundle
from tandem.errors import (
    DeadlineExceeded,
    Internal,
    MalformedRequest,
    NotFound,
    Overloaded,
    RequestError,
    Unavailable,
)
from tandem.inputs import Tensors
from tandem.oip import InferRequest, InferResponse, Tensor, datatype_of
from tandem.signature import TensorSpec

_batch_ids = itertools.count(1)


def unavailable(message: str) -> Unavailable:
    """The error of a request that the predictor does not answer."""
    return Unavailable(message, code="predictor_unavailable", retry_after=1)


def timeout_ms(deadline: float, now: float) -> int:
    """Whole milliseconds from now to a deadline that is not infinite, at least 1: 0 would ask for nothing."""
    return max(1, int((deadline - now) * 1000))


def to_request(bundle: Bundle, tensors: Tensors) -> InferRequest:
    """A request for the bundle's model under its wire name, with an id of its own."""
    return InferRequest(
        model_name=bundle.wire_name,
        id=f"b{next(_batch_ids)}",
        inputs=[_to_tensor(name, array) for name, array in tensors.items()],
    )


def to_tensors(bundle: Bundle, response: InferResponse, rows: int) -> Tensors:
    """Output tensors by name; BYTES become ``str`` objects.

    Args:
        bundle: The version that was asked for.
        response: The predictor's answer.
        rows: How many were asked.

    Raises:
        MalformedRequest: if these are not the outputs of the bundle's model.
        Internal: ``inference_failed`` if they are, but not for that many rows, or hold text that is not UTF-8: models
            do so because of what they were asked.
    """
    tensors = {tensor.name: _from_tensor(tensor) for tensor in response.outputs}
    for spec in bundle.signature.outputs:
        output = tensors.get(spec.name)
        if output is None:
            raise MalformedRequest(f"there is no output {spec.name!r}")
        if not _fits(spec, output):
            raise MalformedRequest(f"output {spec.name!r} is {output.dtype} of shape {list(output.shape)}")
        if output.shape[:1] != (rows,):
            raise _failed(bundle, f"output {spec.name!r} has shape {list(output.shape)} for {rows} rows")
    return tensors


def _fits(spec: TensorSpec, output: NDArray[Any]) -> bool:
    if output.dtype != spec.dtype or (spec.shape and output.ndim != len(spec.shape)):
        return False
    # the first dimension is the rows; an output whose shape is not declared has any
    dimensions = zip(output.shape[1:], spec.shape[1:], strict=False)
    return all(size == declared or declared < 0 for size, declared in dimensions)


def to_error(bundle: Bundle, status: int, message: str) -> RequestError:
    """The error for the client when the predictor answers with an error.

    Args:
        bundle: The version that was asked for.
        status: HTTP status of the answer.
        message: The predictor's own words.
    """
    return _ERRORS.get(status, _broken)(bundle, message)


def to_body_error(bundle: Bundle, status: int, body: bytes) -> RequestError:
    """The same for an answer over REST.

    Args:
        bundle: The version that was asked for.
        status: HTTP status of the answer.
        body: Its body.
    """
    try:
        message = msgspec.json.decode(body, type=_ErrorBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # not the protocol's form: a 500 of whatever is in between says nothing about the model
        status = Unavailable.status if status == Internal.status else status
        message = body[:500].decode(errors="replace")
    return to_error(bundle, status, message)


class _ErrorBody(msgspec.Struct):
    """Body of an error in the Open Inference Protocol."""

    error: str


def _mismatch(bundle: Bundle, message: str) -> RequestError:
    text = f"the predictor has another bundle: it does not serve {bundle.wire_name}"
    return Unavailable(text, code="predictor_mismatch", retry_after=5)


def _refused(bundle: Bundle, message: str) -> RequestError:
    return Internal(f"the predictor refused the vectors: {message}", code="predictor_refused")


def _failed(bundle: Bundle, message: str) -> RequestError:
    return Internal(f"the model failed: {message}", code="inference_failed")


def _busy(bundle: Bundle, message: str) -> RequestError:
    return Overloaded(f"the predictor is overloaded: {message}", code="predictor_overloaded", retry_after=1)


def _late(bundle: Bundle, message: str) -> RequestError:
    return DeadlineExceeded(f"the predictor did not answer in time: {message}", code="predictor_timeout")


def _broken(bundle: Bundle, message: str) -> RequestError:
    return unavailable(f"the predictor failed: {message}")


_ERRORS = {
    NotFound.status: _mismatch,
    400: _refused,
    413: _refused,
    422: _refused,
    Overloaded.status: _busy,
    Internal.status: _failed,
    DeadlineExceeded.status: _late,
}
GRPC_STATUS: Mapping[int, int] = {3: 400, 4: 504, 5: 404, 8: 429, 13: 500}
"""HTTP statuses that mean the same as gRPC status codes: invalid argument, deadline exceeded, not found, resource
exhausted, internal."""


def _to_tensor(name: str, array: np.ndarray) -> Tensor:
    if array.dtype == object:
        texts = np.array([str(value).encode() for value in array.ravel().tolist()] or [b""], object)[: array.size]
        return Tensor(name, "BYTES", array.shape, texts.reshape(array.shape))
    return Tensor(name, datatype_of(array.dtype), array.shape, array)


def _from_tensor(tensor: Tensor) -> np.ndarray:
    if tensor.datatype != "BYTES":
        return tensor.data
    texts = np.empty(tensor.data.size, object)
    try:
        texts[:] = [value.decode() for value in tensor.data.ravel().tolist()]
    except UnicodeDecodeError:
        raise Internal(f"output {tensor.name!r} of the model is not UTF-8", code="inference_failed") from None
    return texts.reshape(tensor.data.shape)
