"""NetworkPolicies as they are written; what they let pass is in tests/validation."""

from __future__ import annotations

import pytest

from .made import bundled, objects, of_kind, one


def test_both_halves_of_every_variant_have_one() -> None:
    manifests = objects()
    selected = [policy["spec"]["podSelector"]["matchLabels"]["app"] for policy in of_kind(manifests, "NetworkPolicy")]
    services = [service["metadata"]["name"] for service in of_kind(manifests, "InferenceService")]
    assert selected == [f"isvc.{name}-{component}" for name in services for component in ("transformer", "predictor")]


def test_what_is_not_named_is_forbidden_both_ways() -> None:
    for policy in of_kind(objects(), "NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule.get("from") and rule["ports"] for rule in policy["spec"]["ingress"])
        assert all(rule["ports"] for rule in policy["spec"]["egress"])


def test_a_predictor_calls_nobody() -> None:
    assert one(bundled(), "NetworkPolicy", "-predictor")["spec"]["egress"] == []


def test_a_bundle_from_elsewhere_may_be_downloaded() -> None:
    for component in ("transformer", "predictor"):
        policy = one(bundled(bundle={"uri": "s3://models/v1"}), "NetworkPolicy", f"-{component}")
        assert {"ports": [{"port": 443, "protocol": "TCP"}]} in policy["spec"]["egress"]


def test_none_where_none_is_wanted() -> None:
    assert of_kind(bundled(network={"policies": False}), "NetworkPolicy") == []


def store_ports(**spec: object) -> list[int]:
    """Ports beyond DNS and the predictor that a transformer may call."""
    egress = one(bundled(**spec), "NetworkPolicy", "-transformer")["spec"]["egress"]
    return [port["port"] for rule in egress for port in rule["ports"] if port["port"] not in (53, 8080, 8081)]


@pytest.mark.parametrize(
    ("store", "ports"),
    [
        ({"url": "redis://store"}, [6379]),
        ({"url": "redis://store:6380/0"}, [6380]),
        ({"url": "rediss://reader@store.stores.svc:7000/0?ssl_cert_reqs=none"}, [7000]),
        ({"url": "rediss://store?db=1"}, [6379]),
        ({"url": "redis://[2001:db8::1]:6390/0"}, [6390]),
        ({"url": "redis://[2001:db8::1]"}, [6379]),
        ({"url": "redis+cluster://a:7000,b:7001,c:7000"}, [7000, 7001]),
        ({"url": "rediss+cluster://reader@a,[2001:db8::1]:7001?ssl_ca_certs=/x:5"}, [6379, 7001]),
        ({"url": "redis+sentinel://a,b:26380/features/0"}, [26379, 26380, 6400]),
        ({"url": "unix:///sockets/valkey.sock"}, []),
        ({"url": "memory://"}, []),
        ({"urlFrom": {"name": "store", "key": "url"}}, [6400]),
        ({}, []),
    ],
)
def test_the_store_is_called_at_the_port_of_its_url_and_not_at_all_without_one(
    store: dict[str, object], ports: list[int]
) -> None:
    # what a URL says goes before; what a Secret says is not known here
    assert store_ports(store=store, network={"storePort": 6400}) == ports


def test_further_ports_of_a_store() -> None:
    more = {"storePort": 6400, "additionalStorePorts": [26379, 6400]}
    assert store_ports(store={"urlFrom": {"name": "store", "key": "url"}}, network=more) == [6400, 26379]
    assert store_ports(network=more) == []
