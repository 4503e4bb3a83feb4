from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from .servers import VALUES, Server, free_ports, identity_samples, running

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTRITON = ROOT / ".cache" / "pytriton"
SYSTEM_PYTHON = Path("/usr/bin/python3.11")
ELEMENTS = {
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


@contextmanager
def predictor() -> Iterator[Server]:
    """Our predictor with ONNX identity models."""
    http, rpc = free_ports(2)
    with tempfile.TemporaryDirectory() as models:
        for datatype in VALUES:
            _write_identity(Path(models, datatype.lower(), "model.onnx"), datatype)
        flags = {"host": "127.0.0.1", "http_port": http, "grpc_port": rpc, "model_repository": models}
        command = [sys.executable, "-m", "tandem_predictor", *(f"--{name}={value}" for name, value in flags.items())]
        server = Server(f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc}", identity_samples())
        with running(command, server):
            yield server


@contextmanager
def triton() -> Iterator[Server]:
    """A real Triton with Python identity models."""
    http, rpc, metrics = free_ports(3)
    command = [str(_pytriton()), str(HERE / "pytriton_server.py"), str(http), str(rpc), str(metrics), *VALUES]
    server = Server(
        f"http://127.0.0.1:{http}",
        f"127.0.0.1:{rpc}",
        identity_samples(),
        repository=False,  # pytriton keeps it to itself
        health_body=False,
        unknown_model=(400, 404),
    )
    with running(command, server):
        yield server


SERVERS = {"predictor": predictor, "triton": triton}


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with SERVERS[request.param]() as server:
        yield server


def _write_identity(path: Path, datatype: str) -> None:
    element = ELEMENTS.get(datatype) or TensorProto.DataType.Value(datatype)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", element, [None, 2])],
        [helper.make_tensor_value_info("y", element, [None, 2])],
    )
    path.parent.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def _pytriton() -> Path:
    """Python of the environment with Triton, made on first use; skips the test where it cannot be."""
    if not (SYSTEM_PYTHON.exists() and find_library("python3.11")):
        pytest.skip("real Triton needs Debian's python3.11 with libpython3.11")
    if not PYTRITON.exists():
        scratch = Path(tempfile.mkdtemp(dir=_cache()))
        environment = os.environ | {"VIRTUAL_ENV": str(scratch / "venv")}
        lock = ROOT / "requirements" / "pytriton.txt"
        uv = [sys.executable, "-m", "uv"]
        try:
            subprocess.run(
                [*uv, "venv", "--quiet", "--relocatable", "--python", SYSTEM_PYTHON, scratch / "venv"], check=True
            )
            install = [*uv, "pip", "install", "--quiet", "--require-hashes", "-r", lock]
            subprocess.run(install, env=environment, check=True)
            (scratch / "venv").rename(PYTRITON)
        except (subprocess.CalledProcessError, OSError) as error:
            if not PYTRITON.exists():  # else another process was faster
                pytest.skip(f"real Triton cannot be installed: {error}")
        finally:
            shutil.rmtree(scratch)
    return PYTRITON / "bin" / "python"


def _cache() -> Path:
    PYTRITON.parent.mkdir(exist_ok=True)
    return PYTRITON.parent
