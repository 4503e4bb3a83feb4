"""The predictor of the pair written by hand: raw ``float32`` in, raw ``float32`` out, ONNX Runtime with one thread."""

from __future__ import annotations

import argparse

import numpy as np
import onnxruntime
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.starlette_server import ready, serve


class Predictor:
    """One ONNX graph.

    Args:
        path: The graph.
    """

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (self._input,) = self._session.get_inputs()

    async def predict(self, request: Request) -> Response:
        """The graph's first output for rows of raw ``float32``; 400 where the bytes are no whole rows."""
        content, width = await request.body(), self._input.shape[1]
        if not content or len(content) % (4 * width):
            return JSONResponse({"error": f"rows of {width} float32 are expected"}, 400)
        vectors = np.frombuffer(content, np.float32).reshape(-1, width)
        (result,) = self._session.run(None, {self._input.name: vectors})
        return Response(result.astype(np.float32).tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--http_port", type=int, required=True)
    parser.add_argument("--model_path", required=True)
    arguments = parser.parse_args()
    predictor = Predictor(arguments.model_path)
    app = Starlette(routes=[Route("/predict", predictor.predict, methods=["POST"]), Route("/v2/health/ready", ready)])
    serve(app, arguments.http_port)
