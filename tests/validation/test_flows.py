"""Who may talk to whom in a cluster with a rollout in it."""

from __future__ import annotations

from typing import Any

import pytest
from rollout.tests.rollouts import rollout
from tests.charts.rendered import charts

from tandem_rollout.render import render
from tandem_rollout.render.revision import Revision

from .flows import End, Outside, Pod, passes
from .samples import PLATFORM

STORE = {"store": {"url": "redis://valkey.features:6380/0"}, "network": {"storeNamespace": "features"}}
OF = rollout(**STORE)
REVISIONS = [Revision.of(OF, variant) for variant in OF.spec.all_variants]
CONTROLLER = next(manifest for manifest in charts()["tandem/default-values.yaml"] if manifest["kind"] == "Deployment")


def half(revision: Revision, component: str) -> Pod:
    """A pod as KServe labels it."""
    app = {"app": f"isvc.{revision.name}-{component}", "component": component}
    return Pod("models", {**revision.labels, **app, "serving.kserve.io/inferenceservice": revision.name})


ENDS: dict[str, End] = {
    **{f"transformer of {revision.variant.name}": half(revision, "transformer") for revision in REVISIONS},
    **{f"predictor of {revision.variant.name}": half(revision, "predictor") for revision in REVISIONS},
    "gateway": Pod("envoy-gateway-system", {"app.kubernetes.io/component": "proxy"}),
    "prometheus": Pod("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "controller": Pod(PLATFORM.controller_namespace, CONTROLLER["spec"]["template"]["metadata"]["labels"]),
    "store": Pod("features", {"app": "valkey"}),
    "store of another namespace": Pod("default", {"app": "valkey"}),
    "DNS": Pod("kube-system", {"k8s-app": "kube-dns"}),
    "neighbour": Pod("models", {"app": "notebook"}),
    "stranger": Pod("default", {"app": "anything"}),
    "internet": Outside("203.0.113.9"),
    "node's metadata": Outside("169.254.169.254"),
}

REQUIRED = [
    *(("gateway", f"transformer of {v}", port, "TCP") for v in ("v1", "v2") for port in (8080, 8081)),
    *(("prometheus", f"{half} of v1", 8080, "TCP") for half in ("transformer", "predictor")),
    ("controller", "transformer of v1", 8080, "TCP"),
    ("controller", "transformer of v2", 8080, "TCP"),
    *((f"transformer of {v}", f"predictor of {v}", port, "TCP") for v in ("v1", "v2") for port in (8080, 8081)),
    ("transformer of v1", "store", 6380, "TCP"),
    ("transformer of v1", "DNS", 53, "UDP"),
    ("transformer of v1", "DNS", 53, "TCP"),
    ("prometheus", "controller", 8080, "TCP"),
    ("controller", "prometheus", 9090, "TCP"),
    ("controller", "gateway", 19001, "TCP"),
]
FORBIDDEN = [
    *(("gateway", "predictor of v1", port, "TCP") for port in (80, 8080, 8081)),
    ("gateway", "transformer of v1", 9090, "TCP"),
    ("transformer of v1", "predictor of v2", 8080, "TCP"),
    ("transformer of v2", "predictor of v1", 8081, "TCP"),
    ("transformer of v1", "transformer of v2", 8080, "TCP"),
    ("transformer of v1", "store of another namespace", 6380, "TCP"),
    ("transformer of v1", "store", 6379, "TCP"),
    ("transformer of v1", "internet", 443, "TCP"),
    ("transformer of v1", "node's metadata", 80, "TCP"),
    ("transformer of v1", "controller", 8080, "TCP"),
    ("predictor of v1", "store", 6380, "TCP"),
    ("predictor of v1", "DNS", 53, "UDP"),
    ("predictor of v1", "transformer of v1", 8080, "TCP"),
    ("predictor of v1", "predictor of v2", 8080, "TCP"),
    ("predictor of v1", "internet", 443, "TCP"),
    ("predictor of v1", "node's metadata", 80, "TCP"),
    ("prometheus", "transformer of v1", 8081, "TCP"),
    ("prometheus", "predictor of v1", 8081, "TCP"),
    ("controller", "predictor of v1", 8080, "TCP"),
    ("controller", "stranger", 9090, "TCP"),
    ("controller", "store", 6380, "TCP"),
    ("controller", "node's metadata", 80, "TCP"),
    ("controller", "transformer of v1", 8081, "TCP"),
    *(
        (end, f"{half} of v1", port, "TCP")
        for end in ("stranger", "neighbour", "internet", "store")
        for half in ("transformer", "predictor")
        for port in (80, 8080, 8081)
    ),
]


def policies(**spec: Any) -> list[dict[str, Any]]:
    """NetworkPolicies of the rollout and of the controller's chart."""
    manifests = [*render(rollout(**STORE, **spec), PLATFORM), *charts()["tandem/default-values.yaml"]]
    return [manifest for manifest in manifests if manifest["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize("flow", REQUIRED, ids=lambda flow: f"{flow[0]} to {flow[1]}, {flow[2]}/{flow[3]}")
def test_what_serving_needs_passes(flow: tuple[str, str, int, str]) -> None:
    source, target, port, protocol = flow
    assert passes(policies(), ENDS[source], ENDS[target], port, protocol)


@pytest.mark.parametrize("flow", FORBIDDEN, ids=lambda flow: f"{flow[0]} to {flow[1]}, {flow[2]}/{flow[3]}")
def test_everything_else_does_not(flow: tuple[str, str, int, str]) -> None:
    source, target, port, protocol = flow
    assert not passes(policies(), ENDS[source], ENDS[target], port, protocol)


def test_nothing_is_forbidden_without_policies() -> None:
    # so that the table above says something about the policies
    assert all(passes([], ENDS[source], ENDS[target], port, protocol) for source, target, port, protocol in FORBIDDEN)


def _first(spec: dict[str, Any], component: str) -> Pod:
    of = rollout(**STORE, **spec)
    return half(Revision.of(of, of.spec.all_variants[0]), component)


def test_tritons_metrics_have_a_port_of_their_own() -> None:
    spec = {"predictor": {"runtime": "triton"}}
    manifests, predictor = policies(**spec), _first(spec, "predictor")
    assert passes(manifests, ENDS["prometheus"], predictor, 8002)
    assert not passes(manifests, ENDS["prometheus"], predictor, 8080)
    assert not passes(manifests, ENDS["gateway"], predictor, 8002)


def test_a_bundle_that_is_downloaded_opens_the_way_to_it() -> None:
    spec = {"bundle": {"uri": "s3://models/v1"}}
    for component in ("transformer", "predictor"):
        pod = _first(spec, component)
        assert passes(policies(**spec), pod, ENDS["internet"], 443)
        assert passes(policies(**spec), pod, ENDS["DNS"], 53, "UDP")
        assert not passes(policies(**spec), pod, ENDS["node's metadata"], 80)


POLICY = {
    "metadata": {"namespace": "a"},
    "spec": {
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["x"]}]},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "y"}}}], "ports": [{"port": 80, "endPort": 90}]},
            {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "z"}}}]},
        ],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
    },
}
X = Pod("a", {"app": "x"})


@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        (Pod("a", {"app": "y"}), X, 85, True),
        (Pod("a", {"app": "y"}), X, 91, False),
        (Pod("b", {"app": "y"}), X, 85, False),
        (Pod("b", {"app": "z"}), X, 1, True),
        (Pod("b", {"app": "y"}), Pod("a", {"app": "w"}), 1, True),
        (X, Outside("10.0.0.1"), 1, True),
        (X, Outside("10.1.0.1"), 1, False),
        (X, Outside("11.0.0.1"), 1, False),
        (X, Pod("b", {}), 1, False),
        (Outside("10.0.0.1"), X, 80, False),
    ],
)
def test_the_evaluator_knows_the_semantics(source: End, target: End, port: int, expected: bool) -> None:
    assert passes([POLICY], source, target, port) is expected
