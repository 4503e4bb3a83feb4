"""``tandem rollout``: what a rollout does, why, and a person's word in it; the same on a laptop and on a cluster."""
