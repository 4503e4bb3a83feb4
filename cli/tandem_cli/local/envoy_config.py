"""The configuration of Envoy in front of the pairs. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem.telemetry import PINNED, TRAFFIC_HEADER, WEIGHTED
from tandem_cli.local.processes import LOOPBACK, StackError
from tandem_rollout.render.route_rules import PINNED_VARIANT_HEADER

ROUTES_NAME = "model"
ROUTE_TIMEOUT = "30s"
IDLE_TIMEOUT = "3s"
"""Shorter than the keep-alive of transformers, so that no request is sent on a connection that is being closed."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TYPE = "type.googleapis.com/"


@dataclass(frozen=True)
class Upstream:
    """Where the transformers of one variant listen.

    Attributes:
        variant: Name of the variant.
        http_ports: Ports of V1 and OIP v2 REST on the loopback interface.
        grpc_ports: Ports of OIP v2 gRPC.
    """

    variant: str
    http_ports: tuple[int, ...]
    grpc_ports: tuple[int, ...]


def build_bootstrap(*, port: int, routes_file: Path, clusters_file: Path, admin_socket: Path) -> dict[str, Any]:
    """Envoy's bootstrap configuration.

    Args:
        port: Port of the one listener, for HTTP/1.1 and HTTP/2 alike; 0 for any free one.
        routes_file: File with the result of :func:`build_routes`.
        clusters_file: File with the result of :func:`build_clusters`.
        admin_socket: Unix socket of the admin interface, which can stop Envoy: accessible for this user only.
    """
    return {
        "node": {"id": "tandem", "cluster": "tandem"},
        # a port would let every user of the machine stop Envoy
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "static_resources": {
            "listeners": [
                {
                    "name": "ingress",
                    "address": _address(port),
                    # a second process with the same port is an error, not a worker
                    "enable_reuse_port": False,
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": _connection_manager(routes_file),
                                }
                            ]
                        }
                    ],
                }
            ],
        },
        # in a file, as variants come and go while it runs
        "dynamic_resources": {"cds_config": _watched_file(clusters_file)},
    }


def build_clusters(upstreams: Sequence[Upstream]) -> dict[str, Any]:
    """The content of the clusters file: where the transformers of each variant listen.

    Args:
        upstreams: The variants.

    Returns:
        The content, with its hash as ``version_info``.
    """
    clusters = [cluster for upstream in upstreams for cluster in _clusters(upstream)]
    return _versioned([{"@type": _TYPE + "envoy.config.cluster.v3.Cluster", **cluster} for cluster in clusters])


def _watched_file(path: Path) -> dict[str, Any]:
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
    }


def _versioned(resources: list[dict[str, Any]]) -> dict[str, Any]:
    # the version is the content: what is written again unchanged counts as in force
    digest = hashlib.sha256(json.dumps(resources).encode()).hexdigest()
    return {"version_info": digest[:16], "resources": resources}


def _connection_manager(routes_file: Path) -> dict[str, Any]:
    return {
        "@type": _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "AUTO",
        # a client of HTTP/1.0 sends no Host, by which Envoy selects the virtual host
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "tandem"},
        "rds": {
            "route_config_name": ROUTES_NAME,
            "config_source": _watched_file(routes_file),
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }


def build_routes(model: str, versions: Mapping[str, str], weights: Mapping[str, int]) -> dict[str, Any]:
    """The content of the routes file, which gives each variant its share of the traffic.

    Requests with a version in their path, or pinned by :data:`PINNED_VARIANT_HEADER`, go to that
    variant, whatever the weights. They have clusters and a label of their own: metrics that decide about a version
    count only requests that the weights sent to it.

    Args:
        model: Name of the model.
        versions: The version that each variant serves, by variant.
        weights: Parts of the traffic, by variant; at least one is positive.

    Returns:
        The content, with its hash as ``version_info``, which Envoy reports once the routes are in force.
    """
    check_weights(weights, versions)
    by_path = [
        _route(match, variant, grpc=False)
        for variant, version in versions.items()
        for match in _version_matches(model, version)
    ]
    pinned = [
        _route({"prefix": "/", "headers": [_pin(variant)]}, variant, grpc=grpc)
        for variant in versions
        # gRPC first, as the other match takes its requests too
        for grpc in (True, False)
    ]
    served_versions = ", ".join(sorted(set(versions.values())))
    unknown_versions = [
        _not_found(
            {"prefix": f"/{api}/models/{model}/versions/"},
            f"no such version; there are {served_versions}",
            "version_not_found",
        )
        for api in ("v1", "v2")
    ]
    any_pin = {"prefix": "/", "headers": [{"name": PINNED_VARIANT_HEADER, "present_match": True}]}
    unknown_variant = _not_found(any_pin, f"no such variant; there are {', '.join(versions)}", "variant_not_found")
    weighted = [
        {"match": _matching({"prefix": "/"}, grpc=grpc), "route": _weighted(weights, grpc=grpc)}
        for grpc in (True, False)
    ]
    resource = {
        "@type": _TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": ROUTES_NAME,
        "virtual_hosts": [
            {
                "name": model,
                "domains": ["*"],
                # Envoy takes the first route that matches: a version in the path, then a pin, then the weights
                "routes": [*by_path, *unknown_versions, *pinned, unknown_variant, *weighted],
            }
        ],
    }
    return _versioned([resource])


def check_weights(weights: Mapping[str, int], variants: Mapping[str, Any] | Sequence[str]) -> None:
    """Check that weights name known variants, are not negative, and not all zero.

    Raises:
        StackError: if they do not.
    """
    if unknown := sorted(set(weights) - set(variants)):
        raise StackError(f"unknown variant {', '.join(unknown)}; there are {', '.join(variants)}")
    if any(weight < 0 for weight in weights.values()):
        raise StackError("a weight must not be negative")
    if not sum(weights.values()):
        raise StackError("at least one variant needs a weight above 0")


def cluster_name(variant: str, *, grpc: bool, pinned: bool = False) -> str:
    """Name of the Envoy cluster of a variant's transformers.

    Args:
        variant: The variant.
        grpc: For requests over gRPC.
        pinned: For requests whose client chose the variant.
    """
    return f"{variant}/{'grpc' if grpc else 'http'}{'-pinned' if pinned else ''}"


def _clusters(upstream: Upstream) -> list[dict[str, Any]]:
    protocols: tuple[tuple[bool, tuple[int, ...], str], ...] = (
        (False, upstream.http_ports, "http_protocol_options"),
        (True, upstream.grpc_ports, "http2_protocol_options"),
    )
    return [
        _cluster(cluster_name(upstream.variant, grpc=grpc, pinned=pinned), ports, {options: {}})
        for pinned in (False, True)
        for grpc, ports, options in protocols
    ]


def _cluster(name: str, ports: Sequence[int], protocol: dict[str, Any]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": _TYPE + _HTTP_OPTIONS,
                "explicit_http_config": protocol,
                "common_http_protocol_options": {"idle_timeout": IDLE_TIMEOUT},
            }
        },
    }


def _version_matches(model: str, version: str) -> list[dict[str, Any]]:
    v1 = f"/v1/models/{model}/versions/{version}"
    return [
        {"prefix": f"{v1}:"},
        {"path": v1},
        {"path_separated_prefix": f"/v2/models/{model}/versions/{version}"},
    ]


def _not_found(match: dict[str, Any], message: str, code: str) -> dict[str, Any]:
    body = json.dumps({"error": message, "code": code})
    return {
        "match": match,
        "direct_response": {"status": 404, "body": {"inline_string": body}},
        "response_headers_to_add": [_header("content-type", "application/json")],
    }


def _route(match: dict[str, Any], variant: str, *, grpc: bool) -> dict[str, Any]:
    return {
        "match": _matching(match, grpc=grpc),
        "route": {"cluster": cluster_name(variant, grpc=grpc, pinned=True), "timeout": ROUTE_TIMEOUT},
        "request_headers_to_add": [_header(TRAFFIC_HEADER, PINNED)],
        "response_headers_to_add": [_variant_header(variant)],
    }


def _weighted(weights: Mapping[str, int], *, grpc: bool) -> dict[str, Any]:
    clusters = [
        {
            "name": cluster_name(variant, grpc=grpc),
            "weight": weight,
            "request_headers_to_add": [_header(TRAFFIC_HEADER, WEIGHTED)],
            "response_headers_to_add": [_variant_header(variant)],
        }
        for variant, weight in weights.items()
    ]
    return {"weighted_clusters": {"clusters": clusters}, "timeout": ROUTE_TIMEOUT}


def _matching(match: dict[str, Any], *, grpc: bool) -> dict[str, Any]:
    return {**match, "grpc": {}} if grpc else match


def _pin(variant: str) -> dict[str, Any]:
    return {"name": PINNED_VARIANT_HEADER, "string_match": {"exact": variant}}


def _variant_header(variant: str) -> dict[str, Any]:
    return _header(PINNED_VARIANT_HEADER, variant)


def _header(name: str, value: str) -> dict[str, Any]:
    # a header of the client's is replaced, so that nobody can mark requests
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}
