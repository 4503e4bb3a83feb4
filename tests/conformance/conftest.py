from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from .servers import MODELS, Server, free_ports, identity_samples, running

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTRITON = ROOT / ".cache" / "pytriton"
PYTRITON_LOCK = ROOT / "requirements" / "pytriton.txt"
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
        for model, datatypes in MODELS.items():
            _write_identity(Path(models, model, "model.onnx"), datatypes)
        flags = {"host": "127.0.0.1", "http_port": http, "grpc_port": rpc, "model_repository": models}
        command = [sys.executable, "-m", "tandem_predictor", *(f"--{name}={value}" for name, value in flags.items())]
        server = Server(f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc}", identity_samples(), repository="Bearer secret")
        with running(command, server, environment={**os.environ, "TANDEM_REPOSITORY_TOKEN": "secret"}):
            yield server


@contextmanager
def triton() -> Iterator[Server]:
    """A real Triton with Python identity models."""
    http, rpc, metrics = free_ports(3)
    models = [f"{model}={','.join(datatypes)}" for model, datatypes in MODELS.items()]
    command = [str(_pytriton()), str(HERE / "pytriton_server.py"), *map(str, (http, rpc, metrics)), *models]
    server = Server(
        f"http://127.0.0.1:{http}",
        f"127.0.0.1:{rpc}",
        identity_samples(),
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


def _write_identity(path: Path, datatypes: Iterable[str]) -> None:
    names = {datatype: datatype.lower() for datatype in datatypes}
    elements = {datatype: ELEMENTS.get(datatype) or TensorProto.DataType.Value(datatype) for datatype in datatypes}
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"x_{name}"], [f"y_{name}"]) for name in names.values()],
        "identity",
        [helper.make_tensor_value_info(f"x_{name}", elements[datatype], [None, 2]) for datatype, name in names.items()],
        [helper.make_tensor_value_info(f"y_{name}", elements[datatype], [None, 2]) for datatype, name in names.items()],
    )
    path.parent.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def _pytriton() -> Path:
    """Python of the environment with Triton, made on first use; skips the test where it cannot be."""
    if not (SYSTEM_PYTHON.exists() and find_library("python3.11")):
        pytest.skip("real Triton needs Debian's python3.11 with libpython3.11")
    try:
        if not PYTRITON.exists():
            _install_pytriton()
    except (subprocess.CalledProcessError, OSError) as error:
        if not PYTRITON.exists():  # else another process was faster
            pytest.skip(f"real Triton cannot be installed: {error}")
    return PYTRITON / "bin" / "python"


def _install_pytriton() -> None:
    """Into a scratch directory first, so that an interrupted installation is not taken for a whole one."""
    PYTRITON.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PYTRITON.parent, ignore_cleanup_errors=True) as scratch:
        venv = Path(scratch, "venv")
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--relocatable", "--python", str(SYSTEM_PYTHON), str(venv)], check=True)
        # Named outright: uv would otherwise install into the environment that runs these tests.
        into = ["--python", str(venv / "bin" / "python")]
        subprocess.run(
            [*uv, "pip", "install", *into, "--quiet", "--require-hashes", "-r", str(PYTRITON_LOCK)], check=True
        )
        venv.rename(PYTRITON)
