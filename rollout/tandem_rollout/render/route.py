"""The route of a model: which variant answers a request, and the gateway's policies about it.

One HTTPRoute has weights over the variants' transformers; one more for each variant has
the requests that ask for it. Rules are an atomic list: nobody else may write them.
Every backend has a filter: only then does Envoy Gateway make weighted clusters that honour sticky assignment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from tandem.telemetry import PINNED, PREVIEW, TRAFFIC_HEADER, UNIT_HEADER, WEIGHTED
from tandem_rollout import GROUP
from tandem_rollout.api.routing import Auth
from tandem_rollout.api.spec import Rollout
from tandem_rollout.render.hosts import default_host, preview_host
from tandem_rollout.render.inferenceservice import GRPC_PORT
from tandem_rollout.render.metadata import Object, build
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision, rollout_labels

PINNED_VARIANT_HEADER: Final = "x-model-variant"
"""With this header a client chooses the variant, where the spec lets it."""

ROUTED_VARIANT_HEADER: Final = "x-tandem-variant"
"""The gateway tells the transformer as which variant it was asked."""

SPLIT: Final = "split"
"""Name of the rule with the weights."""

OWN: Final = "own"
"""Name of the rule with the requests for one variant."""

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

_SERVICE_PORT: Final = 80
_GRPC_PATH: Final = "/inference.GRPCInferenceService"
_HTTP_PATHS: Final = ("/v1/models", "/v2", "/docs", "/openapi.json")
_GATEWAY_API: Final = "gateway.networking.k8s.io/v1"
_ENVOY_API: Final = "gateway.envoyproxy.io/v1alpha1"


@dataclass(frozen=True, slots=True)
class Placed:
    """A revision that can be reached.

    Attributes:
        revision: The revision.
        weight: Its share of the requests.
        version: Version of its bundle; empty where it is not known.
        leaving: Since when it has been without weight, in seconds since the epoch; None where that is no news. It is
            left with next to none for a moment: Envoy Gateway makes a cluster for each backend with weight, and Envoy
            drops a cluster before it learns of the route without it; what comes in between would be answered with 500.
        arriving: Since when it has been about to get its first weight; None where that is no news. It has next to none
            until then: Envoy may take a route before it has made the cluster.
        pin: By what name clients choose it; by default that of its variant.
    """

    revision: Revision
    weight: int
    version: str = ""
    leaving: float | None = None
    arriving: float | None = None
    pin: str = ""

    @property
    def pinned(self) -> str:
        """By what name clients choose it."""
        return self.pin or self.revision.variant.name


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
    main = _route(rollout, rollout.name, hosts, _split(rollout, placed, PASSING_FACTOR if is_fine else 1, WEIGHTED))
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
            _own_rules(rollout, backend, _versioned(own, backend)),
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
        made_routes.append(_route(rollout, preview_route(rollout), [host], _split(rollout, preview, 1, PREVIEW)))
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


def policies(rollout: Rollout, placed: Sequence[Placed]) -> list[Object]:
    """Envoy Gateway's policies: sticky assignment, and who may ask.

    Args:
        rollout: The rollout.
        placed: The revisions that may be reached: some may be of variants that the spec does not have any more.
    """
    objects = []
    target = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": rollout.name}
    labels = rollout_labels(rollout)
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
    """Name of the policy about who may choose a variant; no rollout can be called so."""
    return f"{rollout.name}.pin"


def _own_routes(rollout: Rollout, placed: Sequence[Placed]) -> list[str]:
    """Names of the routes by which clients choose a variant, those of the preview host included."""
    names: list[str] = []
    if rollout.spec.route.pin.enabled:
        names += [variant.name for variant in rollout.spec.all_variants]
        names += [backend.revision.variant.name for backend in placed]
        names += [backend.pinned for backend in placed]
    routes = [variant_route(rollout, name) for name in dict.fromkeys(names)]
    return [*routes, preview_route(rollout)] if rollout.spec.strategy.blue_green else routes


def _security(auth: Auth | None) -> Object:
    if auth and auth.jwt:
        provider: Object = {"name": "clients", "issuer": auth.jwt.issuer, "remoteJWKS": {"uri": auth.jwt.jwks_uri}}
        if auth.jwt.audiences:
            provider["audiences"] = list(auth.jwt.audiences)
        provider["claimToHeaders"] = [{"claim": "sub", "header": UNIT_HEADER}]
        return {"jwt": {"providers": [provider]}}
    if auth and auth.api_keys:
        secret = {"group": "", "kind": "Secret", "name": auth.api_keys.secret_name}
        place = [{"headers": [auth.api_keys.header]}]
        return {"apiKeyAuth": {"credentialRefs": [secret], "extractFrom": place, "forwardClientIDHeader": UNIT_HEADER}}
    return {}


def _split(rollout: Rollout, placed: Sequence[Placed], factor: int, traffic: str) -> list[Object]:
    """Rules that share requests out by weight, and mark them."""
    # clusters are named by position: those that leave come last, so that no other one moves when they are gone
    passing = [backend for backend in placed if backend.arriving is not None]
    passing += [backend for backend in placed if backend.leaving is not None]
    backends = [replace(backend, weight=backend.weight * factor) for backend in placed if backend.weight]
    last = backends.pop()
    backends += [replace(last, weight=last.weight - len(passing)), *(replace(backend, weight=1) for backend in passing)]
    copies = _copies(rollout, placed)
    return [
        _rule(rollout, SPLIT, [_path(path) for path in _HTTP_PATHS], backends, _SERVICE_PORT, traffic, copies),
        _rule(rollout, f"{SPLIT}-grpc", [_path(_GRPC_PATH)], backends, GRPC_PORT, traffic, copies),
    ]


def _copies(rollout: Rollout, placed: Sequence[Placed]) -> Revision | None:
    """What gets copies of the requests."""
    shadow = rollout.spec.strategy.shadow
    if shadow is None:
        return None
    candidates = (
        backend for backend in placed if backend.revision.variant.name == shadow.variant and not backend.weight
    )
    return next((backend.revision for backend in candidates if backend.leaving is None), None)


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
    return build(_GATEWAY_API, "HTTPRoute", name, rollout.namespace, rollout_labels(rollout), spec=spec)


def _versioned(own: Sequence[Placed], placed: Placed) -> bool:
    """Whether requests with its version in their path are for it.

    Of several variants of one version they are for the one with the most weight, the first of equal ones: two routes
    with one path would leave it to the gateway, which takes the older one, whatever their weights.
    """
    alike = [backend for backend in own if backend.version == placed.version]
    return bool(placed.version) and placed is max(alike, key=lambda backend: backend.weight)


def _own_rules(rollout: Rollout, placed: Placed, versioned: bool) -> list[Object]:
    """Requests for this variant, by header or by the version in the path."""
    name, model = placed.pinned, rollout.model
    pinned = {"headers": [{"type": "Exact", "name": PINNED_VARIANT_HEADER, "value": name}]}
    matches = [{**_path(path), **pinned} for path in _HTTP_PATHS]
    if versioned:
        at = f"{model}/versions/{placed.version}"
        matches += [_path(f"/v1/models/{at}:predict"), _path(f"/v1/models/{at}"), _path(f"/v2/models/{at}")]
    alone = [replace(placed, weight=1)]
    return [
        _rule(rollout, OWN, matches, alone, _SERVICE_PORT, PINNED),
        _rule(rollout, f"{OWN}-grpc", [{**_path(_GRPC_PATH), **pinned}], alone, GRPC_PORT, PINNED),
    ]


def _rule(
    rollout: Rollout,
    name: str,
    matches: list[Object],
    placed: Sequence[Placed],
    port: int,
    traffic: str,
    copies: Revision | None = None,
) -> Object:
    rule: Object = {
        "name": name,
        "matches": matches,
        "timeouts": {"request": rollout.spec.route.timeout},
        "backendRefs": [_backend(rollout, backend, port, traffic) for backend in placed],
    }
    shadow = rollout.spec.strategy.shadow
    if copies is not None and shadow is not None:
        service = {"group": "", "kind": "Service", "name": copies.transformer, "port": port}
        rule["filters"] = [
            {"type": "RequestMirror", "requestMirror": {"backendRef": service, "percent": shadow.percent}}
        ]
    return rule


def _backend(rollout: Rollout, placed: Placed, port: int, traffic: str) -> Object:
    # set, not added: what a client says of its own request is replaced
    marks: list[dict[str, Any]] = [
        {"name": ROUTED_VARIANT_HEADER, "value": placed.pinned},
        {"name": TRAFFIC_HEADER, "value": traffic},
    ]
    modifier: dict[str, Any] = {"set": marks}
    if rollout.spec.route.auth is None:
        # nobody but the gateway says who a client is
        modifier["remove"] = [UNIT_HEADER]
    # clients are told too: of an error they could not tell otherwise whose it is
    response_headers: list[dict[str, Any]] = [{"name": PINNED_VARIANT_HEADER, "value": placed.pinned}]
    return {
        "group": "",
        "kind": "Service",
        "name": placed.revision.transformer,
        "port": port,
        "weight": placed.weight,
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": response_headers}},
        ],
    }


def _path(prefix: str) -> Object:
    return {"path": {"type": "PathPrefix", "value": prefix}}
