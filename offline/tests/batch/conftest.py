"""A bundle with views, post-processing that fails, and the tables that it predicts from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from core.tests.small import write_package
from skl2onnx import to_onnx
from sklearn.neural_network import MLPRegressor

from tandem import Bundle, EmbeddedModel, fit, matrix, write_bundle
from tandem.package import ModelPackage
from tandem.sampling import random_inputs
from tandem_offline import FeatureTable, OfflineStore

DAY = datetime(2026, 5, 1, tzinfo=UTC)
MODEL = """
import numpy as np
from tandem import Feature, FeatureView, Field, Model, Prediction, model_dependent, on_demand, postprocess

load = FeatureView("load", keys=["id"], max_age="7d", features=[
    Feature("ctl", default=1.0), Feature("acwr", default=1.0)])
profile = FeatureView("profile", keys=["id"], features=[Feature("age", "int64")])

@on_demand
def double(x):
    return x * 2

@model_dependent(fit=lambda values: {"mean": values.mean()})
def centred(values, *, mean):
    return values - mean

@postprocess("string")
def label(y, x):
    if (x == 13).any():
        raise ValueError("thirteen")
    return np.array([f"{value:.2f}" for value in y], object)

@postprocess("float32")
def root(y, x):
    return np.where(x == 17, np.nan, y)

model = Model(
    "small",
    serving_keys={"id": "string"},
    passed_features={"x": Field("float64", ge=0, le=100)},
    request_parameters={"ts": "timestamp"},
    as_of="ts",
    views=[load, profile],
    inputs=[double, centred("ctl"), "acwr", "age"],
    prediction=Prediction("y", "float32"),
    postprocess=[label, root],
)
"""


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("package")
    write_package(path, MODEL)
    model = ModelPackage.read(path).load()
    inputs = random_inputs(model, 64, np.random.default_rng(0), missing=0, null=0)
    pipeline = fit(model, inputs)
    vectors = matrix(pipeline, inputs)
    untrained = MLPRegressor(hidden_layer_sizes=(16,), tol=1e9, n_iter_no_change=1, random_state=0)
    estimator = untrained.fit(vectors, vectors.sum(axis=1))
    return write_bundle(
        path / "bundles",
        package=path,
        version="v1",
        pipeline=pipeline,
        onnx=to_onnx(estimator, vectors[:1]).SerializeToString(),
        golden=inputs,
        expected=estimator.predict(vectors),
    )


@pytest.fixture(scope="session")
def embedded(bundle: Bundle) -> EmbeddedModel:
    return EmbeddedModel.open(bundle.path)


def times(*days: float) -> pa.Array:
    return pa.array([DAY + timedelta(days=day) for day in days], pa.timestamp("us", "UTC"))


def tables(**changes: Any) -> dict[str, pa.Table]:
    """Entities ``a`` and ``b``; of ``b`` only an old row in one view, and of ``c`` only one in the other."""
    views = {
        "load": {
            "id": ["a", "a", "b"],
            "event_time": times(0, 1, -30),
            "ctl": [1.0, 2.0, 3.0],
            "acwr": [1.0, None, 1.0],
        },
        "profile": {"id": ["a", "b"], "event_time": times(-9, -9), "age": [30, 40]},
    }
    return {name: pa.table(columns) for name, columns in (views | changes).items()}


Rows = Callable[..., FeatureTable]


@pytest.fixture
def rows(embedded: EmbeddedModel) -> Rows:
    """Rows of a spine with their features."""

    def join(*, store: OfflineStore | None = None, **columns: Any) -> FeatureTable:
        spine = pa.table({"id": ["a"], "ts": times(2), "x": [1.0]} | columns)
        return (store or OfflineStore(tables())).batch_data(embedded.bundle.model, spine=spine)

    return join


def read(path: Path) -> pa.Table:
    """What an output has, whatever its format."""
    if (path / "_delta_log").exists():
        from deltalake import DeltaTable

        return DeltaTable(path).to_pyarrow_dataset().to_table()
    import pyarrow.parquet as pq

    return pq.read_table(path)
