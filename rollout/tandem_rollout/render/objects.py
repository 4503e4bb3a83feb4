"""All objects of a rollout, in an order in which they can be applied."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from tandem_rollout.api.spec import Rollout
from tandem_rollout.render.inferenceservice import build_inference_service
from tandem_rollout.render.metadata import Object
from tandem_rollout.render.monitoring import build_pod_monitors
from tandem_rollout.render.network import build_network_policies, build_predictor_service
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.policies import build_policies, pin_policy
from tandem_rollout.render.revision import Revision, shares
from tandem_rollout.render.route import build_routes
from tandem_rollout.render.route_rules import Placed
from tandem_rollout.render.scaling import build_disruption_budgets, build_scaled_objects

__all__ = ["Object", "Placed", "render", "render_revision", "render_rollout"]


def render(rollout: Rollout, platform: Platform) -> list[Object]:
    """Render all objects of a rollout with the weights of its spec, as if all variants were ready.

    Args:
        rollout: The rollout.
        platform: Defaults of the installation.
    """
    revisions = [Revision.of(rollout, variant) for variant in rollout.spec.all_variants]
    part = shares(rollout)
    placed = [Placed(revision, part[revision.variant.name], revision.variant.bundle.version) for revision in revisions]
    objects = [manifest for revision in revisions for manifest in render_revision(revision, platform)]
    return objects + render_rollout(rollout, placed, platform)


def render_revision(
    revision: Revision, platform: Platform, *, min_pods: tuple[int, int] = (0, 0), owner: dict[str, Any] | None = None
) -> list[Object]:
    """Render the objects of a revision.

    Args:
        revision: The revision.
        platform: Defaults of the installation.
        min_pods: Minimum numbers of transformer and predictor pods, if larger than those of the spec.
        owner: Owner reference of the objects.
    """
    objects = [
        # before the pods, so that no pod ever runs without protection
        *build_network_policies(revision, platform),
        build_predictor_service(revision),
        build_inference_service(revision, platform),
        *build_scaled_objects(revision, platform, min_pods),
        *build_disruption_budgets(revision),
    ]
    return _owned(objects, owner)


def render_rollout(
    rollout: Rollout,
    placed: Sequence[Placed],
    platform: Platform,
    *,
    owner: dict[str, Any] | None = None,
    fine: bool = False,
    withheld: Collection[str] = (),
) -> list[Object]:
    """Render the routes, policies and PodMonitor of a rollout.

    Args:
        rollout: The rollout.
        placed: The backends of the route.
        platform: Defaults of the installation.
        owner: Owner reference of the objects.
        fine: Whether the weights of the route are multiplied even if no backend arrives or leaves.
        withheld: Hostnames without a route.
    """
    http_routes = build_routes(rollout, placed, platform, fine=fine, withheld=withheld)
    return _owned([*build_pod_monitors(rollout), *http_routes, *build_policies(rollout, placed)], owner)


def optional(rollout: Rollout) -> list[tuple[str, str]]:
    """Kind and name of the objects of :func:`render_rollout` that depend on the spec."""
    return [
        ("PodMonitor", rollout.name),
        ("BackendTrafficPolicy", rollout.name),
        ("SecurityPolicy", rollout.name),
        ("SecurityPolicy", pin_policy(rollout)),
    ]


def _owned(objects: list[Object], owner: dict[str, Any] | None) -> list[Object]:
    """Deep copies of the objects, with their owner."""
    if owner is not None:
        for manifest in objects:
            manifest["metadata"]["ownerReferences"] = [owner]
    # rendered parts are shared between objects, and callers change objects in place
    copies: list[Object] = msgspec.to_builtins(objects)
    return copies
