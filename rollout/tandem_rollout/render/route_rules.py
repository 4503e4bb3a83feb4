"""The rules of a route: matches, weighted backends, and headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tandem.telemetry import PINNED, TRAFFIC_HEADER, UNIT_HEADER
from tandem_rollout.api.spec import Rollout
from tandem_rollout.render.inferenceservice import GRPC_PORT
from tandem_rollout.render.metadata import Object
from tandem_rollout.render.revision import Revision

PINNED_VARIANT_HEADER: Final = "x-model-variant"
"""Request header by which a client pins the variant, and response header with the variant that responded."""


ROUTED_VARIANT_HEADER: Final = "x-tandem-variant"
"""Request header by which the gateway passes the variant of the route to the transformer."""


SPLIT: Final = "split"
"""Name of the rule with the weights."""


OWN: Final = "own"
"""Name of the rule of requests that choose a variant."""


_SERVICE_PORT: Final = 80


_GRPC_PATH: Final = "/inference.GRPCInferenceService"


_HTTP_PATHS: Final = ("/v1/models", "/v2", "/docs", "/openapi.json")


@dataclass(frozen=True, slots=True)
class Placed:
    """A backend of the route.

    Attributes:
        revision: The revision.
        weight: Its weight.
        version: Version of its bundle; empty if it is not known.
        leaving: Time at which it lost its weight, in seconds since the epoch; None if it does not leave. It keeps a
            minimal weight for a short time: Envoy Gateway creates a cluster for each backend with weight, and Envoy
            removes a cluster before it gets the route without it. Requests in between would fail with status 500.
        arriving: Time of its arrival, before it gets its first weight; None if it does not arrive. It gets a minimal
            weight first, as Envoy may get a route before it has created the cluster.
        pin: Name by which clients choose it; by default that of its variant.
    """

    revision: Revision
    weight: int
    version: str = ""
    leaving: float | None = None
    arriving: float | None = None
    pin: str = ""

    @property
    def pinned(self) -> str:
        """Name by which clients choose it."""
        return self.pin or self.revision.variant.name


def split_rules(rollout: Rollout, placed: Sequence[Placed], factor: int, traffic: str) -> list[Object]:
    """Rules that distribute requests by weight.

    Args:
        rollout: The rollout.
        placed: The backends.
        factor: Factor of the weights.
        traffic: Value of the header that marks the requests.
    """
    # the names of clusters contain positions: leaving backends come last, so that the positions of others do not change
    passing = [backend for backend in placed if backend.arriving is not None]
    passing += [backend for backend in placed if backend.leaving is not None]
    backends = [replace(backend, weight=backend.weight * factor) for backend in placed if backend.weight]
    # the sum of the weights stays the same, on which sticky assignment depends
    last = backends.pop()
    backends += [replace(last, weight=last.weight - len(passing)), *(replace(backend, weight=1) for backend in passing)]
    copies = _copies(rollout, placed)
    return [
        _rule(rollout, SPLIT, [_path(path) for path in _HTTP_PATHS], backends, _SERVICE_PORT, traffic, copies),
        _rule(rollout, f"{SPLIT}-grpc", [_path(_GRPC_PATH)], backends, GRPC_PORT, traffic, copies),
    ]


def _copies(rollout: Rollout, placed: Sequence[Placed]) -> Revision | None:
    """The revision that gets copies of the requests; None if there is none."""
    shadow = rollout.spec.strategy.shadow
    if shadow is None:
        return None
    candidates = (
        backend for backend in placed if backend.revision.variant.name == shadow.variant and not backend.weight
    )
    return next((backend.revision for backend in candidates if backend.leaving is None), None)


def pinned_rules(rollout: Rollout, placed: Placed, versioned: bool) -> list[Object]:
    """Rules of requests that choose a variant, by header or by the version in the path.

    Args:
        rollout: The rollout.
        placed: The backend.
        versioned: Whether requests with its version in the path are for this backend.
    """
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
        mirror = {"backendRef": service, "percent": shadow.percent}
        rule["filters"] = [{"type": "RequestMirror", "requestMirror": mirror}]
    return rule


def _backend(rollout: Rollout, placed: Placed, port: int, traffic: str) -> Object:
    # set, not added: values from the client are replaced
    headers = {ROUTED_VARIANT_HEADER: placed.pinned, TRAFFIC_HEADER: traffic}
    modifier: Object = {"set": [{"name": name, "value": value} for name, value in headers.items()]}
    if rollout.spec.route.auth is None:
        # only the gateway may set the identity of a client
        modifier["remove"] = [UNIT_HEADER]
    # so that clients know the variant of any response, including errors
    response_headers: list[dict[str, Any]] = [{"name": PINNED_VARIANT_HEADER, "value": placed.pinned}]
    return {
        "group": "",
        "kind": "Service",
        "name": placed.revision.transformer,
        "port": port,
        "weight": placed.weight,
        # a filter for each backend: without it Envoy Gateway merges the backends of a rule into one cluster
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": modifier},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": response_headers}},
        ],
    }


def _path(prefix: str) -> Object:
    return {"path": {"type": "PathPrefix", "value": prefix}}
