"""Two bundles of one model package, and one whose contract breaks clients; a registry in an SQLite file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

from tandem import Bundle, fit, matrix, write_bundle
from tandem.package import ModelPackage
from tandem.sampling import random_inputs
from tandem_offline.registry import Registry

MODEL = """
from tandem import Feature, FeatureView, Field, Model, Prediction, on_demand

load = FeatureView("load", keys=["id"], features=[Feature("ctl", default=1.0)])

@on_demand
def double(x):
    return x * 2

model = Model(
    "small",
    serving_keys={"id": "string"},
    passed_features={"x": Field("float64", ge=0, le=LIMIT)},
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
"""


def train(path: Path, version: str, limit: int) -> Bundle:
    """A bundle of the model with another upper bound of one of its fields."""
    (path / "small").mkdir(parents=True)
    (path / "small" / "__init__.py").write_text(MODEL.replace("LIMIT", str(limit)))
    (path / "pyproject.toml").write_text(PYPROJECT)
    model = ModelPackage.read(path).load()
    inputs = random_inputs(model, 32, np.random.default_rng(0))
    pipeline = fit(model, inputs)
    vectors = matrix(pipeline, inputs)
    estimator = LinearRegression().fit(vectors, vectors.sum(axis=1))
    return write_bundle(
        path / "bundles",
        package=path,
        version=version,
        pipeline=pipeline,
        onnx=to_onnx(estimator, vectors[:1]).SerializeToString(),
        golden=inputs,
        expected=estimator.predict(vectors),
    )


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    limits = {"v1": 100, "v2": 100, "v3": 50}
    return {version: train(tmp_path_factory.mktemp(version), version, limit) for version, limit in limits.items()}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An SQLite file with MLflow's tables, which take seconds to make."""
    file = tmp_path_factory.mktemp("empty") / "registry.db"
    Registry(f"sqlite:///{file}").names()
    return file.read_bytes()


@pytest.fixture
def registry(tmp_path: Path, empty_database: bytes) -> Registry:
    (tmp_path / "registry.db").write_bytes(empty_database)
    return Registry(f"sqlite:///{tmp_path / 'registry.db'}")
