"""What NetworkPolicies let pass: the semantics of networking.k8s.io/v1, for TCP and UDP between pods and the world."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Policy = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """An end of a connection.

    Attributes:
        namespace: Its namespace.
        labels: Its labels.
    """

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outside:
    """An address that is no pod's."""

    address: str


End = Pod | Outside


def passes(policies: Iterable[Policy], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let pass: by the policies of the pod that opens it and of the pod that it goes to."""
    all_policies = list(policies)
    return _lets(all_policies, "Egress", source, target, port, protocol) and _lets(
        all_policies, "Ingress", target, source, port, protocol
    )


def _lets(policies: list[Policy], direction: str, own: End, peer: End, port: int, protocol: str) -> bool:
    rules, peers = direction.lower(), "from" if direction == "Ingress" else "to"
    selecting = [
        policy
        for policy in policies
        if isinstance(own, Pod)
        and policy["metadata"]["namespace"] == own.namespace
        and direction in _types(policy)
        and _selects(policy["spec"].get("podSelector", {}), own.labels)
    ]
    if not selecting:
        return True
    return any(
        _has_port(rule, port, protocol) and _has_peer(rule.get(peers), peer, policy["metadata"]["namespace"])
        for policy in selecting
        for rule in policy["spec"].get(rules) or ()
    )


def _types(policy: Policy) -> list[str]:
    default = ["Ingress", *(["Egress"] if policy["spec"].get("egress") else [])]
    return list(policy["spec"].get("policyTypes") or default)


def _has_port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        entry.get("protocol", "TCP") == protocol
        and ("port" not in entry or _number(entry["port"]) <= port <= entry.get("endPort", _number(entry["port"])))
        for entry in ports
    )


def _number(port: int | str) -> int:
    if isinstance(port, str):
        raise NotImplementedError(f"named port {port}")
    return port


def _has_peer(peers: list[dict[str, Any]] | None, end: End, namespace: str) -> bool:
    return not peers or any(_is_peer(peer, end, namespace) for peer in peers)


def _is_peer(peer: Mapping[str, Any], end: End, namespace: str) -> bool:
    if block := peer.get("ipBlock"):
        # which addresses pods have is the cluster's business; such rules are meant for the world
        return isinstance(end, Outside) and _in_block(block, end.address)
    if isinstance(end, Outside):
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": end.namespace}):
            return False
    elif end.namespace != namespace:
        return False
    return _selects(peer.get("podSelector") or {}, end.labels)


def _in_block(block: Mapping[str, Any], address: str) -> bool:
    def within(network: str) -> bool:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)

    return within(block["cidr"]) and not any(map(within, block.get("except", ())))


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    exact = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return exact and all(_fulfils(expression, labels) for expression in selector.get("matchExpressions") or ())


def _fulfils(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    return {
        "In": value in expression.get("values", ()),
        "NotIn": value not in expression.get("values", ()),
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[str(expression["operator"])]
