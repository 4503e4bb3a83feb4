"""A real Triton with identity models: ``PORT PORT PORT`` for HTTP, gRPC and metrics, then datatypes.

Runs in an environment of its own, with Debian's Python: pytriton's wheel carries Triton linked against its libpython.
"""

from __future__ import annotations

import sys
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
def identity(x: Any) -> dict[str, Any]:
    """The input."""
    return {"y": x}


def main() -> None:
    """Serve until told to stop."""
    http, rpc, metrics = map(int, sys.argv[1:4])
    with Triton(config=TritonConfig(http_port=http, grpc_port=rpc, metrics_port=metrics)) as triton:
        for datatype in sys.argv[4:]:
            dtype = TYPES.get(datatype) or np.dtype(datatype.lower()).type
            triton.bind(
                model_name=datatype.lower(),
                infer_func=identity,
                inputs=[Tensor(name="x", dtype=dtype, shape=(2,))],
                outputs=[Tensor(name="y", dtype=dtype, shape=(2,))],
                config=ModelConfig(max_batch_size=8),
            )
        triton.serve()


main()
