"""Settings of all tests: a slow machine is no reason for a property test to fail."""

from importlib.util import find_spec

from hypothesis import HealthCheck, settings

settings.register_profile("tandem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tandem")

# `make test` runs these with Feast's own environment, whose versions exclude those of ours
collect_ignore = [] if find_spec("feast") else ["tests/feast_repository"]
