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
    found = {f"renderer: {name}": objects for name, objects in rendered().items()}
    for source, made in (("chart", charts()), ("overlay", overlays())):
        for name, objects in made.items():
            found[f"{source}: {name}"] = objects
            rollouts = [each for each in objects if each["kind"] == KIND]
            found[f"{source}: {name}, rendered"] = [made for each in rollouts for made in render(parse(each), PLATFORM)]
    return found


def of_kind(kind: str) -> list[tuple[str, Manifest]]:
    """Manifests of a kind, each with where it comes from."""
    return [
        (f"{where}: {each['metadata']['name']}", each)
        for where, objects in everything().items()
        for each in objects
        if each["kind"] == kind
    ]
