from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tandem.onnx_files import external_files, missing_files


def stored_in(name: str, tensor: str) -> TensorProto:
    proto = numpy_helper.from_array(np.zeros(4, np.float32), tensor)
    onnx.external_data_helper.set_external_data(proto, name, offset=0, length=16)
    proto.ClearField("raw_data")
    return proto


def value(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None])


def model(*nodes: Any, initializers: Any = (), **more: Any) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "g", [value("x")], [value("y")], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, **more)


def branch(name: str) -> onnx.GraphProto:
    return helper.make_graph([], "branch", [], [value("b")], [stored_in(name, "b")])


def test_wherever_tensors_are(tmp_path: Path) -> None:
    sparse = helper.make_sparse_tensor(stored_in("values", "s"), stored_in("indices", "i"), [9])
    graph = model(
        helper.make_node("Constant", [], ["c"], value=stored_in("constant", "c")),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("then"), else_branch=branch("else")),
        helper.make_node("Custom", ["x"], ["z"], tensors=[stored_in("listed", "l")], graphs=[branch("graphs")]),
        initializers=[stored_in("model.onnx.data", "w"), stored_in("model.onnx.data", "v"), stored_in("second", "u")],
        functions=[
            helper.make_function(
                "local",
                "F",
                ["x"],
                ["y"],
                [helper.make_node("Constant", [], ["y"], value=stored_in("function", "f"))],
                [helper.make_opsetid("", 17)],
            )
        ],
    )
    graph.graph.sparse_initializer.append(sparse)
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    expected = {
        "constant",
        "then",
        "else",
        "listed",
        "graphs",
        "model.onnx.data",
        "second",
        "function",
        "values",
        "indices",
    }
    assert set(external_files(path)) == expected
    assert len(external_files(path)) == len(expected)
    (tmp_path / "second").write_bytes(b"")
    assert set(missing_files(path)) == expected - {"second"}


def test_weights_inside(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    tensor = numpy_helper.from_array(np.arange(1000.0), "location")
    path.write_bytes(model(initializers=[tensor]).SerializeToString())
    assert external_files(path) == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=5))
def test_any_name(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "model.onnx"
    tensors = [stored_in(name, f"t{index}") for index, name in enumerate(names)]
    path.write_bytes(model(initializers=tensors).SerializeToString())
    assert external_files(path) == tuple(names)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_no_model_has_none(tmp_path: Path, data: st.DataObject) -> None:
    whole = model(initializers=[stored_in("weights", "w")]).SerializeToString()
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path / "model.onnx"
    path.write_bytes(data.draw(st.one_of(st.binary(max_size=40), st.just(whole[:cut]))))
    assert set(external_files(path)) <= {"weights"}


@pytest.mark.parametrize("content", [b"", b"\x3a", b"\xff" * 40, b"\x3a\x04\x2a\xff\xff\xff", b"\x0b"])
def test_broken_messages(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert external_files(path) == ()
