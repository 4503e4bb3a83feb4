"""The model of a stream: in this process, or in a predictor over the Open Inference Protocol."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.bundle import Bundle
from tandem.comparison import check_outputs
from tandem.errors import (
    Internal,
    MalformedRequest,
    Overloaded,
    RequestError,
    RequestTooLarge,
    Unavailable,
)
from tandem.inputs import Tensors
from tandem.oip import InferRequest, Tensor, datatype_of, rest
from tandem.oip.rest_header import HEADER_LENGTH
from tandem.onnx_model import OnnxModel
from tandem_stream.scoring import Predict

_batch_ids = itertools.count(1)


def load_model(bundle: Bundle, threads: int) -> Predict:
    """The bundle's model in this process, proved by its golden rows.

    Args:
        bundle: The version.
        threads: Threads within one call.

    Raises:
        BundleError: if it does not predict what training did.
    """
    model = OnnxModel(bundle.graph(), threads=threads)
    golden = bundle.golden()
    check_outputs(model.run(golden.vectors), golden.outputs, bundle.tolerance("CPUExecutionProvider"))
    return model.run


class RemotePredictor:
    """A predictor over one kept-alive connection, for one thread.

    Args:
        bundle: The version whose model is asked for, by its wire name.
        address: ``host:port``.
        timeout_s: Seconds for one call.
        connect: Makes a connection; replaced in tests.
    """

    def __init__(
        self,
        bundle: Bundle,
        address: str,
        timeout_s: float,
        connect: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection,
    ) -> None:
        self._bundle = bundle
        self._connection = connect(address, timeout=timeout_s)
        self._path = f"/v2/models/{bundle.wire_name}/infer"

    def __call__(self, tensors: Tensors) -> Tensors:
        """Output tensors by name.

        Raises:
            Unavailable: ``predictor_unavailable`` or ``predictor_mismatch``.
            Overloaded: ``predictor_overloaded``.
            Internal: ``predictor_refused`` or ``inference_failed``: by the fault of these tensors.
        """
        inputs = [_to_tensor(name, array) for name, array in tensors.items()]
        request = InferRequest(model_name=self._bundle.wire_name, id=f"s{next(_batch_ids)}", inputs=inputs)
        body = rest.encode_request(request)
        headers = {"Content-Type": body.content_type}
        if body.header_length is not None:
            headers[HEADER_LENGTH] = str(body.header_length)
        try:
            self._connection.request("POST", self._path, body.content, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            # it connects anew with the next call
            self._connection.close()
            raise _unavailable(f"the predictor cannot be reached: {error}") from error
        if response.status != 200:
            raise _refusal(self._bundle, response.status, content)
        return self._outputs(content, response.getheader(HEADER_LENGTH), len(next(iter(tensors.values()))))

    def _outputs(self, content: bytes, header_length: str | None, rows: int) -> Tensors:
        try:
            answer = rest.decode_response(content, int(header_length) if header_length else None)
        except (MalformedRequest, RequestTooLarge, ValueError) as error:
            raise _unavailable(f"the predictor's answer cannot be read: {error}") from error
        outputs = {tensor.name: _from_tensor(tensor) for tensor in answer.outputs}
        for spec in self._bundle.signature.outputs:
            output = outputs.get(spec.name)
            if output is None or output.dtype != spec.dtype:
                raise _unavailable(f"the predictor's answer has no output {spec.name!r} of type {spec.dtype}")
            if output.shape[:1] != (rows,):
                text = f"output {spec.name!r} has shape {list(output.shape)} for {rows} rows"
                raise Internal(f"the model failed: {text}", code="inference_failed")
        return outputs

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class _ErrorBody(msgspec.Struct):
    """Body of an error in the Open Inference Protocol."""

    error: str


def _unavailable(message: str) -> Unavailable:
    return Unavailable(message, code="predictor_unavailable")


def _refusal(bundle: Bundle, status: int, content: bytes) -> RequestError:
    try:
        message, is_protocol = msgspec.json.decode(content, type=_ErrorBody).error, True
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # a 500 of whatever is in between says nothing about the model
        message, is_protocol = content[:500].decode(errors="replace"), False
    if status == 404:
        text = f"the predictor does not serve {bundle.wire_name}: worker and predictor are not of one bundle"
        return Unavailable(text, code="predictor_mismatch")
    if status in (400, 413, 422):
        return Internal(f"the predictor refused the vectors: {message}", code="predictor_refused")
    if status == Overloaded.status:
        return Overloaded(f"the predictor is overloaded: {message}", code="predictor_overloaded")
    if status == Internal.status and is_protocol:
        return Internal(f"the model failed: {message}", code="inference_failed")
    return _unavailable(f"the predictor failed: {message}")


def _to_tensor(name: str, array: NDArray[np.generic]) -> Tensor:
    if array.dtype == object:
        texts = np.empty(array.size, object)
        texts[:] = [str(value).encode() for value in array.ravel().tolist()]
        return Tensor(name, "BYTES", array.shape, texts.reshape(array.shape))
    return Tensor(name, datatype_of(array.dtype), array.shape, array)


def _from_tensor(tensor: Tensor) -> NDArray[np.generic]:
    if tensor.datatype != "BYTES":
        return tensor.data
    texts = np.empty(tensor.data.size, object)
    try:
        texts[:] = [value.decode() for value in tensor.data.ravel().tolist()]
    except UnicodeDecodeError:
        raise Internal(f"output {tensor.name!r} of the model is not UTF-8", code="inference_failed") from None
    return texts.reshape(tensor.data.shape)
