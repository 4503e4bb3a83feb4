"""The same by `kubectl apply -k`, and from plain YAML with no controller."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from . import images
from .ask import by_grpc, by_v1, by_v2, rows
from .conftest import SYSTEM, Cluster, delete_rollout, fill_store, serving
from .figures import FIGURES
from .kubectl import eventually, items, kubectl

NAME = "time-estimator"
NAMESPACE = "models"
STORES = "stores"


@pytest.fixture(scope="module")
def there(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the store that the manifests name."""
    for namespace in (NAMESPACE, STORES):
        kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=true", "--timeout=120s")
    kubectl("create", "namespace", STORES)
    fill_store(STORES)
    kubectl("-n", STORES, "expose", "deployment", "store", "--name=valkey", "--port=6379")
    yield replace(cluster, namespace=NAMESPACE)
    for namespace in (NAMESPACE, STORES):
        kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=true", "--timeout=120s")


def kustomization(directory: Path, of: str) -> Path:
    """A directory with some of our manifests and this cluster's images."""
    names = {
        "registry.example.com/athlete/time-estimator": {"newName": "athlete"},
        "tandem-transformer": {"newTag": images.TAG},
        "tandem-predictor": {"newTag": images.TAG},
    }
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(images.ROOT / "manifests" / of, directory.resolve())],
        "images": [{"name": name, **new} for name, new in names.items()],
    }
    if of.startswith("overlays"):
        base = images.ROOT / "manifests/base/fields.yaml"
        (directory / "fields.yaml").write_text(base.read_text())
        content["configurations"] = ["fields.yaml"]
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return directory


def test_the_overlay_ab(there: Cluster, tmp_path: Path) -> None:
    kubectl("apply", "-k", str(kustomization(tmp_path, "overlays/ab")))
    serving(there, NAME, "v1=90 v2=10")
    _right(there, "kubectl apply -k manifests/overlays/ab")
    delete_rollout(there, NAME)


def test_plain_manifests_without_the_controller(there: Cluster, tmp_path: Path) -> None:
    kubectl("-n", SYSTEM, "scale", "deployment/tandem-controller", "--replicas=0")
    try:
        kubectl("apply", "-k", str(kustomization(tmp_path, "plain/ab")))
        eventually(lambda: _all_ready(there), "all pods are ready", 120)
        _right(there, "manifests/plain/ab, no controller")
        kubectl("delete", "-k", str(tmp_path), "--wait=true", "--timeout=120s")
    finally:
        kubectl("-n", SYSTEM, "scale", "deployment/tandem-controller", "--replicas=1")
        kubectl("-n", SYSTEM, "rollout", "status", "deployment/tandem-controller", "--timeout=60s")


def _all_ready(cluster: Cluster) -> bool:
    pods = items("pods", cluster.namespace, "serving.kserve.io/inferenceservice")
    ready = [
        any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in pod["status"].get("conditions", ())
        )
        for pod in pods
    ]
    return len(ready) == 4 and all(ready)


def _right(cluster: Cluster, name: str) -> None:
    """Answers of both variants are right by every protocol."""
    from races import inputs_of, read_races

    races = read_races().sample(100, random_state=4, ignore_index=True)
    inputs = rows(cluster.trained["v1"].bundle, races)
    host = cluster.host(NAME)
    for version, trained in cluster.trained.items():
        eventually(lambda version=version: _routed(cluster, host, inputs[:1], version), f"{name}: {version} routed", 30)  # type: ignore[misc]
        bundle = trained.bundle
        (vectors,) = bundle.pipeline().vectors(inputs_of(bundle.model, races)).values()
        tolerance = bundle.tolerance("CPUExecutionProvider")
        within = {"rtol": tolerance.rtol, "atol": tolerance.atol}
        expected = trained.estimator.predict(vectors)
        answers = asyncio.run(by_v1(cluster.gateway, host, inputs, x_model_variant=version))
        assert {answer.variant for answer in answers} == {version}
        np.testing.assert_allclose([answer.prediction["predicted_time_s"] for answer in answers], expected, **within)
        for answered, predictions in (
            asyncio.run(by_v2(cluster.gateway, host, inputs, version=version)),
            asyncio.run(by_grpc(cluster.gateway, host, inputs, variant=version)),
        ):
            assert answered == version
            np.testing.assert_allclose(predictions, expected, **within)
    FIGURES.add(name, "answers are right by V1, OIP REST and gRPC")


def _routed(cluster: Cluster, host: str, inputs: list[dict[str, Any]], version: str) -> bool:
    try:
        return asyncio.run(by_v2(cluster.gateway, host, inputs, version=version))[0] == version
    except (AssertionError, KeyError, ValueError, OSError):
        return False
