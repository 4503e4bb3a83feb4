"""Bases, components and overlays: kustomize builds them, and the rollouts in them are valid."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.charts.rendered import MANIFESTS, Objects, kustomize, one, overlays

from tandem_rollout import KIND
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.spec import Rollout
from tandem_rollout.engine.schedule import build_schedule
from tandem_rollout.render import render
from tandem_rollout.render.platform import Platform

COMPONENTS = sorted(path.name for path in (MANIFESTS / "components").iterdir())


def rollouts(objects: Objects) -> list[Rollout]:
    return [parse(manifest) for manifest in objects if manifest["kind"] == KIND]


def only(overlay: str) -> Rollout:
    (rollout,) = rollouts(overlays()[overlay])
    return rollout


def build(directory: Path, *components: str, overlay: str = "base", **fields: Any) -> Objects:
    """An overlay of somebody's own."""

    def there(path: str) -> str:
        return os.path.relpath(MANIFESTS / path, directory)

    manifest = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "running",
        "resources": [there(overlay)],
        "components": [there(f"components/{name}") for name in components],
        **fields,
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(manifest))
    return kustomize(directory)


@pytest.mark.parametrize("overlay", overlays())
def test_overlays_have_valid_rollouts_in_a_namespace_that_they_make(overlay: str) -> None:
    overlay_rollouts = rollouts(overlays()[overlay])
    assert overlay_rollouts
    namespaces = {manifest["metadata"]["name"] for manifest in overlays()[overlay] if manifest["kind"] == "Namespace"}
    assert {rollout.namespace for rollout in overlay_rollouts} == namespaces == {"models"}
    for rollout in overlay_rollouts:
        assert render(rollout, Platform())


def test_the_base_belongs_to_no_namespace() -> None:
    (rollout,) = kustomize(MANIFESTS / "base")
    assert "namespace" not in rollout["metadata"]


def test_strategies() -> None:
    names = {overlay: only(overlay).spec.strategy.name for overlay in overlays() if overlay != "shared-gpu"}
    assert names["ab"] == "abTest"
    assert names["blue-green"] == "blueGreen"
    assert names["canary"] == "canary"
    assert names["shadow"] == "shadow"
    deciding = ("ab", "blue-green", "canary", "shadow")
    assert {name for overlay, name in names.items() if overlay not in deciding} == {"static"}
    for overlay in ("ab", "static"):
        assert [(variant.name, variant.weight) for variant in only(overlay).spec.variants] == [("v1", 90), ("v2", 10)]


def test_the_canary_is_decided_on_evidence_and_by_a_person() -> None:
    spec = only("canary").spec
    planned = build_schedule(spec)
    assert planned is not None and spec.analysis is not None
    assert [(step.weight, step.gate) for step in planned.steps] == [(5, False), (25, True), (50, False)]
    assert planned.on_timeout == "pause"
    gates = {metric.full_name: metric.gate for metric in spec.analysis.all_metrics}
    # a dead pod counts nothing, so the gateway has to
    assert gates == {"errors": True, "errors-in-pods": True, "latency": True, "degraded": True, "drift": False}
    # a canary with one pod would lose its weight with it
    assert spec.autoscaling.transformer.min_replicas == spec.autoscaling.predictor.min_replicas == 2


def test_the_next_version_is_one_line(tmp_path: Path) -> None:
    image = {"name": "registry.example.com/athlete/time-estimator", "newTag": "v2"}
    (rollout,) = rollouts(build(tmp_path, overlay="overlays/canary", images=[image]))
    before = only("canary").spec
    assert rollout.spec.bundle is not None and rollout.spec.bundle.image.endswith(":v2")
    # nothing that would make another plan of it
    assert (rollout.spec.strategy, rollout.spec.analysis) == (before.strategy, before.analysis)


def test_clients_never_meet_the_shadow() -> None:
    rollout = only("shadow")
    route = one(render(rollout, Platform()), "HTTPRoute", "time-estimator")
    (split,) = [rule for rule in route["spec"]["rules"] if rule["name"] == "split"]
    assert [backend["weight"] for backend in split["backendRefs"]] == [100]
    (copies,) = split["filters"]
    assert copies["requestMirror"]["percent"] == 10
    assert "v2" in copies["requestMirror"]["backendRef"]["name"]


def test_gpus() -> None:
    def predictor(rollout: Rollout) -> dict[str, Any]:
        objects = render(rollout, Platform())
        spec: dict[str, Any] = one(objects, "InferenceService")["spec"]["predictor"]
        return spec

    triton, onnx = predictor(only("triton-gpu")), predictor(only("onnxruntime-gpu"))
    assert triton["containers"][0]["command"] == ["tritonserver"]
    assert onnx["containers"][0]["image"] == Platform().predictor_gpu_image
    for spec in (triton, onnx):
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    shared = rollouts(overlays()["shared-gpu"])
    assert len(shared) == 2
    for rollout in shared:
        spec = predictor(rollout)
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu.shared"] == "1"
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]


def test_the_device_plugin_shares_what_the_rollouts_ask_for() -> None:
    config = one(overlays()["shared-gpu"], "ConfigMap")
    assert config["metadata"]["namespace"] == "nvidia-device-plugin"
    ((_, text),) = config["data"].items()
    sharing = yaml.safe_load(text)["sharing"]["timeSlicing"]
    assert sharing["renameByDefault"] is True  # which names it nvidia.com/gpu.shared
    (resource,) = sharing["resources"]
    assert resource["replicas"] >= len(rollouts(overlays()["shared-gpu"]))


# components


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_makes_a_valid_rollout(component: str, tmp_path: Path) -> None:
    (rollout,) = rollouts(build(tmp_path, component))
    assert rollout.namespace == "running"
    assert rollout != rollouts(kustomize(MANIFESTS / "base"))[0]


def test_components_go_together(tmp_path: Path) -> None:
    chosen = [name for name in COMPONENTS if name not in ("jwt", "bundle-claim")]
    objects = build(tmp_path, *chosen, overlay="base")
    (rollout,) = rollouts(objects)
    assert rollout.spec.route.auth and rollout.spec.route.auth.api_keys
    assert rollout.spec.store.url_from
    assert rollout.spec.autoscaling.predictor.min_replicas == 2
    assert rollout.spec.monitoring.labels
    assert one(objects, "Namespace")["metadata"]["name"] == "running"


def test_components_leave_the_rest_of_a_route(tmp_path: Path) -> None:
    patch = {"spec": {"route": {"timeout": "3s"}}, "kind": KIND, "apiVersion": "tandem-serving.io/v1alpha1"}
    text = yaml.safe_dump({**patch, "metadata": {"name": "time-estimator"}})
    (rollout,) = rollouts(build(tmp_path, "jwt", patches=[{"patch": text}]))
    assert rollout.spec.route.timeout == "3s"
    assert rollout.spec.route.auth and rollout.spec.route.auth.jwt


@pytest.mark.parametrize(("component", "secret"), [("store-secret", "replace-this"), ("api-keys", "replace-this")])
def test_secrets_stand_in_secrets_only(component: str, secret: str, tmp_path: Path) -> None:
    objects = build(tmp_path, component)
    assert secret not in json.dumps([manifest for manifest in objects if manifest["kind"] != "Secret"])


def test_references_follow_the_names_of_secrets(tmp_path: Path) -> None:
    objects = build(tmp_path, "store-secret", "api-keys", namePrefix="my-")
    (rollout,) = rollouts(objects)
    names = {manifest["metadata"]["name"] for manifest in objects if manifest["kind"] == "Secret"}
    assert rollout.name == "my-time-estimator"
    assert rollout.spec.store.url_from and rollout.spec.route.auth and rollout.spec.route.auth.api_keys
    assert {rollout.spec.store.url_from.name, rollout.spec.route.auth.api_keys.secret_name} == names
    assert all(name.startswith("my-") for name in names)


@pytest.mark.parametrize("overlay", ["base", "overlays/ab"])
def test_images_of_bundles_can_be_set(overlay: str, tmp_path: Path) -> None:
    change = {
        "name": "registry.example.com/athlete/time-estimator",
        "newName": "mine.example.com/model",
        "newTag": "v9",
    }
    (rollout,) = rollouts(build(tmp_path, overlay=overlay, images=[change]))
    assert {variant.bundle.image for variant in rollout.spec.all_variants} == {"mine.example.com/model:v9"}


def test_the_namespace_admits_the_pods_only_if_they_are_restricted() -> None:
    labels = one(overlays()["single"], "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
