"""The places where rollouts run: a cluster, or a stack of ``tandem up`` on this machine."""
