"""The network of a variant: the headless Service of its predictor pods, and NetworkPolicies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tandem_rollout.render.inferenceservice import GRPC_PORT, HTTP_PORT, TRITON_METRICS_PORT
from tandem_rollout.render.metadata import Object, build
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision

# TCP too, by which resolvers repeat a query after a truncated answer (RFC 7766)
_DNS: Object = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def build_predictor_service(revision: Revision) -> Object:
    """The headless Service of the ready predictor pods.

    KServe's own Service has a single address, with which kept-alive connections stay at their first pods.
    """
    return build(
        "v1",
        "Service",
        revision.pods,
        revision.rollout.namespace,
        revision.labels,
        spec={
            "clusterIP": "None",
            "selector": {"app": f"isvc.{revision.predictor}"},
            "ports": [
                {"name": "http1", "port": HTTP_PORT, "targetPort": HTTP_PORT, "protocol": "TCP"},
                {"name": "h2c", "port": GRPC_PORT, "targetPort": GRPC_PORT, "protocol": "TCP"},
            ],
        },
    )


def build_network_policies(revision: Revision, platform: Platform) -> list[Object]:
    """NetworkPolicies of transformer and predictor. Other traffic is denied, except for probes of the kubelet."""
    network = revision.rollout.spec.network
    if not network.policies:
        return []
    gateway = [_namespace(network.gateway_namespace)]
    watchers = [_namespace(network.monitoring_namespace), _namespace(platform.controller_namespace)]
    transformer, predictor = [_pods(revision.transformer)], [_pods(revision.predictor)]
    store = [_namespace(network.store_namespace)] if network.store_namespace else []
    # Triton has no metrics at its REST port
    metrics = TRITON_METRICS_PORT if revision.rollout.spec.predictor.runtime == "triton" else HTTP_PORT
    ports = _store_ports(revision)
    lookups = [_allowed("to", store, *ports)] if ports else []
    # KServe's storage initializer runs in the pod and downloads by HTTPS
    download = [_allowed("to", [], 443)] if revision.variant.bundle.uri else []
    return [
        _policy(
            revision,
            revision.transformer,
            # ports of pods: NetworkPolicies do not see the ports of Services
            [_allowed("from", gateway, HTTP_PORT, GRPC_PORT), _allowed("from", watchers, HTTP_PORT)],
            [
                _DNS,
                _allowed("to", predictor, HTTP_PORT, GRPC_PORT),
                *lookups,
                *download,
            ],
        ),
        _policy(
            revision,
            revision.predictor,
            [_allowed("from", transformer, HTTP_PORT, GRPC_PORT), _allowed("from", watchers[:1], metrics)],
            [_DNS, *download] if download else [],
        ),
    ]


def _store_ports(revision: Revision) -> list[int]:
    """TCP ports of the online store; none without a store, or for a Unix socket."""
    store, network = revision.rollout.spec.store, revision.rollout.spec.network
    ports = store.url_ports
    # only the pods read the Secret, and only Sentinels know the port of the primary
    if store.url_from or store.is_behind_sentinel:
        ports = [*ports, network.store_port]
    return list(dict.fromkeys([*ports, *network.additional_store_ports])) if ports else []


def _policy(revision: Revision, name: str, ingress: list[Object], egress: list[Object]) -> Object:
    return build(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        name,
        revision.rollout.namespace,
        revision.labels,
        spec={
            "podSelector": {"matchLabels": {"app": f"isvc.{name}"}},
            # without Egress in the list, a policy without egress rules would deny nothing
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    )


def _allowed(direction: str, peers: Sequence[Object], *ports: int) -> Object:
    """A rule for some peers; without peers it applies to all."""
    rule: dict[str, Any] = {"ports": [{"port": port, "protocol": "TCP"} for port in ports]}
    if peers:
        rule[direction] = list(peers)
    return rule


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _pods(component: str) -> Object:
    return {"podSelector": {"matchLabels": {"app": f"isvc.{component}"}}}
