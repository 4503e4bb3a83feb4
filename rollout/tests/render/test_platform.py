"""Which addresses of Prometheus and of registries an installation allows."""

from __future__ import annotations

import pytest

from tandem_rollout.render.platform import Platform

OURS = "http://prometheus.monitoring:9090"


@pytest.mark.parametrize(
    "address", [OURS, f"{OURS}/", "http://a:9090", "https://b/prometheus", "https://b/prometheus/"]
)
def test_what_the_installation_names_is_allowed(address: str) -> None:
    assert Platform(prometheus=OURS, allowed_prometheus="http://a:9090, https://b/prometheus/").allows(address)


@pytest.mark.parametrize(
    "address",
    [
        *("", "/", "http://", "http://169.254.169.254/latest", "https://prometheus.monitoring:9090"),
        *(f"{OURS}/../admin", f"{OURS}@evil", f"{OURS}.evil", f"{OURS}?", "http://b/prometheus", "https://b"),
    ],
)
@pytest.mark.parametrize("allowed", ["", "https://b/prometheus"])
def test_nothing_else_is(address: str, allowed: str) -> None:
    assert not Platform(prometheus=OURS, allowed_prometheus=allowed).allows(address)


def test_without_any_prometheus_nothing_is_allowed() -> None:
    assert not Platform(prometheus="", allowed_prometheus=",").allows("")


REGISTRIES = '{"team-a": ["http://mlflow.team-a:5000/"], "*": ["https://mlflow/prefix"], "team-c": []}'


@pytest.mark.parametrize(
    ("namespace", "uri", "allowed"),
    [
        ("team-a", "http://mlflow.team-a:5000", True),
        ("team-a", "https://mlflow/prefix", False),
        ("team-b", "https://mlflow/prefix/", True),
        ("team-b", "http://mlflow.team-a:5000", False),
        ("team-b", "https://mlflow/prefix/other", False),
        ("team-c", "https://mlflow/prefix", False),
    ],
)
def test_registries_by_namespace(namespace: str, uri: str, allowed: bool) -> None:
    assert Platform(allowed_registries=REGISTRIES).allows_registry(namespace, uri) is allowed
    assert not Platform().allows_registry(namespace, uri)


@pytest.mark.parametrize("text", ["[]", "x", '{"a": "b"}'])
def test_registries_that_are_no_lists_by_namespace(text: str) -> None:
    with pytest.raises(ValueError, match="allowed_registries must be a JSON object of lists"):
        _ = Platform(allowed_registries=text).registries
