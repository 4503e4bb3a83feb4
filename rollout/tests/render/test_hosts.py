"""Which rollout has which host."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout.tests.rollouts import manifest

from tandem_rollout.render.hosts import (
    HostClaim,
    claim_hosts,
    covering,
    default_host,
    find_contests,
    overlap,
    permitted,
)

GATEWAY = ("kserve", "kserve-ingress-gateway")

labels = st.sampled_from(["a", "b", "c"])
hosts = st.builds(
    lambda wildcard, parts: ".".join([*(["*"] if wildcard else []), *parts]),
    st.booleans(),
    st.lists(labels, min_size=1, max_size=3),
)
claims = st.builds(
    lambda namespace, name, own, holder, created: HostClaim(
        namespace, name, GATEWAY, tuple(own), created, frozenset(own[:1]) if holder else frozenset()
    ),
    st.sampled_from(["x", "y"]),
    st.sampled_from(["m", "n"]),
    st.lists(hosts, min_size=1, max_size=3, unique=True),
    st.booleans(),
    st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
)


def of(name: str, *own: str, namespace: str = "x", created: str = "", holder: bool = False) -> HostClaim:
    return HostClaim(namespace, name, GATEWAY, own, created, frozenset(own) if holder else frozenset())


def lost(own: HostClaim, *rivals: HostClaim) -> list[str]:
    return [contest.host for contest in find_contests(own, rivals) if contest.lost]


@given(*[st.from_regex(r"[a-z]([-a-z0-9]{0,6}[a-z0-9])?", fullmatch=True)] * 4)
def test_no_two_rollouts_have_one_default_host(name: str, namespace: str, other_name: str, elsewhere: str) -> None:
    same = default_host(name, namespace, "example.com") == default_host(other_name, elsewhere, "example.com")
    assert same == ((name, namespace) == (other_name, elsewhere))


@given(claims, claims)
def test_of_two_that_claim_a_host_exactly_one_has_it(claim: HostClaim, counterclaim: HostClaim) -> None:
    if (claim.namespace, claim.name) == (counterclaim.namespace, counterclaim.name):
        return
    for host in set(claim.hosts) & set(counterclaim.hosts):
        ours, theirs = (
            next(contest for contest in find_contests(own, [rival]) if contest.host == host)
            for own, rival in ((claim, counterclaim), (counterclaim, claim))
        )
        if claim.namespace == counterclaim.namespace:
            assert ours.lost != theirs.lost
        # both are told about the other
        assert (ours.rival, theirs.rival) == (
            (counterclaim.namespace, counterclaim.name),
            (claim.namespace, claim.name),
        )


@given(hosts, hosts)
def test_hosts_overlap_where_one_stands_for_the_other(first: str, second: str) -> None:
    def stands_for(host: str, wildcard: str) -> bool:
        return host == wildcard or (wildcard.startswith("*.") and host.endswith(wildcard[1:]))

    assert overlap(first, second) == (stands_for(first, second) or stands_for(second, first))
    assert set(covering(first)) == {cover for cover in covering(first) if stands_for(first, cover)}


def test_the_one_whose_routes_answer_there_keeps_a_host() -> None:
    """Whoever edits an older rollout, or calls it a, does not take the host of one that serves."""
    serves = of("z", "api.example", created="2026-02-02T00:00:00Z", holder=True)
    older = of("a", "api.example", created="2026-01-01T00:00:00Z")
    assert lost(older, serves) == ["api.example"]
    assert lost(serves, older) == []


def test_else_the_one_that_was_made_first_has_it() -> None:
    first = of("z", "api.example", created="2026-01-01T00:00:00Z")
    second = of("a", "api.example", "other.example", created="2026-02-02T00:00:00Z")
    assert lost(second, first) == ["api.example"]
    assert lost(first, second) == []
    alike = of("b", "api.example", created=second.created), of("c", "api.example", created=second.created)
    assert (lost(alike[0], alike[1]), lost(alike[1], alike[0])) == ([], ["api.example"])


def test_nobody_carves_a_host_out_of_the_wildcard_of_another_namespace() -> None:
    wide = of("wide", "*.example", namespace="bank", holder=True)
    narrow = of("narrow", "pay.example", namespace="thief")
    assert lost(narrow, wide) == ["pay.example"]
    assert [str(contest) for contest in find_contests(wide, [narrow])] == [
        "*.example is also claimed by InferenceRollout thief/narrow, which has no route for it"
    ]
    assert find_contests(of("narrow", "pay.example", namespace="bank"), [wide]) == []


def test_gateways_do_not_share_hosts() -> None:
    here = of("a", "api.example")
    there = HostClaim("y", "b", ("elsewhere", "gateway"), ("api.example",))
    assert find_contests(here, [there]) == find_contests(there, [here]) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ["time-estimator.models.example.com"]),
        ({"route": {"hostnames": ["a.example", "b.example"]}}, ["a.example", "b.example"]),
        (
            {"strategy": {"blueGreen": {"active": "v1"}}},
            ["time-estimator.models.example.com", "preview-time-estimator.models.example.com"],
        ),
        (
            {"route": {"hostnames": ["*.a.example"]}, "strategy": {"blueGreen": {"active": "v1"}}},
            ["*.a.example", "preview.a.example"],
        ),
        (
            {"strategy": {"blueGreen": {"previewHostname": "p.example"}}, "route": {"hostnames": ["x.y"]}},
            ["x.y", "p.example"],
        ),
        ({"route": "nonsense", "strategy": ["no"]}, ["time-estimator.models.example.com"]),
        ({"route": {"hostnames": [1, None]}}, ["time-estimator.models.example.com"]),
    ],
)
def test_what_a_rollout_claims_also_where_its_spec_is_not_valid(spec: dict[str, Any], expected: list[str]) -> None:
    assert list(claim_hosts(manifest(**spec), "example.com").hosts) == expected


@pytest.mark.parametrize(
    ("host", "namespace", "ok"),
    [
        ("api.bank.example", "bank", True),
        ("bank.example", "bank", True),
        ("*.bank.example", "bank", True),
        ("xbank.example", "bank", False),
        ("*.example", "bank", False),
        ("api.bank.example", "thief", False),
        ("m.thief.models.example", "thief", True),
        ("m.bank.models.example", "thief", False),
        ("thief.models.example", "thief", True),
        ("x.shared.example", "thief", True),
        ("x.shared.example", "bank", False),
        ("whatever.org", "admin", True),
    ],
)
def test_domains_by_namespace(host: str, namespace: str, ok: bool) -> None:
    allowed = {"bank": ["bank.example"], "admin": ["*"], "*": ["shared.example"]}
    assert permitted(host, namespace, "models.example", allowed) is ok


def test_without_domains_every_host_is_allowed() -> None:
    assert permitted("whatever.org", "thief", "models.example", {})
