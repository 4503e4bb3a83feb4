"""The InferenceService: two halves that may do little, and that find each other."""

from __future__ import annotations

from typing import Any

import pytest

from tandem_rollout.render.inferenceservice import DRAIN_S

from .made import PLATFORM, arguments, bundled, container, objects, of_kind, one, pod_spec

HALVES = ("transformer", "predictor")


def test_every_variant_has_an_inference_service_of_its_own() -> None:
    names = [
        service["metadata"]["labels"]["tandem-serving.io/variant"] for service in of_kind(objects(), "InferenceService")
    ]
    assert names == ["v1", "v2"]


def test_kserve_neither_routes_nor_scales_it() -> None:
    metadata = one(bundled(), "InferenceService")["metadata"]
    assert metadata["annotations"] == {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "external",
    }
    assert metadata["labels"]["networking.kserve.io/visibility"] == "cluster-local"


@pytest.mark.parametrize("component", HALVES)
def test_rest_is_the_first_port_and_grpc_the_second(component: str) -> None:
    ports = [(port["name"], port["containerPort"]) for port in container(bundled(), component)["ports"]]
    assert ports == [("http1", 8080), ("h2c", 8081)]


@pytest.mark.parametrize("component", HALVES)
def test_pods_go_on_serving_until_the_gateway_knows_and_have_time_to_finish(component: str) -> None:
    manifests = bundled()
    assert container(manifests, component)["lifecycle"]["preStop"] == {"sleep": {"seconds": DRAIN_S}}
    assert pod_spec(manifests, component)["terminationGracePeriodSeconds"] >= DRAIN_S + 30


@pytest.mark.parametrize("component", HALVES)
def test_probes_ask_over_http(component: str) -> None:
    server = container(bundled(), component)
    assert server["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8080}
    assert server["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8080}
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300


@pytest.mark.parametrize("component", HALVES)
def test_pods_spread_over_zones_and_nodes(component: str) -> None:
    manifests = bundled()
    name = one(manifests, "InferenceService")["metadata"]["name"]
    constraints = pod_spec(manifests, component)["topologySpreadConstraints"]
    assert [constraint["topologyKey"] for constraint in constraints] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    assert all(
        constraint["labelSelector"] == {"matchLabels": {"app": f"isvc.{name}-{component}"}}
        for constraint in constraints
    )


def test_images_are_those_of_the_installation_or_the_spec() -> None:
    manifests = bundled()
    assert container(manifests, "transformer")["image"] == PLATFORM.transformer_image
    assert container(manifests, "predictor")["image"] == PLATFORM.predictor_image
    own = bundled(transformer={"image": "t:1"}, predictor={"image": "p:1"})
    assert [container(own, component)["image"] for component in HALVES] == ["t:1", "p:1"]


def test_the_transformer_calls_the_predictor_of_its_own_variant() -> None:
    for service in of_kind(objects(), "InferenceService"):
        (server,) = service["spec"]["transformer"]["containers"]
        host = f"{service['metadata']['name']}-pods.models.svc:8080"
        assert arguments(server)["predictor_host"] == host


@pytest.mark.parametrize(("protocol", "port"), [("v2", 8080), ("grpc-v2", 8081)])
def test_the_hop_has_the_port_of_its_protocol(protocol: str, port: int) -> None:
    flags = arguments(container(bundled(predictor={"protocol": protocol}), "transformer"))
    assert flags["predictor_protocol"] == protocol
    assert flags["predictor_host"].endswith(f":{port}")


def test_the_transformer_serves_the_model_by_its_name() -> None:
    assert arguments(container(bundled(), "transformer"))["model_name"] == "time-estimator"
    assert arguments(container(bundled(model="estimator"), "transformer"))["model_name"] == "estimator"


@pytest.mark.parametrize(
    ("timeout", "expected"), [("10s", "9750"), ("1m", "59750"), ("500ms", "250"), ("300ms", "150"), ("100ms", "50")]
)
def test_the_transformer_gives_up_before_the_gateway_does(timeout: str, expected: str) -> None:
    assert arguments(container(bundled(route={"timeout": timeout}), "transformer"))["request_timeout_ms"] == expected


def test_further_flags_come_last_so_that_they_win() -> None:
    manifests = bundled(transformer={"args": ["--cache_size=1"]}, predictor={"args": ["--max_batch_rows=2"]})
    assert container(manifests, "transformer")["args"][-1] == "--cache_size=1"
    assert container(manifests, "predictor")["args"][-1] == "--max_batch_rows=2"


def test_the_store_by_url() -> None:
    manifests = bundled(store={"url": "redis://store:6379"})
    assert container(manifests, "transformer")["env"] == [{"name": "TANDEM_STORE", "value": "redis://store:6379"}]
    assert "env" not in container(manifests, "predictor")


def test_the_store_from_a_secret_never_shows_its_url() -> None:
    manifests = bundled(store={"urlFrom": {"name": "store", "key": "url"}})
    reference = {"secretKeyRef": {"name": "store", "key": "url"}}
    assert container(manifests, "transformer")["env"] == [{"name": "TANDEM_STORE", "valueFrom": reference}]
    assert "env" not in container(manifests, "predictor")


def test_environment() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    manifests = bundled(transformer={"env": env}, predictor={"env": env[:1]})
    assert container(manifests, "transformer")["env"] == env
    assert container(manifests, "predictor")["env"] == env[:1]


def test_resources() -> None:
    manifests = bundled(transformer={"resources": {"requests": {"cpu": "2"}}})
    assert container(manifests, "transformer")["resources"] == {"requests": {"cpu": "2"}}
    default = container(manifests, "predictor")["resources"]
    assert default["requests"].keys() == default["limits"].keys() == {"cpu", "memory"}


def test_gpus_are_asked_for_and_tolerated_by_the_predictor_only() -> None:
    manifests = bundled(predictor={"gpu": {"count": 2}}, tolerations=[{"key": "models", "operator": "Exists"}])
    resources = container(manifests, "predictor")["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in str(container(manifests, "transformer"))
    keys = [toleration["key"] for toleration in pod_spec(manifests, "predictor")["tolerations"]]
    assert keys == ["models", "nvidia.com/gpu"]
    assert [toleration["key"] for toleration in pod_spec(manifests, "transformer")["tolerations"]] == ["models"]
    assert container(manifests, "predictor")["image"] == PLATFORM.predictor_gpu_image
    assert arguments(container(manifests, "predictor"))["execution_providers"] == "cuda,cpu"


def test_shared_gpus() -> None:
    manifests = bundled(predictor={"gpu": {"resource": "nvidia.com/gpu.shared"}})
    assert container(manifests, "predictor")["resources"]["limits"]["nvidia.com/gpu.shared"] == "1"


def test_without_gpus_nothing_is_said_of_them() -> None:
    assert "cuda" not in str(bundled()) and "nvidia" not in str(bundled())


def test_where_and_as_whom_pods_run() -> None:
    manifests = bundled(
        serviceAccountName="models", imagePullSecrets=["registry"], nodeSelector={"kubernetes.io/arch": "arm64"}
    )
    for component in HALVES:
        pod = pod_spec(manifests, component)
        assert pod["serviceAccountName"] == "models"
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert pod["nodeSelector"] == {"kubernetes.io/arch": "arm64"}
        assert pod["automountServiceAccountToken"] is False


def _template(**predictor: Any) -> dict[str, Any]:
    return {"spec": {"predictor": predictor}}


def test_templates_are_merged_the_variants_after_the_rollouts() -> None:
    def variant(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "bundle": {"image": f"athlete:{name}"}, "weight": 1, **more}

    manifests = objects(
        variants=[variant("v1"), variant("v2", template=_template(timeout=7))],
        template=_template(timeout=5, containers=[{"name": "kserve-container", "tty": True}]),
    )
    first, second = (service["spec"]["predictor"] for service in of_kind(manifests, "InferenceService"))
    assert (first["timeout"], second["timeout"]) == (5, 7)
    for predictor in (first, second):
        (server,) = predictor["containers"]
        assert server["tty"] is True and server["readinessProbe"]


def test_a_template_adds_labels_annotations_and_sidecars_and_takes_fields_away() -> None:
    manifests = bundled(
        template={
            "metadata": {"labels": {"team": "coaching"}, "annotations": {"example.com/a": "b"}},
            "spec": {
                "transformer": {
                    "containers": [{"name": "sidecar", "image": "sidecar:1"}],
                    "topologySpreadConstraints": None,
                }
            },
        }
    )
    service = one(manifests, "InferenceService")
    assert service["metadata"]["labels"]["team"] == "coaching"
    assert service["metadata"]["labels"]["tandem-serving.io/rollout"] == "time-estimator"
    assert service["metadata"]["annotations"].keys() >= {"example.com/a", "serving.kserve.io/autoscalerClass"}
    assert [container_spec["name"] for container_spec in pod_spec(manifests, "transformer")["containers"]] == [
        "kserve-container",
        "sidecar",
    ]
    assert "topologySpreadConstraints" not in pod_spec(manifests, "transformer")
    assert "topologySpreadConstraints" in pod_spec(manifests, "predictor")
