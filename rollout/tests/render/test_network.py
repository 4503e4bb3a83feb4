"""NetworkPolicies as they are written; what they let pass is in tests/validation."""

from __future__ import annotations

from .made import bundled, objects, of_kind, one


def test_both_halves_of_every_variant_have_one() -> None:
    made = objects()
    selected = [each["spec"]["podSelector"]["matchLabels"]["app"] for each in of_kind(made, "NetworkPolicy")]
    services = [each["metadata"]["name"] for each in of_kind(made, "InferenceService")]
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
