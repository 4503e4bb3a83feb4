"""What the counters of canary and stable say: statistics for rollouts. Pure: no I/O, no clock, no randomness.

From the counters of two scrapes to a decision:

- :mod:`.counts`: two scrapes to one sample, the requests and events of each arm, or to no data.
- :mod:`.sequential`: the conditional sequential test of the ratio of two rates; :mod:`.latency` brings latencies to it.
- :mod:`.drift`: how far apart the arms' predictions are; :mod:`.distance` is its arithmetic.
- :mod:`.dispersion`: how much burstier than Poisson events come, from stable against itself.
- :mod:`.ratio`: whether units fell to the arms as configured, and an interval of the ratio to show.
- :mod:`.eta`: canary requests that a decision needs.
- :mod:`.verdict`: a verdict for each metric, and one decision for all.

Evidence is a frozen dataclass of numbers and tuples of finite numbers: ``msgspec.json`` writes it and reads it back bit
for bit, and going on from what was read equals never having stopped.
"""
