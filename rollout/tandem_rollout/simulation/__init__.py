"""Simulated rollouts, decided by the engine, the statistics and the policies of real ones.

- :mod:`.traffic`: rates, incidents, bursts and daily waves of requests; :mod:`.stream`: their counts.
- :mod:`.outage`: metrics that are absent or cannot be read; :mod:`.lies`: counters with wrong values.
- :mod:`.evidence`: evidence of many rollouts about ratios of rates, with the arithmetic of
  :mod:`tandem_rollout.analysis`; :mod:`.latencies` for latency; :mod:`.drifts` for drift; :mod:`.metrics` for all
  metrics.
- :mod:`.fleet`: many rollouts at once; :mod:`.moves`: their runs, by :func:`tandem_rollout.engine.decide.decide`.
- :mod:`.outcome`: the outcomes of rollouts, and their cost.
- :mod:`.rollouts`: rollouts from start to end, and other rules on the same traffic.
- :mod:`.forecast`: the expected cost of a rollout.

Pods are always ready and there are no commands: only the effect of evidence is simulated, and a rollout ends undecided
at a step that pauses. Random numbers depend on seeds only, not on the clock or on the distribution of the work.
"""
