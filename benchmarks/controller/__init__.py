"""``make bench-controller``: the controller with a thousand rollouts, against a real API server; see ``README.md``."""
