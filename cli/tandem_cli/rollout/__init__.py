"""``tandem rollout``: shows and controls rollouts, on this machine and on a cluster."""
