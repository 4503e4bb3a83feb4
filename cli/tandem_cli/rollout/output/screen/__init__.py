"""The human-readable output of ``tandem rollout``: a module per command, and the layout that they share."""
