"""The model of a stream: in this process, or in a predictor over the Open Inference Protocol."""

from __future__ import annotations

import http.client
from collections.abc import Callable

from tandem.bundle import Bundle
from tandem.comparison import check_outputs
from tandem.errors import DeadlineExceeded, MalformedRequest, RequestTooLarge, Unavailable
from tandem.inputs import Tensors
from tandem.oip import rest
from tandem.oip.rest_header import HEADER_LENGTH
from tandem.onnx_model import OnnxModel
from tandem.predictor_messages import to_body_error, to_request, to_tensors, unavailable
from tandem_stream.scoring import Predict


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
        body = rest.encode_request(to_request(self._bundle, tensors))
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
            raise unavailable(f"the predictor cannot be reached: {error}") from error
        if response.status != 200:
            # a predictor that is late is waited for, as one that is down
            is_late = response.status == DeadlineExceeded.status
            raise to_body_error(self._bundle, Unavailable.status if is_late else response.status, content)
        return self._outputs(content, response.getheader(HEADER_LENGTH), len(next(iter(tensors.values()))))

    def _outputs(self, content: bytes, header_length: str | None, rows: int) -> Tensors:
        try:
            answer = rest.decode_response(content, int(header_length) if header_length else None)
            return to_tensors(self._bundle, answer, rows)
        except (MalformedRequest, RequestTooLarge, ValueError) as error:
            raise unavailable(f"the predictor's answer cannot be read: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
