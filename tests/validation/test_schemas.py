"""Every object that is rendered is one that the API server takes, with all CRDs installed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from rollout.tests.structural import program

from .everything import everything, of_kind
from .kinds import SCHEMAS, Manifest, custom_schema, problems
from .samples import rendered


@pytest.mark.parametrize("where", everything())
def test_objects_are_taken(where: str) -> None:
    refused = {
        f"{manifest['kind']} {manifest['metadata']['name']}": reasons
        for manifest in everything()[where]
        if (reasons := problems(manifest))
    }
    assert refused == {}


@pytest.mark.parametrize("where", everything())
def test_no_two_objects_have_the_same_name(where: str) -> None:
    names = [
        (manifest["apiVersion"], manifest["kind"], manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
        for manifest in everything()[where]
    ]
    assert len(set(names)) == len(names)


def test_every_kind_that_we_render_is_checked_against_its_projects_schema() -> None:
    kinds = {(manifest["apiVersion"], manifest["kind"]) for objects in rendered().values() for manifest in objects}
    foreign = {(version, kind) for version, kind in kinds if "k8s.io" not in version and "." in version}
    assert len(foreign) == 5
    for version, kind in foreign:
        assert custom_schema(version, kind) is not None


def test_rules_of_other_projects_can_all_be_evaluated() -> None:
    def rules(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [entry["rule"] for entry in value.get("x-kubernetes-validations", ()) if isinstance(entry, dict)]
            return own + [rule for inner in value.values() for rule in rules(inner)]
        return [rule for inner in value for rule in rules(inner)] if isinstance(value, list) else []

    expressions = [
        rule
        for path in SCHEMAS.glob("*.json.gz")
        for rule in rules(custom_schema(*_kind(path.name.removesuffix(".json.gz"))))
    ]
    assert len(expressions) > 300
    for rule in expressions:
        program(rule)


def _kind(name: str) -> tuple[str, str]:
    kind, group, version = name.split("-")
    return f"{group}/{version}", kind


def _first(kind: str) -> Manifest:
    return copy.deepcopy(of_kind(kind)[0][1])


def _set(path: str, value: Any) -> Callable[[Manifest], None]:
    """Puts a value at a path of keys and indices."""

    def change(manifest: Manifest) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        at: Any = manifest
        for part in parents:
            at = at[part]
        at[last] = value

    return change


BROKEN: dict[str, tuple[str, Callable[[Manifest], None]]] = {
    "unknown field of a pod": ("InferenceService", _set("spec.predictor.hostnetwork", True)),
    "unknown field of a container": ("InferenceService", _set("spec.predictor.containers.0.imagepullpolicy", "Always")),
    "unknown field of a probe": (
        "InferenceService",
        _set("spec.transformer.containers.0.readinessProbe.httpget", {"port": 1}),
    ),
    "port in words": ("InferenceService", _set("spec.transformer.containers.0.ports.0.containerPort", "8080")),
    "weight below 0": ("HTTPRoute", _set("spec.rules.0.backendRefs.0.weight", -1)),
    "path without slash (a rule in CEL)": ("HTTPRoute", _set("spec.rules.0.matches.0.path.value", "v2")),
    "Service without port (a rule in CEL)": (
        "HTTPRoute",
        lambda manifest: manifest["spec"]["rules"][0]["backendRefs"][0].pop("port"),
    ),
    "timeout in days": ("HTTPRoute", _set("spec.rules.0.timeouts.request", "1d")),
    "host in capitals": ("HTTPRoute", _set("spec.hostnames", ["A.example"])),
    "trigger without metadata": ("ScaledObject", lambda manifest: manifest["spec"]["triggers"][0].pop("metadata")),
    "unknown field of a trigger": ("ScaledObject", _set("spec.triggers.0.query", "up")),
    "unknown fallback": ("ScaledObject", _set("spec.fallback.behavior", "guess")),
    "unknown action": ("PodMonitor", _set("spec.podMetricsEndpoints.0.relabelings.0.action", "forget")),
    "hash of nothing (a rule in CEL)": (
        "BackendTrafficPolicy",
        lambda manifest: manifest["spec"]["loadBalancer"].pop("consistentHash"),
    ),
    "a target of no kind": ("SecurityPolicy", lambda manifest: manifest["spec"]["targetRefs"][0].pop("kind")),
    "unknown field of a policy": ("NetworkPolicy", _set("spec.egres", [])),
    "label of 64 characters": ("NetworkPolicy", _set("spec.podSelector.matchLabels.app", "a" * 64)),
    "Service with a long name": ("Service", _set("metadata.name", "a" * 64)),
    "unknown field of metadata": ("Service", _set("metadata.label", {})),
    "number as a label": ("PodDisruptionBudget", _set("metadata.labels.a", 1)),
    "budget in words": ("PodDisruptionBudget", _set("spec.maxUnavailable", [])),
}


@pytest.mark.parametrize(("kind", "change"), BROKEN.values(), ids=BROKEN)
def test_the_check_finds_what_is_wrong(kind: str, change: Callable[[Manifest], None]) -> None:
    manifest = _first(kind)
    assert problems(manifest) == []
    change(manifest)
    assert problems(manifest)


def test_a_kind_without_schema_is_not_passed_over() -> None:
    with pytest.raises(LookupError):
        problems({"apiVersion": "example.com/v1", "kind": "Unknown", "metadata": {"name": "a"}})
    with pytest.raises(LookupError):
        problems({"apiVersion": "apps/v1", "kind": "Unknown", "metadata": {"name": "a"}})
