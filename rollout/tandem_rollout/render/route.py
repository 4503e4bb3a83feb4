"""The HTTPRoutes of a model.

The main HTTPRoute has weights over the transformers of the variants. Another HTTPRoute for each variant has the
requests that choose it. Rules are an atomic list, so that only the controller may write them. Each backend has a
filter, without which Envoy Gateway does not create the weighted clusters that sticky assignment needs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from tandem.telemetry import PREVIEW, WEIGHTED
from tandem_rollout import GROUP
from tandem_rollout.api.spec import Rollout
from tandem_rollout.render.hosts import default_host, preview_host
from tandem_rollout.render.metadata import Object, build
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import rollout_labels
from tandem_rollout.render.route_rules import Placed, pinned_rules, split_rules

LEAVING: Final = f"{GROUP}/leaving"
"""Annotation of a route with multiplied weights: InferenceServices that leave, and when they lost their weight."""

ARRIVING: Final = f"{GROUP}/arriving"
"""Annotation of a route: InferenceServices that arrive, and the time of their arrival."""

WEIGHTS: Final = f"{GROUP}/weights"
"""Annotation of a route: the weights that the controller wrote, in order to detect foreign changes."""

CANARY: Final = "canary"
"""Name by which clients choose the new revision of a variant during a run."""

PASSING_FACTOR: Final = 1000
"""Factor of the weights while a backend arrives or leaves. Its own weight is 1, which is taken from the last backend.

Envoy determines the variant of a unit by a hash modulo the sum of the weights. With sticky assignment the weights are
always multiplied: otherwise all units would be reassigned when a backend begins to leave, and when it is removed."""

GATEWAY_API: Final = "gateway.networking.k8s.io/v1"


def hostnames(rollout: Rollout, platform: Platform) -> list[str]:
    """Hostnames of the model."""
    own = default_host(rollout.name, rollout.namespace, platform.domain)
    return list(rollout.spec.route.hostnames) or [own]


def build_routes(
    rollout: Rollout,
    placed: Sequence[Placed],
    platform: Platform,
    *,
    fine: bool = False,
    withheld: Collection[str] = (),
) -> list[Object]:
    """The main HTTPRoute, one for each variant, and one for the preview host; none if no backend has weight.

    Args:
        rollout: The rollout.
        placed: The backends.
        platform: Defaults of the installation.
        fine: Whether the weights are multiplied even if no backend arrives or leaves.
        withheld: Hostnames without a route: another rollout has them, or the installation does not allow them.
    """
    all_hosts = hostnames(rollout, platform)
    hosts = [host for host in all_hosts if host not in withheld]
    if not hosts or not any(backend.weight for backend in placed):
        return []
    there = [backend for backend in placed if backend.leaving is None]
    leaving = {backend.revision.name: backend.leaving for backend in placed if backend.leaving is not None}
    arriving = {backend.revision.name: backend.arriving for backend in placed if backend.arriving is not None}
    is_fine = bool(leaving or arriving) or fine
    main = _route(
        rollout, rollout.name, hosts, split_rules(rollout, placed, PASSING_FACTOR if is_fine else 1, WEIGHTED)
    )
    annotations = {WEIGHTS: msgspec.json.encode(_written(main), order="sorted").decode()}
    if is_fine:
        annotations[LEAVING] = msgspec.json.encode(leaving, order="sorted").decode()
    if arriving:
        annotations[ARRIVING] = msgspec.json.encode(arriving, order="sorted").decode()
    main["metadata"]["annotations"] = annotations
    # of two revisions of one variant, the later one gets the requests that choose the variant
    own = list({backend.pinned: backend for backend in there}.values())
    http_routes = [main]
    http_routes += [
        _route(
            rollout,
            variant_route(rollout, backend.pinned),
            hosts,
            pinned_rules(rollout, backend, _versioned(own, backend)),
        )
        for backend in own
        if rollout.spec.route.pin.enabled
    ]
    blue_green = rollout.spec.strategy.blue_green
    # only the analyzed revision is at the preview host
    preview = [backend for backend in there if not backend.weight and backend.pin == CANARY] or there
    preview = [Placed(backend.revision, 1, pin=backend.pin) for backend in preview if not backend.weight]
    host = (blue_green.preview_hostname if blue_green else "") or preview_host(all_hosts[0])
    if blue_green and preview and host not in withheld:
        http_routes.append(_route(rollout, preview_route(rollout), [host], split_rules(rollout, preview, 1, PREVIEW)))
    return http_routes


def _written(route: Object) -> dict[str, int]:
    """Weights of a route, by Service."""
    return {backend["name"]: backend["weight"] for backend in route["spec"]["rules"][0]["backendRefs"]}


def variant_route(rollout: Rollout, variant: str) -> str:
    """Name of the route of requests that choose a variant. It is not a valid name of a rollout."""
    return f"{rollout.name}.{variant}"


def preview_route(rollout: Rollout) -> str:
    """Name of the route of the preview host."""
    return f"{rollout.name}-preview"


def _route(rollout: Rollout, name: str, hosts: list[str], rules: list[Object]) -> Object:
    gateway = rollout.spec.route.gateway
    spec = {
        "parentRefs": [
            {
                "group": "gateway.networking.k8s.io",
                "kind": "Gateway",
                "name": gateway.name,
                "namespace": gateway.namespace,
            }
        ],
        "hostnames": hosts,
        "rules": rules,
    }
    return build(GATEWAY_API, "HTTPRoute", name, rollout.namespace, rollout_labels(rollout), spec=spec)


def _versioned(own: Sequence[Placed], placed: Placed) -> bool:
    """Whether a backend gets requests with its version in the path.

    Of several variants with the same version, the one with the largest weight gets them. If two routes had the same
    path, the gateway would choose the older route.
    """
    alike = [backend for backend in own if backend.version == placed.version]
    return bool(placed.version) and placed is max(alike, key=lambda backend: backend.weight)
