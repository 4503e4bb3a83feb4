"""All that is rendered anywhere: by the renderer, by Helm and by kustomize, and what it makes of their rollouts."""

from __future__ import annotations

from functools import cache

from tests.charts.rendered import charts, overlays

from tandem_rollout import KIND
from tandem_rollout.api.manifest import parse
from tandem_rollout.render import render

from .kinds import Manifest
from .samples import PLATFORM, rendered


@cache
def everything() -> dict[str, list[Manifest]]:
    """Manifests by where they come from."""
    manifests = {f"renderer: {name}": objects for name, objects in rendered().items()}
    for source, rendered_objects in (("chart", charts()), ("overlay", overlays())):
        for name, objects in rendered_objects.items():
            manifests[f"{source}: {name}"] = objects
            rollouts = [manifest for manifest in objects if manifest["kind"] == KIND]
            manifests[f"{source}: {name}, rendered"] = [
                manifest for rollout in rollouts for manifest in render(parse(rollout), PLATFORM)
            ]
    return manifests


def of_kind(kind: str) -> list[tuple[str, Manifest]]:
    """Manifests of a kind, each with where it comes from."""
    return [
        (f"{where}: {manifest['metadata']['name']}", manifest)
        for where, objects in everything().items()
        for manifest in objects
        if manifest["kind"] == kind
    ]
