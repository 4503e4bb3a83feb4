"""A Triton model repository of ours in a real Triton.

Wheels bring Triton without its ONNX backend. So ``config.pbtxt`` is served as it was written, but for the name of the
backend, by a Python model that calls ONNX Runtime.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime

from .servers import Sample, Server, free_ports, running

MODEL = """
import sys
sys.path[:0] = {paths!r}

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb


class TritonPythonModel:
    def initialize(self, args):
        version = Path(args["model_repository"], args["model_version"], "model.onnx")
        path = version / "model.onnx" if version.is_dir() else version
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        self.inputs = [given["name"] for given in json.loads(args["model_config"])["input"]]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        feeds = {{name: pb.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}}
        feeds = {{name: np.vectorize(bytes.decode, otypes=[object])(array) if array.dtype == object else array
                 for name, array in feeds.items()}}
        try:
            results = self.session.run(self.names, feeds)
        except Exception as error:
            return pb.InferenceResponse(error=pb.TritonError(str(error)))
        return pb.InferenceResponse([pb.Tensor(*pair) for pair in zip(self.names, results)])
"""


def with_python_backend(repository: Path, packages: Path) -> None:
    """Have the models of a repository served by Triton's Python backend.

    Args:
        repository: The repository.
        packages: Triton's own packages: the backend reads strings wrongly with another major version of NumPy.
    """
    # the stub reads no PYTHONPATH
    paths = [str(packages), str(Path(onnxruntime.__file__).parents[1])]
    for directory in repository.iterdir():
        config = directory / "config.pbtxt"
        text = config.read_text()
        assert 'backend: "onnxruntime"\n' in text
        config.write_text(text.replace('backend: "onnxruntime"', 'backend: "python"'))
        (directory / "1" / "model.py").write_text(MODEL.format(paths=paths))


@contextmanager
def serving(repository: Path, pytriton: Path) -> Iterator[Server]:
    """The models of a repository, served by the Triton of the environment ``pytriton``."""
    packages = next((pytriton / "lib").glob("python3*/site-packages"))
    with_python_backend(repository, packages)
    triton = packages / "pytriton" / "tritonserver"
    backends = repository.parent / "backends"
    shutil.copytree(triton / "backends" / "python", backends / "python")
    stub = "triton_python_backend_stub"
    shutil.copy(
        triton / "python_backend_stubs" / packages.parent.name.removeprefix("python") / stub, backends / "python"
    )
    http, rpc, metrics = free_ports(3)
    command = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--http-port={http}",
        f"--grpc-port={rpc}",
        f"--metrics-port={metrics}",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        "--metrics-address=127.0.0.1",
    ]
    samples = tuple(Sample(directory.name, (), ()) for directory in sorted(repository.iterdir()))
    server = Server(f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc}", samples)
    environment = os.environ | {"LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs")}
    with running(command, server, environment=environment):
        yield server
