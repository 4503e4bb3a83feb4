"""Settings of all tests: a slow machine is no reason for a property test to fail, and who runs what."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tandem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tandem")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several processes share the rollouts' tests, which only compute; one of them has all others."""
    for item in items:
        if "rollout/tests" not in item.nodeid:
            item.add_marker(pytest.mark.xdist_group("processes"))
