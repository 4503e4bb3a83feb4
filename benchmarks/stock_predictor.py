"""The other side's predictor: a KServe SDK ``Model`` around ONNX Runtime, one thread."""

from __future__ import annotations

import argparse

import kserve
import onnxruntime
from kserve import InferRequest, InferResponse
from kserve.model_server import parser as kserve_parser
from kserve.utils.utils import get_predict_input, get_predict_response

from benchmarks.stock_server import serve


class Predictor(kserve.Model):  # type: ignore[misc]
    """One ONNX graph.

    Args:
        name: Name of the model.
        path: The graph.
    """

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.ready = True

    def predict(
        self, payload: InferRequest, headers: dict[str, str] | None = None, response_headers: object = None
    ) -> InferResponse:
        """The graph's first output; the SDK's own helper echoes the request's id."""
        (result,) = self._session.run(None, {self._input: get_predict_input(payload)})
        return get_predict_response(payload, result, self.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve_parser])
    parser.add_argument("--model_path", required=True)
    arguments = parser.parse_args()
    serve(Predictor(arguments.model_name, arguments.model_path))
