"""The route of a model: which variant answers a request, and the gateway's policies about it.

One HTTPRoute has weights over the variants' transformers; one more for each variant has
the requests that ask for it. Rules are an atomic list: nobody else may write them.
Every backend has a filter: only then does Envoy Gateway make weighted clusters that honour sticky assignment.
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
"""Annotation of a route whose weights are multiplied: InferenceServices that leave, and since when."""

ARRIVING: Final = f"{GROUP}/arriving"
"""Annotation of a route: InferenceServices that arrive, and since when."""

WEIGHTS: Final = f"{GROUP}/weights"
"""Annotation of a route: its weights as they were written. Where they differ, somebody else has changed them."""

CANARY: Final = "canary"
"""By this name testers choose the new version of a variant while the old one serves."""

PASSING_FACTOR: Final = 1000
"""Weights are multiplied by this while a backend comes or goes with a weight of 1, which is taken from the last one.

Envoy finds the variant of a unit by a hash modulo the sum of the weights. With sticky assignment they are always
multiplied, or every unit would be dealt anew when a backend begins to leave, and once more when it is gone."""

GATEWAY_API: Final = "gateway.networking.k8s.io/v1"


def hostnames(rollout: Rollout, platform: Platform) -> list[str]:
    """Hosts at which clients reach the model."""
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
    """The HTTPRoute, one for each variant, and one for the preview host of blue/green; none where nobody has weight.

    Args:
        rollout: The rollout.
        placed: The revisions that may be reached, with their weights.
        platform: Defaults of the installation.
        fine: Multiply the weights even if no backend comes or goes.
        withheld: Hosts at which there is to be no route: another rollout has them, or the installation forbids them.
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
    # where two are of one variant the later is the one that clients who choose it are to get
    own = list({backend.pinned: backend for backend in there}.values())
    made_routes = [main]
    made_routes += [
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
    # what is judged on the preview host is alone there
    preview = [backend for backend in there if not backend.weight and backend.pin == CANARY] or there
    preview = [Placed(backend.revision, 1, pin=backend.pin) for backend in preview if not backend.weight]
    host = (blue_green.preview_hostname if blue_green else "") or preview_host(all_hosts[0])
    if blue_green and preview and host not in withheld:
        made_routes.append(_route(rollout, preview_route(rollout), [host], split_rules(rollout, preview, 1, PREVIEW)))
    return made_routes


def _written(route: Object) -> dict[str, int]:
    """Weights as they stand in a route, by Service."""
    return {backend["name"]: backend["weight"] for backend in route["spec"]["rules"][0]["backendRefs"]}


def variant_route(rollout: Rollout, variant: str) -> str:
    """Name of the route of a variant's own requests; no rollout can be called so."""
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
    """Whether requests with its version in their path are for it.

    Of several variants of one version they are for the one with the most weight, the first of equal ones: two routes
    with one path would leave it to the gateway, which takes the older one, whatever their weights.
    """
    alike = [backend for backend in own if backend.version == placed.version]
    return bool(placed.version) and placed is max(alike, key=lambda backend: backend.weight)
