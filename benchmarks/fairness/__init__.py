"""One client attacks, another one's latency is measured: ``make fairness``; see ``benchmarks/README.md``."""
