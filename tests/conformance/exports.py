"""Bundles around graphs as people's exporters make them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline as Estimator
from sklearn.preprocessing import OneHotEncoder

from tandem import Bundle, Tolerance, fit, inputs_from_table, write_bundle
from tandem.package import ModelPackage

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["numpy>=2"]

[tool.tandem]
model = "{name}:model"
"""
SOURCE = """
from tandem import Field, Model, Prediction

model = Model(
    "{name}",
    serving_keys={{"id": "string"}},
    passed_features={{"surface": "string", "km": "float64", "slope": "float64", "runs": "int64"}},
    inputs={inputs},
    prediction={prediction},
)
"""
ROWS = 40


@dataclass(frozen=True)
class Export:
    """A graph, and what a model package says about it.

    Attributes:
        graph: Made of the columns of :func:`table` in a directory of its own: bytes, or a path; and what the training
            framework predicts.
        inputs: The model's inputs, in Python.
        prediction: Its prediction, in Python.
    """

    graph: Callable[[dict[str, Any], Path], tuple[bytes | Path, Any]]
    inputs: str
    prediction: str = 'Prediction("y")'

    def write(self, name: str, directory: Path) -> Bundle:
        """The bundle, in ``directory/bundles``."""
        package = directory / name
        (package / name).mkdir(parents=True)
        (package / "pyproject.toml").write_text(PYPROJECT.format(name=name))
        source = SOURCE.format(name=name, inputs=self.inputs, prediction=self.prediction)
        (package / name / "__init__.py").write_text(source)
        model = ModelPackage.read(package).load()
        sys.modules.pop(name, None)
        inputs = inputs_from_table(model, table())
        onnx_, expected = self.graph(table(), package)
        return write_bundle(
            directory / "bundles",
            package=package,
            version="v1",
            pipeline=fit(model, inputs),
            onnx=onnx_,
            golden=inputs,
            expected=expected,
            tolerances={"CPUExecutionProvider": Tolerance(1e-4, 1e-4)},
        )


def table() -> dict[str, Any]:
    """What the models are trained on."""
    rng = np.random.default_rng(0)
    return {
        "id": ["x"] * ROWS,
        "surface": (["road", "träil", "track", "road"] * ROWS)[:ROWS],
        "km": rng.uniform(1, 42, ROWS),
        "slope": rng.normal(size=ROWS),
        "runs": rng.integers(0, 5, ROWS),
        "as_of": np.full(ROWS, np.datetime64("2026-05-01", "us")),
    }


def _numbers(columns: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.stack([columns["km"], columns["slope"]], axis=1).astype(np.float32)


def _model(nodes: Any, inputs: Any, outputs: Any, **weights: Any) -> onnx.ModelProto:
    values = [[helper.make_tensor_value_info(*value) for value in part] for part in (inputs, outputs)]
    tensors = [numpy_helper.from_array(np.asarray(weight), name) for name, weight in weights.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph(nodes, "g", *values, tensors), opset_imports=opsets, ir_version=9)


def _classifier(columns: dict[str, Any], directory: Path) -> tuple[bytes, Any]:
    """Label and probabilities, as scikit-learn's exporter gives them; the labels are strings."""
    x = _numbers(columns)
    estimator = LogisticRegression().fit(x, np.where(x[:, 0] > 20, "lång", "short"))
    graph = to_onnx(estimator, x[:1], options={"zipmap": False}).SerializeToString()
    return graph, {"label": estimator.predict(x), "probabilities": estimator.predict_proba(x)}


def _labels(columns: dict[str, Any], directory: Path) -> tuple[bytes, Any]:
    """A label that is declared as one, as LightGBM's converter does."""
    x = _numbers(columns)
    nodes = [
        helper.make_node("ArgMax", ["X"], ["label"], axis=1, keepdims=0),
        helper.make_node("Softmax", ["X"], ["p"]),
    ]
    outputs = [("label", TensorProto.INT64, [1]), ("p", TensorProto.FLOAT, [None, 2])]
    graph = _model(nodes, [("X", TensorProto.FLOAT, [None, 2])], outputs)
    return graph.SerializeToString(), {"label": x.argmax(axis=1)}


def _pipeline(columns: dict[str, Any], directory: Path) -> tuple[bytes, Any]:
    """A whole scikit-learn pipeline, with its categories as strings."""
    import pandas as pd

    frame = pd.DataFrame({"surface": columns["surface"], "km": columns["km"].astype(np.float32)})
    encode = ColumnTransformer([("surface", OneHotEncoder(), ["surface"]), ("km", "passthrough", ["km"])])
    estimator = Estimator([("encode", encode), ("ridge", Ridge())]).fit(frame, frame.km * 5 + (frame.surface == "road"))
    types = [("surface", StringTensorType([None, 1])), ("km", FloatTensorType([None, 1]))]
    return convert_sklearn(estimator, initial_types=types, target_opset=17).SerializeToString(), estimator.predict(
        frame
    )


def _beside(columns: dict[str, Any], directory: Path) -> tuple[Path, Any]:
    """Weights in a file of their own."""
    weights = np.array([[2.0], [-3.0]], np.float32)
    nodes = [helper.make_node("MatMul", ["X", "w"], ["y"])]
    graph = _model(nodes, [("X", TensorProto.FLOAT, [None, 2])], [("y", TensorProto.FLOAT, [None, 1])], w=weights)
    path = directory / "trained.onnx"
    onnx.save_model(graph, str(path), save_as_external_data=True, location="trained.onnx.data", size_threshold=0)
    return path, _numbers(columns) @ weights


def _flat(columns: dict[str, Any], directory: Path) -> tuple[bytes, Any]:
    """A tensor of shape (rows,) for each input, of which one is a place in a table."""
    nodes = [helper.make_node("Gather", ["places", "runs"], ["place"]), helper.make_node("Add", ["place", "km"], ["y"])]
    inputs = [("runs", TensorProto.INT32, [None]), ("km", TensorProto.DOUBLE, [None])]
    places = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    graph = _model(nodes, inputs, [("y", TensorProto.DOUBLE, [None])], places=places)
    return graph.SerializeToString(), places[columns["runs"]] + columns["km"]


EXPORTS = {
    "classifier": Export(_classifier, '["km", "slope"]', 'Prediction("long", tensor="probabilities", column=0)'),
    "classes": Export(_classifier, '["km", "slope"]', 'Prediction("distance", "string", tensor="label")'),
    "labels": Export(_labels, '["km", "slope"]', 'Prediction("winner", "int64", tensor="label")'),
    "strings": Export(_pipeline, '["surface", "km"]', 'Prediction("y", tensor="variable")'),
    "beside": Export(_beside, '["km", "slope"]'),
    "flat": Export(_flat, '["runs", "km"]'),
}
