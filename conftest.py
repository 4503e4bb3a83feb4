"""Settings of all tests: a slow machine is no reason for a property test to fail."""

from hypothesis import HealthCheck, settings

settings.register_profile("tandem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tandem")
