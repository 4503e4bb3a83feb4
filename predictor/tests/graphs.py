"""Small ONNX models, and bundles around them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tandem import bundle_directory
from tandem.bundle import Bundle
from tandem.comparison import Tolerance
from tandem.contract import Contract, Prediction
from tandem.features import Feature, FeatureView
from tandem.manifest import FORMAT, GOLDEN, MODEL, Manifest
from tandem.onnx_files import external_files
from tandem.signature import Signature, TensorSpec

Shape = list[int | str | None]
Value = tuple[str, int, Shape]


def save(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[Value], outputs: list[Value], **constants: object
) -> Path:
    """Write a graph; ``constants`` are its initializers."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def linear(path: Path, *, rows: int | str | None = None) -> Path:
    """``y = x @ (1, 2, 3)``, FP32, of shape (rows, 3) to (rows, 1)."""
    return save(
        path,
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", TensorProto.FLOAT, [rows, 3])],
        [("y", TensorProto.FLOAT, [rows, 1])],
        w=np.array([[1], [2], [3]], np.float32),
    )


def with_weights_beside(path: Path) -> Path:
    """:func:`linear` with its weights in a file ``weights``."""
    model = onnx.load(linear(path))
    onnx.save_model(model, str(path), save_as_external_data=True, location="weights", size_threshold=0)
    return path


def identity(path: Path, element: int, shape: Shape | None = None) -> Path:
    """``y = x`` of any type."""
    shape = [None, 2] if shape is None else shape
    return save(path, [helper.make_node("Identity", ["x"], ["y"])], [("x", element, shape)], [("y", element, shape)])


def lookup(path: Path) -> Path:
    """``y = (10, 20, 30)[x]``: ONNX Runtime fails on an index out of range; INT64 (rows,) to FP32 (rows,)."""
    return save(
        path,
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", TensorProto.INT64, [None])],
        [("y", TensorProto.FLOAT, [None])],
        table=np.array([10, 20, 30], np.float32),
    )


def add(path: Path) -> Path:
    """``y = a + b``, FP32 (rows, 1)."""
    return save(
        path,
        [helper.make_node("Add", ["a", "b"], ["y"])],
        [("a", TensorProto.FLOAT, [None, 1]), ("b", TensorProto.FLOAT, [None, 1])],
        [("y", TensorProto.FLOAT, [None, 1])],
    )


def total(path: Path) -> Path:
    """The sum over all rows: rows go in, one comes out, and the declared shape hides it."""
    return save(
        path,
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
        [("x", TensorProto.FLOAT, [None, 1])],
        [("y", TensorProto.FLOAT, [None, 1])],
        axes=np.array([0], np.int64),
    )


def centred(path: Path) -> Path:
    """``y = x - mean of x over the rows``, FP32 (rows, 2): a normalisation layer left in training mode."""
    return save(
        path,
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [None, 2])],
        [("y", TensorProto.FLOAT, [None, 2])],
    )


def recurrent(path: Path) -> Path:
    """``y = cumulated sums of x``, INT64 (steps, 1): the first axis is a sequence."""
    return save(
        path,
        [helper.make_node("CumSum", ["x", "axis"], ["y"])],
        [("x", TensorProto.INT64, [None, 1])],
        [("y", TensorProto.INT64, [None, 1])],
        axis=np.array(0, np.int64),
    )


def labels(path: Path) -> Path:
    """``label = row of the greatest of two``, declared as ``[1]`` like LightGBM's; and ``x`` as ``probabilities``."""
    return save(
        path,
        [
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
            helper.make_node("Identity", ["x"], ["probabilities"]),
        ],
        [("x", TensorProto.FLOAT, [None, 2])],
        [("label", TensorProto.INT64, [1]), ("probabilities", TensorProto.FLOAT, [None, 2])],
    )


def zipmap(path: Path) -> Path:
    """A classifier with skl2onnx's ZipMap, whose output is a sequence of maps."""
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_value_info("y", kind)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    return path


def linear_bundle(
    parent: Path,
    *,
    name: str = "linear",
    version: str = "v1",
    error: float = 0.0,
    model: Path | None = None,
    simpler: Bundle | None = None,
) -> Bundle:
    """A bundle around :func:`linear`; ``error`` is added to the golden output of row 2."""
    view = FeatureView("stored", keys=("id",), features=(Feature("a"),), fallback="model")
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    outputs = vectors @ np.array([[1], [2], [3]], np.float32)
    outputs[2] += error
    signature = Signature(
        (TensorSpec("x", "float32", ("a", "b", "c"), (-1, 3)),), (TensorSpec("y", "float32", (), (-1, 1)),)
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = model or linear(Path(scratch, MODEL))
        files = {MODEL: path, GOLDEN: Path(scratch, GOLDEN), "code.whl": Path(scratch, "whl")}
        files |= {weights: path.parent / weights for weights in external_files(path)}
        np.savez(files[GOLDEN], **{"vector/x": vectors, "output/y": outputs})
        files["code.whl"].write_bytes(b"")
        manifest = Manifest(
            format=FORMAT,
            name=name,
            version=version,
            entry_point="linear:model",
            contract=Contract(
                model=name,
                serving_keys={},
                passed_features={},
                request_parameters={},
                prediction=Prediction("y"),
                outputs={},
            ),
            views=() if simpler is None else (view.on(),),
            signature=signature,
            signature_hash=signature.hash,
            state={},
            tolerances={"CPUExecutionProvider": Tolerance()},
            requirements=(),
            training_histogram=(),
            files={},
        )
        return bundle_directory.write(parent, manifest, files, simpler=simpler)
