"""Statistics of rollouts: verdicts from the counters of canary and stable. Pure: no I/O, no clock, no randomness.

From the counters of two scrapes to a decision:

- :mod:`.counts` and :mod:`.window`: the requests and events of each arm between two scrapes.
- :mod:`.gather`: one sample of all metrics; :mod:`.gather_rates` for rates of events, :mod:`.record` for the evidence.
- :mod:`.sequential`: the conditional sequential test of the ratio of two rates, with :mod:`.priors` and
  :mod:`.likelihood`; :mod:`.latency` defines slow requests as its events; :mod:`.absolute` tests against a fixed rate.
- :mod:`.drift`: the distance of the distributions of predictions, with :mod:`.distance` and :mod:`.distance_evidence`.
- :mod:`.dispersion`: overdispersion of events, from comparing stable with itself.
- :mod:`.ratio`: whether the units are assigned as configured, and an interval of the ratio of the rates for display.
- :mod:`.eta`: expected number of canary requests until a decision.
- :mod:`.judge`: the result of each metric (:mod:`.judge_metric`) and one decision (:mod:`.verdict`).

Evidence is a frozen dataclass of numbers and tuples of finite numbers. ``msgspec.json`` writes and reads it without
loss, so that an analysis that continues from a stored record gives the same results.
"""
