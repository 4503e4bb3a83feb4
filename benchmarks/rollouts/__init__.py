"""``make sim``: rollouts under simulated traffic; see ``benchmarks/README.md`` for what is simulated and how."""
