"""Which addresses of Prometheus an installation allows."""

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
