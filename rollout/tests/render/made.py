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


def of_kind(made: list[Object], kind: str) -> list[Object]:
    """The objects of a kind, in their order."""
    return [each for each in made if each["kind"] == kind]


def one(made: list[Object], kind: str, ending: str = "") -> Object:
    """The only object of a kind whose name ends so."""
    (found,) = [each for each in of_kind(made, kind) if each["metadata"]["name"].endswith(ending)]
    return found


def pod_spec(made: list[Object], component: str) -> Object:
    """Pod spec of one component of the only InferenceService."""
    found: Object = one(made, "InferenceService")["spec"][component]
    return found


def container(made: list[Object], component: str) -> Object:
    """The server of one component."""
    (found,) = [each for each in pod_spec(made, component)["containers"] if each["name"] == "kserve-container"]
    return dict(found)


def arguments(server: Object) -> dict[str, str]:
    """Flags of a container, by name."""
    return dict(each.lstrip("-").split("=", 1) for each in server["args"] if "=" in each)
