"""Envoy Gateway's policies of a route: sticky assignment and authentication."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tandem.telemetry import UNIT_HEADER
from tandem_rollout.api.routing import Auth
from tandem_rollout.api.spec import Rollout
from tandem_rollout.render.metadata import Object, build
from tandem_rollout.render.revision import rollout_labels
from tandem_rollout.render.route import preview_route, variant_route
from tandem_rollout.render.route_rules import Placed

_ENVOY_API: Final = "gateway.envoyproxy.io/v1alpha1"


def build_policies(rollout: Rollout, placed: Sequence[Placed]) -> list[Object]:
    """The policies of the routes: sticky assignment and authentication.

    Args:
        rollout: The rollout.
        placed: The backends. Some may belong to variants that were removed from the spec.
    """
    objects = []
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": rollout.name}
    labels = rollout_labels(rollout)
    # it follows the weights only because each backend of the route has a filter
    if sticky := rollout.spec.strategy.ab_test:
        balancer = {"type": "ConsistentHash", "consistentHash": {"type": "Header", "header": {"name": sticky.header}}}
        spec: Object = {"targetRefs": [target], "loadBalancer": balancer}
        objects.append(build(_ENVOY_API, "BackendTrafficPolicy", rollout.name, rollout.namespace, labels, spec=spec))
    route = rollout.spec.route
    own = [{**target, "name": name} for name in _own_routes(rollout, placed)]
    targets = {rollout.name: [target], pin_policy(rollout): own} if route.pin.auth else {rollout.name: [target, *own]}
    for name, refs in targets.items():
        security = _security(route.auth if name == rollout.name else route.pin.auth)
        if security and refs:
            spec = {"targetRefs": refs, **security}
            objects.append(build(_ENVOY_API, "SecurityPolicy", name, rollout.namespace, labels, spec=spec))
    return objects


def pin_policy(rollout: Rollout) -> str:
    """Name of the policy for requests that choose a variant. It is not a valid name of a rollout."""
    return f"{rollout.name}.pin"


def _own_routes(rollout: Rollout, placed: Sequence[Placed]) -> list[str]:
    """Names of the routes of requests that choose a variant, with that of the preview host."""
    names: list[str] = []
    if rollout.spec.route.pin.enabled:
        names += [variant.name for variant in rollout.spec.all_variants]
        # variants that the spec no longer has are reachable until they are out of the route, and must not be open
        names += [backend.revision.variant.name for backend in placed]
        names += [backend.pinned for backend in placed]
    routes = [variant_route(rollout, name) for name in dict.fromkeys(names)]
    return [*routes, preview_route(rollout)] if rollout.spec.strategy.blue_green else routes


def _security(auth: Auth | None) -> Object:
    if auth and auth.jwt:
        provider: Object = {"name": "clients", "issuer": auth.jwt.issuer, "remoteJWKS": {"uri": auth.jwt.jwks_uri}}
        if auth.jwt.audiences:
            provider["audiences"] = list(auth.jwt.audiences)
        # the verified claim, so that nobody can count as another client
        provider["claimToHeaders"] = [{"claim": "sub", "header": UNIT_HEADER}]
        return {"jwt": {"providers": [provider]}}
    if auth and auth.api_keys:
        secret = {"group": "", "kind": "Secret", "name": auth.api_keys.secret_name}
        place = [{"headers": [auth.api_keys.header]}]
        return {"apiKeyAuth": {"credentialRefs": [secret], "extractFrom": place, "forwardClientIDHeader": UNIT_HEADER}}
    return {}
