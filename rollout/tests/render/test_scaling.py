"""ScaledObjects: each half by its own requests in flight, never below its floor."""

from __future__ import annotations

from typing import Any

import pytest
from rollout.tests.rollouts import rollout

from tandem_rollout.render import render_revision
from tandem_rollout.render.revision import Revision

from .made import PLATFORM, Object, bundled, objects, of_kind, one


def scaled(manifests: list[Object], component: str) -> Object:
    spec: Object = one(manifests, "ScaledObject", component)["spec"]
    return spec


def trigger(manifests: list[Object], component: str) -> Object:
    (entry,) = scaled(manifests, component)["triggers"]
    return dict(entry["metadata"])


def test_each_half_of_each_variant_scales_by_itself() -> None:
    targets = [scaled_object["spec"]["scaleTargetRef"]["name"] for scaled_object in of_kind(objects(), "ScaledObject")]
    services = [service["metadata"]["name"] for service in of_kind(objects(), "InferenceService")]
    assert targets == [f"{name}-{component}" for name in services for component in ("transformer", "predictor")]


def test_a_query_is_for_one_variant_only() -> None:
    for service in of_kind(objects(), "InferenceService"):
        name = service["metadata"]["name"]
        for scaled_object in of_kind(objects(), "ScaledObject"):
            (entry,) = scaled_object["spec"]["triggers"]
            of_this = f'namespace="models",inferenceservice="{name}"' in entry["metadata"]["query"]
            assert of_this == scaled_object["metadata"]["name"].startswith(name)


@pytest.mark.parametrize(
    ("component", "metric"), [("transformer", "tandem_request_seconds_sum"), ("predictor", "tandem_stage_seconds_sum")]
)
@pytest.mark.parametrize("runtime", ["onnxruntime", "triton"])
def test_the_signal_is_what_is_in_flight_at_the_half(component: str, metric: str, runtime: str) -> None:
    query = trigger(bundled(predictor={"runtime": runtime}), component)["query"]
    assert f"rate({metric}{{" in query
    assert ('stage="predict"' in query) == (component == "predictor")


def test_no_data_is_not_taken_for_no_work() -> None:
    manifests = bundled()
    assert trigger(manifests, "predictor")["ignoreNullValues"] == "false"
    assert scaled(manifests, "predictor")["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_limits_thresholds_and_windows_are_those_of_the_spec() -> None:
    half = {"minReplicas": 2, "maxReplicas": 7, "inflightPerPod": 3, "scaleDownAfter": "1m30s"}
    manifests = bundled(autoscaling={"predictor": half})
    spec = scaled(manifests, "predictor")
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 7)
    assert trigger(manifests, "predictor")["threshold"] == "3"
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] == 90
    assert behaviour["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert scaled(manifests, "transformer")["minReplicaCount"] == 1


def test_prometheus_is_that_of_the_installation_or_the_spec() -> None:
    assert trigger(bundled(), "transformer")["serverAddress"] == "http://prometheus:9090"
    own: dict[str, Any] = {"prometheus": "https://own.example"}
    assert trigger(bundled(autoscaling=own), "transformer")["serverAddress"] == "https://own.example"


@pytest.mark.parametrize(
    ("min_pods", "expected"),
    [((0, 0), [(1, 4), (1, 4)]), ((3, 1), [(3, 4), (1, 4)]), ((2, 9), [(2, 4), (9, 9)])],
)
def test_min_pods_hold_and_may_exceed_the_maximum(min_pods: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    of = rollout(bundle={"image": "athlete:v1"})
    manifests = render_revision(Revision.of(of, of.spec.all_variants[0]), PLATFORM, min_pods=min_pods)
    limits = [
        (scaled_object["spec"]["minReplicaCount"], scaled_object["spec"]["maxReplicaCount"])
        for scaled_object in of_kind(manifests, "ScaledObject")
    ]
    assert limits == expected
    fallbacks = [scaled_object["spec"]["fallback"]["replicas"] for scaled_object in of_kind(manifests, "ScaledObject")]
    assert fallbacks == [fewest for fewest, _ in expected]
