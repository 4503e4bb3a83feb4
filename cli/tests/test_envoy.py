from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_cli.local.envoy_config import Upstream, build_bootstrap, build_clusters, build_routes, cluster_name
from tandem_cli.local.processes import StackError
from tandem_rollout.render.route_rules import PINNED_VARIANT_HEADER

UPSTREAMS = [Upstream("v1", (1001, 1003), (1002, 1004)), Upstream("v2", (1005,), (1006,))]
VERSIONS = {"v1": "v1", "v2": "v2"}
RENDERED = build_bootstrap(
    port=0, routes_file=Path("r/r.json"), clusters_file=Path("c/c.json"), admin_socket=Path("a.sock")
)
CLUSTERS = build_clusters(UPSTREAMS)["resources"]


def route_list(weights: dict[str, int]) -> list[dict[str, Any]]:
    (resource,) = build_routes("m", VERSIONS, weights)["resources"]
    (host,) = resource["virtual_hosts"]
    return list(host["routes"])


def test_every_variant_has_a_cluster_for_each_protocol() -> None:
    ports = {
        cluster["name"]: [
            endpoint["endpoint"]["address"]["socket_address"]["port_value"]
            for endpoint in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        ]
        for cluster in CLUSTERS
    }
    own = {"v1/http": [1001, 1003], "v1/grpc": [1002, 1004], "v2/http": [1005], "v2/grpc": [1006]}
    assert ports == own | {f"{name}-pinned": numbers for name, numbers in own.items()}


def test_what_a_client_pins_is_marked_and_counted_apart() -> None:
    for route in route_list({"v1": 1, "v2": 1}):
        if "route" not in route:
            continue
        clusters = route["route"].get("weighted_clusters", {}).get("clusters")
        if clusters is None:
            assert route["route"]["cluster"].endswith("-pinned")
        else:
            assert not any(cluster["name"].endswith("-pinned") for cluster in clusters)
        for place in clusters or [route]:
            (mark,) = place["request_headers_to_add"]
            value = "pinned" if clusters is None else "weighted"
            assert mark["header"] == {"key": "x-tandem-traffic", "value": value}
            assert mark["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"


def test_only_the_loopback_interface_is_used() -> None:
    def addresses(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["address"]] if isinstance(part.get("address"), str) else []
            return own + [address for value in part.values() for address in addresses(value)]
        return [address for value in part for address in addresses(value)] if isinstance(part, list) else []

    hosts = addresses([RENDERED["static_resources"], CLUSTERS])
    assert len(hosts) > 4
    assert set(hosts) == {"127.0.0.1"}
    # the admin interface stops Envoy and shows all that passes it
    assert RENDERED["admin"] == {"address": {"pipe": {"path": "a.sock", "mode": 0o600}}}


def test_nothing_is_tried_again() -> None:
    assert "retry_policy" not in str(route_list({"v1": 90, "v2": 10}))


@given(st.integers(0, 100), st.integers(0, 100))
def test_weights_are_those_that_were_set(first: int, second: int) -> None:
    if first + second == 0:
        return
    weighted = [
        route["route"]["weighted_clusters"]["clusters"] for route in route_list({"v1": first, "v2": second})[-2:]
    ]
    assert [[cluster["weight"] for cluster in clusters] for clusters in weighted] == [[first, second]] * 2
    assert [[cluster["name"] for cluster in clusters] for clusters in weighted] == [
        [cluster_name(variant, grpc=grpc) for variant in VERSIONS] for grpc in (True, False)
    ]


def test_a_version_in_the_path_goes_before_a_pin_and_both_before_the_weights() -> None:
    def kind(route: dict[str, Any]) -> str:
        if "direct_response" in route:
            return "unknown"
        if route["match"].get("prefix") != "/":
            return "path"
        return "pin" if "headers" in route["match"] else "weighted"

    kinds = [kind(route) for route in route_list({"v1": 1})]
    assert kinds == ["path"] * 6 + ["unknown"] * 2 + ["pin"] * 4 + ["unknown"] + ["weighted"] * 2


def test_answers_tell_their_variant() -> None:
    for route in route_list({"v1": 1, "v2": 1}):
        if "route" not in route:
            continue
        clusters = (
            route["route"]
            .get("weighted_clusters", {})
            .get("clusters", [{**route, "name": route["route"].get("cluster")}])
        )
        for cluster in clusters:
            (header,) = cluster["response_headers_to_add"]
            assert header["header"] == {"key": PINNED_VARIANT_HEADER, "value": cluster["name"].partition("/")[0]}


def test_routes_have_a_name_that_changes_with_them() -> None:
    names = [build_routes("m", VERSIONS, {"v1": weight, "v2": 1})["version_info"] for weight in (1, 2, 1)]
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize(
    ("weights", "message"), [({"v3": 1}, "v3"), ({"v1": -1}, "negative"), ({"v1": 0}, "above 0"), ({}, "above 0")]
)
def test_weights_that_make_no_sense_are_refused(weights: dict[str, int], message: str) -> None:
    with pytest.raises(StackError, match=message):
        build_routes("m", VERSIONS, weights)
