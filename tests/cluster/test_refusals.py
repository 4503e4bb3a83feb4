"""Versions that are not right get no weight; the others keep theirs, and the rollout says in one line why."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression

from tandem import Bundle, fit, inputs_from_table, matrix, write_bundle
from tandem.package import ModelPackage

from . import images
from .conftest import EXAMPLE, Cluster, delete_rollout, manifest, serving, variants
from .figures import FIGURES
from .kubectl import apply, eventually, get, kubectl
from .load import Load
from .test_traffic import ROW

NAME = "refusals"
GOOD = variants(v1=90)[0]


def put(cluster: Cluster, *extra: dict[str, Any]) -> None:
    apply([manifest(NAME, cluster.namespace, variants=[GOOD, *extra])], cluster.namespace)


@pytest.fixture(scope="module", autouse=True)
def _rollout(cluster: Cluster) -> Iterator[None]:
    put(cluster)
    serving(cluster, NAME, "v1=90")
    yield
    delete_rollout(cluster, NAME)


def refused(cluster: Cluster, name: str, says: str) -> None:
    """Wait for the reason; meanwhile v1 has all the traffic and loses none of it."""

    def look() -> str:
        status = get("inferencerollout", NAME, cluster.namespace).get("status", {})
        return next((line for line in [status.get("message", "")] if says in line), "")

    url = f"{cluster.gateway}/v1/models/time-estimator:predict"
    with Load(url, cluster.host(NAME), [ROW], rate=50) as sent:
        message = eventually(look, f"{name}: {says!r} in the message", 150)
        sent.wait(100)
    FIGURES.lost += len(sent.failures)
    assert not sent.failures, sent.failures[:5]
    assert set(sent.shares(0)) == {"v1"}
    status = get("inferencerollout", NAME, cluster.namespace)["status"]
    assert status["weights"] == "v1=90"
    described = kubectl("-n", cluster.namespace, "describe", "inferencerollout", NAME)
    assert any(says in line for line in described.splitlines())
    assert "\n" not in message
    FIGURES.add(name, message[:110])


def test_a_corrupt_bundle(cluster: Cluster, tmp_path: Path) -> None:
    whole = cluster.trained["v2"].bundle
    shutil.copytree(whole.path, tmp_path / "models")
    model = tmp_path / "models/model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(bytes(content))
    (tmp_path / "Dockerfile").write_text(f"FROM {images.BUNDLE_BASE}\nCOPY models /models\nUSER 65532:65532\n")
    images.build("athlete:corrupt", tmp_path / "Dockerfile", tmp_path)
    put(cluster, {"name": "v2", "bundle": {"image": "athlete:corrupt"}, "weight": 10})
    refused(cluster, "a corrupt bundle", "model.onnx")


def test_a_missing_image(cluster: Cluster) -> None:
    put(cluster, {"name": "v2", "bundle": {"image": "athlete:nowhere"}, "weight": 10})
    refused(cluster, "a missing image", "athlete:nowhere")


def test_a_mixed_pair(cluster: Cluster) -> None:
    container = {"name": "bundle", "image": "athlete:v1"}
    mixed = {"spec": {"predictor": {"initContainers": [container]}}}
    put(cluster, {"name": "v2", "bundle": {"image": "athlete:v2"}, "weight": 10, "template": mixed})
    refused(cluster, "a mixed pair", "the predictor has another bundle")


@pytest.mark.core
def test_a_wrong_contract(cluster: Cluster, tmp_path: Path) -> None:
    images.build_bundle("athlete:other", _other_contract(tmp_path))
    put(cluster, {"name": "v2", "bundle": {"image": "athlete:other"}, "weight": 10})
    refused(cluster, "a wrong contract", "breaks clients")


def test_a_spec_that_makes_no_sense_is_not_taken(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="give exactly one of image, pvc and uri"):
        put(cluster, {"name": "v2", "bundle": {}, "weight": 10})


def test_the_same_version_mended_gets_its_weight(cluster: Cluster) -> None:
    put(cluster, variants(v2=10)[0])
    serving(cluster, NAME, "v1=90 v2=10")


def _other_contract(directory: Path) -> Bundle:
    """A version of the example that takes another field for the pace."""
    package = directory / "package"
    shutil.copytree(EXAMPLE, package, ignore=shutil.ignore_patterns("data", "bundles", "__pycache__"))
    source = package / "athlete/__init__.py"
    source.write_text(source.read_text().replace("current_pace", "present_pace"))
    model = ModelPackage.read(package).load()
    rng = np.random.default_rng(5)
    rows = 60
    table = {
        "athlete_id": [f"a{row}" for row in range(rows)],
        "ts": np.full(rows, np.datetime64("2005-04-03T12:00")),
        "present_pace": rng.normal(385, 20, rows),
        "ctl_42d": rng.gamma(5, 7, rows),
        "acwr": rng.normal(1, 0.1, rows),
        "pace_90d": rng.normal(385, 20, rows),
        "age": rng.integers(20, 70, rows).astype(float),
        "sex": np.array(["F", "M"] * (rows // 2)),
    }
    table |= {f"{use.name}_event_time": table["ts"] for use in model.views}
    inputs = inputs_from_table(model, table)
    pipeline = fit(model, inputs)
    vectors = matrix(pipeline, inputs)
    estimator = LinearRegression().fit(vectors, rng.normal(6000, 500, rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporter warns about is not tested here
        onnx = to_onnx(estimator, vectors[:1]).SerializeToString()
    return write_bundle(
        directory / "bundles",
        package=package,
        version="other",
        pipeline=pipeline,
        onnx=onnx,
        golden=inputs,
        expected=estimator.predict(vectors),
        postprocess_state={"finish_time_range": {"below": 0.9, "above": 1.1}},
    )
