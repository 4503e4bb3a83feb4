"""Rollouts of simulated traffic: the engine, the statistics and the policies that real ones are decided by.

- :mod:`.traffic`: what happens to requests: rates, incidents, bursts, days and nights; :mod:`.stream`: its counts.
- :mod:`.outage`: metrics that are absent, flaky, or cannot be read; :mod:`.lies`: counters that do not tell the truth.
- :mod:`.evidence`: evidence of many rollouts by a ratio of rates, in the arithmetic of :mod:`tandem_rollout.analysis`;
  :mod:`.latencies` and :mod:`.drifts`: of latency and of predictions; :mod:`.metrics`: of all metrics.
- :mod:`.fleet`: many rollouts at once; :mod:`.moves`: what :func:`tandem_rollout.engine.decide.decide` makes of them.
- :mod:`.outcome`: how they ended, and what that took.
- :mod:`.rollouts`: rollouts from start to end, with other rules on the same traffic where there are any.
- :mod:`.forecast`: what a canary's rollout will take.

Pods are always ready here and nobody gives a command: only the effect of evidence is simulated, and a rollout ends
undecided at a step that pauses. Random numbers come from seeds; nothing depends on the clock or on how work is shared
out.
"""
