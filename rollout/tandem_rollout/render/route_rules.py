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
"""With this header a client chooses the variant, where the spec lets it."""


ROUTED_VARIANT_HEADER: Final = "x-tandem-variant"
"""The gateway tells the transformer as which variant it was asked."""


SPLIT: Final = "split"
"""Name of the rule with the weights."""


OWN: Final = "own"
"""Name of the rule with the requests for one variant."""


_SERVICE_PORT: Final = 80


_GRPC_PATH: Final = "/inference.GRPCInferenceService"


_HTTP_PATHS: Final = ("/v1/models", "/v2", "/docs", "/openapi.json")


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


def split_rules(rollout: Rollout, placed: Sequence[Placed], factor: int, traffic: str) -> list[Object]:
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


def pinned_rules(rollout: Rollout, placed: Placed, versioned: bool) -> list[Object]:
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
