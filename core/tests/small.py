"""A small model package and its bundle, for tests in which what it predicts does not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

from tandem import Bundle, fit, matrix, write_bundle
from tandem.package import ModelPackage
from tandem.sampling import random_inputs

MODEL = """
from tandem import Feature, FeatureView, Field, Model, Prediction, on_demand

load = FeatureView("load", keys=["id"], features=[Feature("ctl", default=1.0)])

@on_demand
def double(x):
    return x * 2

model = Model(
    "small",
    serving_keys={"id": "string"},
    passed_features={"x": Field("float64", ge=0, le=100)},
    request_parameters={"ts": "timestamp"},
    as_of="ts",
    views=[load],
    inputs=[double, "ctl"],
    prediction=Prediction("y"),
)
"""
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "small"
version = "0.1"
[tool.tandem]
model = "small:model"
train = "train.py"
[tool.tandem.features]
load = "load.parquet"
"""


def write_package(path: Path, model: str = MODEL) -> None:
    """Write the package into a directory."""
    (path / "small").mkdir(parents=True)
    (path / "small" / "__init__.py").write_text(model)
    (path / "pyproject.toml").write_text(PYPROJECT)


def write_small(path: Path, model: str = MODEL, *, version: str = "v1", scale: float = 1.0) -> Bundle:
    """Write the package into a directory, and a bundle of it.

    Args:
        path: The directory.
        model: Source of the model.
        version: Name of the bundle's version.
        scale: By which its predictions are larger than those of others.
    """
    write_package(path, model)
    loaded = ModelPackage.read(path).load()
    inputs = random_inputs(loaded, 32, np.random.default_rng(0))
    pipeline = fit(loaded, inputs)
    vectors = matrix(pipeline, inputs)
    estimator = LinearRegression().fit(vectors, scale * vectors.sum(axis=1))
    return write_bundle(
        path / "bundles",
        package=path,
        version=version,
        pipeline=pipeline,
        onnx=to_onnx(estimator, vectors[:1]).SerializeToString(),
        golden=inputs,
        expected=estimator.predict(vectors),
    )
