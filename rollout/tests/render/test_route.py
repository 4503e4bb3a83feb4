"""The route: who answers which request, until when, and whom the gateway lets ask."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rollout.tests.rollouts import rollout
from rollout.tests.specs import variants

from tandem_rollout.controller.objects import leaving, route_weights
from tandem_rollout.controller.resources import HTTPRoute
from tandem_rollout.render import Placed, render_rollout
from tandem_rollout.render.revision import Revision

from .made import PLATFORM, Object, bundled, objects, of_kind, one

KEYS = {"apiKeys": {"secretName": "testers"}}
COLOURS = {"variants": variants("blue", "green"), "strategy": {"blueGreen": {"active": "green"}}}


def rules(manifests: list[Object], ending: str = "time-estimator") -> dict[str, Object]:
    return {rule["name"]: rule for rule in one(manifests, "HTTPRoute", ending)["spec"]["rules"]}


def backends(rule: Object) -> dict[str, int]:
    """Weights of a rule, by variant."""
    return {backend["name"].split("-")[2]: backend["weight"] for backend in rule["backendRefs"]}


def paths(rule: Object) -> list[str]:
    return [match["path"]["value"] for match in rule["matches"]]


def test_requests_are_split_by_weight() -> None:
    named_rules = rules(objects())
    assert backends(named_rules["split"]) == backends(named_rules["split-grpc"]) == {"v1": 90, "v2": 10}
    assert paths(named_rules["split"]) == ["/v1/models", "/v2", "/docs", "/openapi.json"]
    assert paths(named_rules["split-grpc"]) == ["/inference.GRPCInferenceService"]


def test_rest_and_grpc_reach_the_transformers_ports_for_them() -> None:
    for name, rule in rules(objects()).items():
        port = 8081 if "grpc" in name else 80
        assert [backend["port"] for backend in rule["backendRefs"]] == [port] * len(rule["backendRefs"])
        assert all(backend["name"].endswith("-transformer") for backend in rule["backendRefs"])


@pytest.mark.parametrize("spec", [{}, {"bundle": {"image": "athlete:v1"}}, COLOURS], ids=["two", "one", "colours"])
def test_every_backend_tells_its_variant_to_the_transformer_and_to_the_client(spec: dict[str, Any]) -> None:
    for route in of_kind(objects(**spec), "HTTPRoute"):
        for backend in (ref for rule in route["spec"]["rules"] for ref in rule["backendRefs"]):
            request_filter, response_filter = backend["filters"]
            header, _ = request_filter["requestHeaderModifier"]["set"]
            assert header["name"] == "x-tandem-variant"
            assert backend["name"].startswith(f"time-estimator-{header['value']}-")
            assert response_filter["responseHeaderModifier"]["set"] == [
                {"name": "x-model-variant", "value": header["value"]}
            ]


def test_every_request_is_marked_by_how_it_came_there() -> None:
    """What counts as evidence is set by the gateway, which replaces a client's own mark."""
    marks = {}
    for route in of_kind(objects(**COLOURS), "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                modifier = backend["filters"][0]["requestHeaderModifier"]
                # nor does a client say who it is
                assert modifier["remove"] == ["x-tandem-unit"]
                headers = {header["name"]: header["value"] for header in modifier["set"]}
                marks.setdefault(route["metadata"]["name"], set()).add(headers["x-tandem-traffic"])
    assert marks == {
        "time-estimator": {"weighted"},
        "time-estimator.blue": {"pinned"},
        "time-estimator.green": {"pinned"},
        "time-estimator-preview": {"preview"},
    }


def test_pins_can_be_switched_off() -> None:
    manifests = objects(route={"pin": {"enabled": False}, "auth": KEYS})
    (route,) = of_kind(manifests, "HTTPRoute")
    assert route["metadata"]["name"] == "time-estimator"
    (policy,) = of_kind(manifests, "SecurityPolicy")
    assert [target["name"] for target in policy["spec"]["targetRefs"]] == ["time-estimator"]


def test_who_may_pin_can_be_others_than_who_may_ask() -> None:
    manifests = objects(route={"pin": {"auth": KEYS}}, **COLOURS)
    (policy,) = of_kind(manifests, "SecurityPolicy")
    assert policy["metadata"]["name"] == "time-estimator.pin"
    routes = {route["metadata"]["name"] for route in of_kind(manifests, "HTTPRoute")}
    assert {target["name"] for target in policy["spec"]["targetRefs"]} == routes - {"time-estimator"}
    assert policy["spec"]["apiKeyAuth"]["credentialRefs"] == [{"group": "", "kind": "Secret", "name": "testers"}]
    both = of_kind(objects(route={"pin": {"auth": KEYS}, "auth": {"apiKeys": {"secretName": "all"}}}), "SecurityPolicy")
    targets = [[target["name"] for target in policy["spec"]["targetRefs"]] for policy in both]
    assert targets == [["time-estimator"], ["time-estimator.v1", "time-estimator.v2"]]


def test_a_header_pins_a_variant() -> None:
    for variant in ("v1", "v2"):
        for rule in rules(objects(), f".{variant}").values():
            assert backends(rule) == {variant: 1}
            header = {"type": "Exact", "name": "x-model-variant", "value": variant}
            assert all(match["headers"] == [header] for match in rule["matches"])


def test_versioned_paths_reach_their_version_without_a_header() -> None:
    versioned = [
        {"name": name, "bundle": {"image": f"athlete:{name}", "version": version}, "weight": 1}
        for name, version in (("v1", "2026.1"), ("v2", ""))
    ]
    manifests = objects(variants=versioned)
    free = [match["path"]["value"] for match in rules(manifests, ".v1")["own"]["matches"] if "headers" not in match]
    assert free == [
        "/v1/models/time-estimator/versions/2026.1:predict",
        "/v1/models/time-estimator/versions/2026.1",
        "/v2/models/time-estimator/versions/2026.1",
    ]
    assert all("headers" in match for match in rules(manifests, ".v2")["own"]["matches"])


@pytest.mark.parametrize(("weights", "answers"), [((90, 10), "a"), ((10, 90), "b"), ((50, 50), "a"), ((0, 1), "b")])
def test_of_two_variants_of_one_version_the_one_with_the_most_weight_has_its_paths(
    weights: tuple[int, int], answers: str
) -> None:
    image = {"image": "athlete:v1", "version": "v1"}
    manifests = objects(
        variants=[{"name": name, "bundle": image, "weight": weight} for name, weight in zip("ab", weights, strict=True)]
    )
    services = [resource["metadata"]["name"] for resource in manifests if resource["kind"] == "InferenceService"]
    assert len(set(services)) == 2
    for name in "ab":
        versioned = [path for path in paths(rules(manifests, f".{name}")["own"]) if "/versions/" in path]
        assert bool(versioned) == (name == answers)


def test_a_variant_may_be_called_like_a_rule() -> None:
    named = variants("split", "split-grpc", "preview")
    of = rollout(variants=named)
    route = one(objects(variants=named), "HTTPRoute", "time-estimator")
    assert route_weights(HTTPRoute.of(route)) == {Revision.of(of, variant).name: 10 for variant in of.spec.all_variants}


def test_what_leaves_keeps_next_to_nothing_and_moves_no_other_backend() -> None:
    of = rollout()
    v1, v2 = (Revision.of(of, variant) for variant in of.spec.all_variants)
    manifests = render_rollout(of, [Placed(v1, 0, leaving=12.5), Placed(v2, 100)], PLATFORM)
    route = one(manifests, "HTTPRoute", "time-estimator")
    split = route["spec"]["rules"][0]
    assert list(backends(split).items()) == [("v2", 99_999), ("v1", 1)]
    assert route_weights(HTTPRoute.of(route)) == {v2.name: 100}
    assert leaving(HTTPRoute.of(route)) == {v1.name: 12.5}
    assert [httproute["metadata"]["name"] for httproute in of_kind(manifests, "HTTPRoute")] == [
        "time-estimator",
        "time-estimator.v2",
    ]


def test_every_rule_has_the_timeout() -> None:
    for rule in rules(objects(route={"timeout": "3s"})).values():
        assert rule["timeouts"] == {"request": "3s"}


def test_hosts_and_gateway() -> None:
    default = one(objects(), "HTTPRoute", "time-estimator")["spec"]
    assert default["hostnames"] == ["time-estimator.models.models.example"]
    (parent,) = default["parentRefs"]
    assert (parent["namespace"], parent["name"]) == ("kserve", "kserve-ingress-gateway")
    manifests = objects(route={"hostnames": ["a.example"], "gateway": {"name": "g", "namespace": "n"}})
    own = one(manifests, "HTTPRoute", ".v1")
    (parent,) = own["spec"]["parentRefs"]
    assert (own["spec"]["hostnames"], parent["namespace"], parent["name"]) == (["a.example"], "n", "g")


def test_a_variant_without_weight_is_reached_by_header_only() -> None:
    manifests = objects(variants=[*variants("v1"), *variants("v2", weight=0)])
    assert backends(rules(manifests)["split"]) == {"v1": 10}
    assert backends(rules(manifests, ".v2")["own"]) == {"v2": 1}


def test_no_route_where_nobody_has_weight() -> None:
    of = rollout()
    placed = [Placed(Revision.of(of, variant), 0) for variant in of.spec.all_variants]
    assert of_kind(render_rollout(of, placed, PLATFORM), "HTTPRoute") == []


def test_weights_are_read_back_as_they_were_placed() -> None:
    of = rollout()
    v1, v2 = (Revision.of(of, variant) for variant in of.spec.all_variants)
    manifests = render_rollout(of, [Placed(v1, 70), Placed(v2, 0)], PLATFORM)
    assert route_weights(HTTPRoute.of(one(manifests, "HTTPRoute", "time-estimator"))) == {v1.name: 70}


def test_blue_green_has_a_preview_host_for_the_others() -> None:
    manifests = objects(**COLOURS)
    assert backends(rules(manifests)["split"]) == {"green": 100}
    assert backends(rules(manifests, "-preview")["split"]) == {"blue": 1}
    assert one(manifests, "HTTPRoute", "-preview")["spec"]["hostnames"] == [
        "preview-time-estimator.models.models.example"
    ]


@pytest.mark.parametrize(
    ("route", "strategy", "expected"),
    [
        ({"hostnames": ["a.example"]}, {}, "preview-a.example"),
        ({"hostnames": ["*.a.example"]}, {}, "preview.a.example"),
        ({"hostnames": ["a.example"]}, {"previewHostname": "b.example"}, "b.example"),
    ],
)
def test_preview_hosts(route: dict[str, Any], strategy: dict[str, Any], expected: str) -> None:
    manifests = objects(
        variants=COLOURS["variants"], route=route, strategy={"blueGreen": {"active": "green", **strategy}}
    )
    assert one(manifests, "HTTPRoute", "-preview")["spec"]["hostnames"] == [expected]


def test_only_blue_green_has_a_preview() -> None:
    routes = of_kind(objects(variants=[*variants("v1"), *variants("v2", weight=0)]), "HTTPRoute")
    assert not [route for route in routes if route["metadata"]["name"].endswith("-preview")]


def test_a_units_variant_sticks_by_its_header_in_ab_tests_only() -> None:
    assert of_kind(objects(), "BackendTrafficPolicy") == []
    spec = one(objects(strategy={"abTest": {"header": "x-athlete"}}), "BackendTrafficPolicy")["spec"]
    assert spec["loadBalancer"] == {
        "type": "ConsistentHash",
        "consistentHash": {"type": "Header", "header": {"name": "x-athlete"}},
    }
    assert [target["name"] for target in spec["targetRefs"]] == ["time-estimator"]


def test_anybody_may_ask_unless_the_spec_says_who() -> None:
    assert of_kind(bundled(), "SecurityPolicy") == []
    assert of_kind(bundled(route={"auth": {}}), "SecurityPolicy") == []


def test_json_web_tokens() -> None:
    jwt = {"issuer": "https://id.example", "jwksUri": "https://id.example/keys", "audiences": ["models"]}
    spec = one(bundled(route={"auth": {"jwt": jwt}}), "SecurityPolicy")["spec"]
    (provider,) = spec["jwt"]["providers"]
    assert (provider["issuer"], provider["audiences"]) == ("https://id.example", ["models"])
    assert provider["remoteJWKS"] == {"uri": "https://id.example/keys"}
    assert provider["claimToHeaders"] == [{"claim": "sub", "header": "x-tandem-unit"}]


def test_api_keys() -> None:
    spec = one(bundled(route={"auth": {"apiKeys": {"secretName": "clients"}}}), "SecurityPolicy")["spec"]
    assert spec["apiKeyAuth"]["credentialRefs"] == [{"group": "", "kind": "Secret", "name": "clients"}]
    assert spec["apiKeyAuth"]["extractFrom"] == [{"headers": ["x-api-key"]}]
    assert spec["apiKeyAuth"]["forwardClientIDHeader"] == "x-tandem-unit"


def test_only_the_gateway_says_who_a_client_is() -> None:
    for auth, removed in ((None, ["x-tandem-unit"]), (KEYS, None)):
        manifests = objects(route={"auth": auth} if auth else {})
        for rule in rules(manifests).values():
            for backend in rule["backendRefs"]:
                assert backend["filters"][0]["requestHeaderModifier"].get("remove") == removed


def test_the_preview_is_not_open_where_the_model_is_not() -> None:
    manifests = objects(**COLOURS, route={"auth": {"apiKeys": {"secretName": "clients"}}})
    targets = [target["name"] for target in one(manifests, "SecurityPolicy")["spec"]["targetRefs"]]
    assert targets == [route["metadata"]["name"] for route in of_kind(manifests, "HTTPRoute")]


def test_the_sum_of_sticky_weights_does_not_change_when_a_backend_leaves() -> None:
    of = rollout(strategy={"abTest": {}})
    v1, v2 = (Revision.of(of, variant) for variant in of.spec.all_variants)
    old = Revision(of, v2.variant, "0" * 8)
    before = render_rollout(of, [Placed(v1, 90), Placed(old, 10)], PLATFORM, fine=True)
    during = render_rollout(of, [Placed(v1, 90), Placed(v2, 10), Placed(old, 0, leaving=12.5)], PLATFORM, fine=True)
    weights = []
    for manifests in (before, during):
        route = one(manifests, "HTTPRoute", "time-estimator")
        weights.append([backend["weight"] for backend in route["spec"]["rules"][0]["backendRefs"]])
        assert route_weights(HTTPRoute.of(route)) == {v1.name: 90, (old if manifests is before else v2).name: 10}
    # Envoy takes the hash of a unit modulo the sum
    assert weights == [[90_000, 10_000], [90_000, 9_999, 1]]


def test_a_variant_that_the_spec_has_no_more_is_not_open_where_the_model_is_not() -> None:
    of = rollout(route={"auth": {"apiKeys": {"secretName": "clients"}}})
    gone = Revision(of, msgspec.structs.replace(of.spec.variants[0], name="gone"), "0" * 8)
    manifests = render_rollout(of, [Placed(gone, 100)], PLATFORM)
    targets = {target["name"] for target in one(manifests, "SecurityPolicy")["spec"]["targetRefs"]}
    assert {route["metadata"]["name"] for route in of_kind(manifests, "HTTPRoute")} <= targets


def test_a_variant_has_one_route_also_where_two_of_its_revisions_are_reached() -> None:
    of = rollout()
    v1, _ = (Revision.of(of, variant) for variant in of.spec.all_variants)
    old = Revision(of, v1.variant, "0" * 8)
    manifests = render_rollout(of, [Placed(old, 10), Placed(v1, 0)], PLATFORM)
    (own,) = [route for route in of_kind(manifests, "HTTPRoute") if route["metadata"]["name"].endswith(".v1")]
    assert {backend["name"] for rule in own["spec"]["rules"] for backend in rule["backendRefs"]} == {v1.transformer}
