"""Rendered objects, and ways to look at them."""

from __future__ import annotations

from typing import Any

from rollout.tests.rollouts import rollout

from tandem_rollout.render import render
from tandem_rollout.render.platform import Platform

Object = dict[str, Any]

PLATFORM = Platform(domain="models.example", prometheus="http://prometheus:9090")


def objects(**spec: Any) -> list[Object]:
    """All objects of a rollout."""
    return render(rollout(**spec), PLATFORM)


def bundled(**spec: Any) -> list[Object]:
    """All objects of a rollout with one version."""
    return objects(**{"bundle": {"image": "athlete:v1"}, **spec})


def of_kind(manifests: list[Object], kind: str) -> list[Object]:
    """The objects of a kind, in their order."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Object], kind: str, ending: str = "") -> Object:
    """The only object of a kind whose name ends so."""
    (match,) = [manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"].endswith(ending)]
    return match


def pod_spec(manifests: list[Object], component: str) -> Object:
    """Pod spec of one component of the only InferenceService."""
    spec: Object = one(manifests, "InferenceService")["spec"][component]
    return spec


def container(manifests: list[Object], component: str) -> Object:
    """The server of one component."""
    (server,) = [
        candidate
        for candidate in pod_spec(manifests, component)["containers"]
        if candidate["name"] == "kserve-container"
    ]
    return dict(server)


def arguments(server: Object) -> dict[str, str]:
    """Flags of a container, by name."""
    return dict(flag.lstrip("-").split("=", 1) for flag in server["args"] if "=" in flag)
