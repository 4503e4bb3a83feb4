"""The verbs of ``tandem``, a module for each; those of ``tandem rollout`` are in :mod:`tandem_cli.rollout`."""
