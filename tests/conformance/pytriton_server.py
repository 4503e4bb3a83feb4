"""A real Triton with identity models: ``PORT PORT PORT`` for HTTP, gRPC and metrics, then ``MODEL=DATATYPE,…``.

Runs in an environment of its own, with Debian's Python: pytriton's wheel carries Triton linked against its libpython.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

TYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.bytes_,
}


@batch
def identity(**inputs: Any) -> dict[str, Any]:
    """Each input ``x_…`` as output ``y_…``."""
    return {name.replace("x_", "y_"): value for name, value in inputs.items()}


def tensors(prefix: str, datatypes: list[str]) -> list[Tensor]:
    """A tensor of shape (rows, 2) for each datatype."""
    return [
        Tensor(
            name=f"{prefix}_{datatype.lower()}",
            dtype=TYPES.get(datatype) or np.dtype(datatype.lower()).type,
            shape=(2,),
        )
        for datatype in datatypes
    ]


def main() -> None:
    """Serve until told to stop."""
    http, rpc, metrics = map(int, sys.argv[1:4])
    stop = threading.Event()
    with Triton(config=TritonConfig(http_port=http, grpc_port=rpc, metrics_port=metrics)) as triton:
        for model, _, datatypes in (argument.partition("=") for argument in sys.argv[4:]):
            triton.bind(
                model_name=model,
                infer_func=identity,
                inputs=tensors("x", datatypes.split(",")),
                outputs=tensors("y", datatypes.split(",")),
                config=ModelConfig(max_batch_size=8),
            )
        triton.run()
        # Left to itself, pytriton ends at once and leaves Triton running.
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        stop.wait()


main()
