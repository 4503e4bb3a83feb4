"""Both halves find the bundle in /mnt/models, however it comes."""

from __future__ import annotations

import pytest

from .made import bundled, container, pod_spec

HALVES = ("transformer", "predictor")
BUNDLE = {"name": "bundle", "mountPath": "/mnt/models", "readOnly": True}


@pytest.mark.parametrize("component", HALVES)
def test_an_image_is_copied_and_then_read_only(component: str) -> None:
    manifests = bundled(bundle={"image": "athlete:v1"})
    (copy,) = pod_spec(manifests, component)["initContainers"]
    assert (copy["image"], copy["command"]) == ("athlete:v1", ["cp", "-r", "/models/.", "/mnt/models"])
    assert copy["volumeMounts"] == [{"name": "bundle", "mountPath": "/mnt/models"}]
    assert {"name": "bundle", "emptyDir": {"sizeLimit": "20Gi"}} in pod_spec(manifests, component)["volumes"]
    assert BUNDLE in container(manifests, component)["volumeMounts"]


@pytest.mark.parametrize("component", HALVES)
@pytest.mark.parametrize(
    ("bundle", "uri"),
    [
        ({"image": "athlete:v1", "modelcar": True}, "oci://athlete:v1"),
        ({"uri": "s3://models/v1"}, "s3://models/v1"),
    ],
    ids=["modelcar", "uri"],
)
def test_kserve_brings_it(component: str, bundle: dict[str, object], uri: str) -> None:
    manifests = bundled(bundle=bundle)
    assert {"name": "STORAGE_URI", "value": uri} in container(manifests, component)["env"]
    assert "initContainers" not in pod_spec(manifests, component)
    assert [volume["name"] for volume in pod_spec(manifests, component)["volumes"]] == ["tmp"]


@pytest.mark.parametrize("component", HALVES)
@pytest.mark.parametrize("path", ["", "athlete/v1"])
def test_a_claim_is_mounted_read_only(component: str, path: str) -> None:
    manifests = bundled(bundle={"pvc": {"claimName": "bundles", "path": path}})
    claim = {"claimName": "bundles", "readOnly": True}
    assert {"name": "bundle", "persistentVolumeClaim": claim} in pod_spec(manifests, component)["volumes"]
    assert {**BUNDLE, **({"subPath": path} if path else {})} in container(manifests, component)["volumeMounts"]
    assert "initContainers" not in pod_spec(manifests, component)


@pytest.mark.parametrize("component", HALVES)
def test_there_is_a_place_to_write(component: str) -> None:
    manifests = bundled()
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}} in pod_spec(manifests, component)["volumes"]
    assert {"name": "tmp", "mountPath": "/tmp"} in container(manifests, component)["volumeMounts"]


@pytest.mark.parametrize(("volumes", "limits"), [({}, {"1Gi", "20Gi"}), ({"tmp": "64Mi", "bundle": 5}, {"64Mi", "5"})])
def test_volumes_of_a_pod_have_limits(volumes: dict[str, object], limits: set[str]) -> None:
    manifests = bundled(volumes=volumes, predictor={"runtime": "triton"})
    empty_dirs = [volume["emptyDir"] for component in HALVES for volume in pod_spec(manifests, component)["volumes"]]
    assert {volume["sizeLimit"] for volume in empty_dirs} == limits
