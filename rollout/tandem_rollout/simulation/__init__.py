"""Rollouts of simulated traffic: the engine, the statistics and the policies that real ones are decided by.

- :mod:`.traffic`: requests and events of both arms; incidents, bursts, days and nights.
- :mod:`.outage`: metrics that are absent, flaky, or cannot be read; :mod:`.lies`: counters that do not tell the truth.
- :mod:`.evidence`: what the metrics of many rollouts say, in the arithmetic of :mod:`tandem_rollout.analysis`.
- :mod:`.fleet`: many rollouts at once, each moved by :func:`tandem_rollout.engine.decide.decide`.
- :mod:`.outcome`: how they ended, and what that took.
- :mod:`.rollouts`: the whole of it. :mod:`.forecast`: what a canary's rollout will take.
- :mod:`.sprt`, :mod:`.flagger`, :mod:`.argo`: other rules, on the same traffic.

Pods are always ready here and nobody says a word: what is simulated is what evidence does, and a step that pauses is
the end of what can be foreseen. Random numbers come from seeds; nothing depends on the clock or on how work is shared
out.
"""
