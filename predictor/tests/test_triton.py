from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tandem import Bundle, BundleError
from tandem_predictor.session import Session, TensorInfo
from tandem_predictor.triton import main, write_model_repository
from tandem_predictor.triton_config import TritonSettings, build_config

from . import graphs

X = TensorInfo("x", "FP32", (-1, 3))
PARSE = """
import sys
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
text_format.Parse(sys.stdin.read(), ModelConfig())
"""


def parse(text: str) -> None:
    """By Triton's own definition; in a process of its own, since its messages and KServe's exclude each other."""
    subprocess.run([sys.executable, "-c", PARSE], input=text, text=True, check=True)


def test_batched_model() -> None:
    settings = TritonSettings(max_batch_size=8, preferred_batch_sizes=(4, 8), max_queue_delay_us=100, instance_count=2)
    text = build_config("m", [X, TensorInfo("s", "BYTES", (-1, -1))], [TensorInfo("y", "FP32", (-1, 1))], settings)
    parse(text)
    assert text == (
        'name: "m"\n'
        'backend: "onnxruntime"\n'
        "max_batch_size: 8\n"
        'input { name: "x" data_type: TYPE_FP32 dims: [ 3 ] }\n'
        'input { name: "s" data_type: TYPE_STRING dims: [ -1 ] }\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }\n'
        "instance_group { count: 2 kind: KIND_CPU }\n"
        "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }\n"
        'model_warmup { name: "rows-1" batch_size: 1 '
        'inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } '
        'inputs { key: "s" value { data_type: TYPE_STRING dims: [ 1 ] zero_data: true } } }\n'
        'model_warmup { name: "rows-8" batch_size: 8 '
        'inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] zero_data: true } } '
        'inputs { key: "s" value { data_type: TYPE_STRING dims: [ 1 ] zero_data: true } } }\n'
    )


def test_a_column_without_width_keeps_its_shape_and_is_not_batched() -> None:
    text = build_config("m", [TensorInfo("x", "INT64", (-1,))], [X], TritonSettings())
    parse(text)
    assert "max_batch_size: 0\n" in text
    assert "dims: [ -1 ] }" in text
    assert "dims: [ -1, 3 ] }" in text
    assert "dynamic_batching" not in text
    assert 'batch_size: 0 inputs { key: "x" value { data_type: TYPE_INT64 dims: [ 1 ]' in text


def test_gpu_with_tensorrt() -> None:
    text = build_config("m", [X], [X], TritonSettings(kind="gpu", tensorrt=True, warmup=False))
    parse(text)
    assert "KIND_GPU" in text
    assert '"tensorrt"' in text
    assert "model_warmup" not in text


@pytest.mark.parametrize(("settings", "rule"), [({"kind": "tpu"}, "cpu or gpu"), ({"tensorrt": True}, "GPU only")])
def test_refused_settings(settings: dict[str, object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        TritonSettings(**settings)  # type: ignore[arg-type]


def test_repository_of_a_bundle(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path / "bundles")
    written = write_model_repository(bundle, tmp_path / "out")
    assert written == tmp_path / "out" / bundle.wire_name
    assert (written / "1" / "model.onnx").read_bytes() == bundle.model_path.read_bytes()
    assert f'name: "{bundle.wire_name}"' in (written / "config.pbtxt").read_text()


def test_a_golden_row_warms_the_model_up(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path / "bundles")
    written = write_model_repository(bundle, tmp_path / "out")
    text = (written / "config.pbtxt").read_text()
    parse(text)
    assert 'inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3 ] input_data_file: "input-0" } }' in text
    assert np.frombuffer((written / "warmup" / "input-0").read_bytes(), "<f4").tolist() == [0, 1, 2]
    write_model_repository(bundle, tmp_path / "out", TritonSettings(warmup=False))
    assert not (written / "warmup").exists()


def test_weights_beside_the_model(tmp_path: Path) -> None:
    weights = graphs.with_weights_beside(tmp_path / "model.onnx")
    bundle = graphs.linear_bundle(tmp_path / "bundles", model=weights)
    model = write_model_repository(bundle, tmp_path / "out") / "1" / "model.onnx"
    assert sorted(file.name for file in model.iterdir()) == ["model.onnx", "weights"]
    assert Session(model / "model.onnx").run({"x": np.ones((1, 3), np.float32)}, ["y"])[0].tolist() == [[6]]


def test_labels_of_any_number_are_declared_so_and_not_batched() -> None:
    outputs = [TensorInfo("label", "INT64", (1,)), TensorInfo("probabilities", "FP32", (1, 2))]
    text = build_config("m", [X], outputs, TritonSettings())
    parse(text)
    assert 'output { name: "label" data_type: TYPE_INT64 dims: [ -1 ] }' in text
    assert 'output { name: "probabilities" data_type: TYPE_FP32 dims: [ -1, 2 ] }' in text
    assert "max_batch_size: 0\n" in text


def test_the_bundle_itself_is_no_repository(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path)
    with pytest.raises(BundleError, match="holds the bundle itself"):
        write_model_repository(bundle, tmp_path)
    assert Bundle.open(bundle.path) == bundle


def test_a_simpler_model_is_a_model_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simpler = graphs.linear_bundle(tmp_path / "simpler", name="simple")
    bundle = graphs.linear_bundle(tmp_path / "bundles", simpler=simpler)
    out = tmp_path / "repository"
    assert main([str(bundle.path), str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / part.wire_name) for part in (bundle, simpler)]
    for part in (bundle, simpler):
        assert f'name: "{part.wire_name}"' in (out / part.wire_name / "config.pbtxt").read_text()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = graphs.linear_bundle(tmp_path / "bundles")
    out = tmp_path / "out"
    assert main([str(bundle.path), str(out), "--preferred_batch_sizes", "2", "4"]) == 0
    assert capsys.readouterr().out == f"{out / bundle.wire_name}\n"
    assert main([str(bundle.path), str(out), "--tensorrt"]) == 1
    assert main([str(tmp_path), str(out)]) == 1
