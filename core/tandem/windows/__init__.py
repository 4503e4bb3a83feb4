"""Windows: statistics of events over time, as features.

definition   what a feature view declares: its window, and the statistic of each feature
exact_sums   sums without rounding
sketches     how many different values there are
parts        what is kept of the events of a window: it is merged in any order, and always with the same result
layout       which parts a view needs, and its features from them
grouping     events by entity and window, and those that come too late
state        the windows that are open, and their form as records of a changelog
engine       events in; changes of the state, closed windows and late events out

All of it is pure: no I/O and no clock.
"""
