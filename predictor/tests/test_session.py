from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from tandem.errors import BundleError, Internal, MalformedRequest
from tandem_predictor.session import Session, TensorInfo

from . import graphs

ELEMENTS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
}


@pytest.mark.parametrize("datatype", ELEMENTS)
def test_numbers_of_every_type(datatype: str, tmp_path: Path) -> None:
    session = Session(graphs.identity(tmp_path / "model.onnx", ELEMENTS[datatype]))
    assert session.inputs == (TensorInfo("x", datatype, (-1, 2)),)
    sent = np.array([[0, 1]], session.inputs[0].dtype)
    sent.flags.writeable = False
    (received,) = session.run({"x": sent}, ["y"])
    assert received.dtype == sent.dtype
    assert received.tolist() == sent.tolist()


def test_strings_come_out_as_bytes(tmp_path: Path) -> None:
    session = Session(graphs.identity(tmp_path / "model.onnx", TensorProto.STRING))
    assert session.outputs[0].datatype == "BYTES"
    (received,) = session.run({"x": np.array([["ä", ""]], object)}, ["y"])
    assert received.tolist() == [["ä".encode(), b""]]


def test_bfloat16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Session(graphs.identity(tmp_path / "model.onnx", TensorProto.BFLOAT16))


def test_sequences_of_maps_are_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"'y' is a seq\(map.*zipmap=False"):
        Session(graphs.zipmap(tmp_path / "model.onnx"))


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(BundleError, match="ONNX Runtime refuses the model"):
        Session(path)


def test_execution_provider_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no RocketExecutionProvider; it has .*CPUExecutionProvider"):
        Session(graphs.linear(tmp_path / "model.onnx"), ["RocketExecutionProvider"])


@pytest.mark.parametrize(("rows", "batchable"), [(None, True), ("n", True), (4, False)])
def test_batchable(rows: int | str | None, batchable: bool, tmp_path: Path) -> None:
    assert Session(graphs.linear(tmp_path / "model.onnx", rows=rows)).batchable is batchable


def test_failures(tmp_path: Path) -> None:
    session = Session(graphs.lookup(tmp_path / "model.onnx"))
    with pytest.raises((MalformedRequest, Internal), match="indices"):
        session.run({"x": np.array([7])}, ["y"])


def test_fits() -> None:
    info = TensorInfo("x", "FP32", (-1, 3))
    assert info.fits((0, 3))
    assert not info.fits((1, 2))
    assert not info.fits((3,))
