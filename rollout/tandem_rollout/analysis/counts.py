"""The counts of the targets of one arm, scrape by scrape, and one sample of both arms.

Counters belong to a *target*, the process that exports them. The increase of a target between two scrapes is

- the difference of each series; a new series of a known target started at zero, as error counters do;
- after a restart, the whole value. A restart is detected by a counter that decreased or disappeared. If one counter
  decreased and another one, which was not zero, did not, it is unknown how much of the second is new: the values are
  unplaced, that is, they are reported but not counted;
- nothing for a new target: its values may be old.

A scrape that is missing, or has a value that is negative, too high or not a number, is skipped: the next scrape is
compared with the one before it. So every event between the first and the last scrape of a target is counted once, or
unplaced.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from tandem_rollout.api.cause import Cause

_Key = TypeVar("_Key", bound=Hashable)

_MAX = 2.0**63
"""Upper bound of valid counters. Sums of smaller values are finite."""


@dataclass(frozen=True, slots=True)
class NoData(Cause):
    """There is no data, and why."""


NOTHING: Final = NoData("NothingRead", "nothing was read")
NO_EVENTS: Final = NoData("NoEventSeries", "there is no series of events")

Key = tuple[bool, str] | float
"""A series of a target: whether it counts events, and its name; for a histogram the upper edge of a bucket."""

Values = Mapping[Key, float]
"""Values of a target, by series."""


@dataclass(frozen=True, slots=True)
class Increments:
    """The increments of both arms between two scrapes.

    Attributes:
        canary_requests: Requests of the canary.
        canary_events: Events among them: errors, slow responses or degraded responses.
        stable_requests: Requests of stable.
        stable_events: Events among them.
    """

    canary_requests: float
    canary_events: float
    stable_requests: float
    stable_events: float


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of one target, by series. Several series are summed.

    Attributes:
        requests: Counters of requests.
        events: Counters of events.
    """

    requests: Mapping[str, float]
    events: Mapping[str, float]


Scrape = Mapping[str, Counters]
"""Counters of one arm by target. A target without a series of the arm has empty counters; a target that did not respond
is missing."""


def increase(earlier: Mapping[_Key, float], later: Mapping[_Key, float]) -> dict[_Key, float] | None:
    """The increases of one target since the earlier scrape, by series.

    Args:
        earlier: Values of the earlier scrape, by series.
        later: Values of the later scrape, by series.

    Returns:
        The increases; None if they are unknown.
    """
    # NaN compares as false, so that it is rejected as well
    if not all(0.0 <= value <= _MAX for values in (earlier, later) for value in values.values()):
        return None
    if not _fell(earlier, later):
        return {series: value - earlier.get(series, 0.0) for series, value in later.items()}
    # a histogram whose total decreased has restarted, even if one of its buckets did not decrease
    restarted = any(series == math.inf and value < earlier.get(series, 0.0) for series, value in later.items())
    # this counter has not restarted, or has passed its old value since: how much is new is unknown
    if not restarted and any(value >= earlier.get(series, 0.0) > 0 for series, value in later.items()):
        return None
    return dict(later)


def _fell(earlier: Mapping[_Key, float], later: Mapping[_Key, float]) -> bool:
    # a series that disappeared counts as 0: a restarted process has not created it again yet
    return any(later.get(series, 0.0) < value for series, value in earlier.items())


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """The counts of the targets of one arm since they were last taken.

    Attributes:
        scraped: Time of the last scrape of each target, in seconds since the epoch.
        shown: Values of each target in its last scrape, by series.
        counted: Increases since the counts were last taken, by target and series.
        begins: Time of the earliest scrape that the increases start from; infinite without increases.
        unplaced: Values of targets after a partial restart, by series.
        trouble: Why the last reading has no counts; None if it has.
    """

    scraped: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, Values] = field(default_factory=dict)
    counted: Mapping[str, Values] = field(default_factory=dict)
    begins: float = math.inf
    unplaced: Values = field(default_factory=dict)
    trouble: Cause | None = NOTHING


def extend(arm: ArmCounts, targets: Mapping[str, Values], scraped: Mapping[str, float]) -> ArmCounts:
    """The counts with one more reading.

    Args:
        arm: The previous counts.
        targets: Values of each target that responded, by series.
        scraped: Time of the scrape of each target, in seconds since the epoch.
    """
    times, shown, counted = dict(arm.scraped), dict(arm.shown), dict(arm.counted)
    begins, unplaced, has_counts = arm.begins, dict(arm.unplaced), False
    for target in sorted(targets):
        later = targets[target]
        # the last valid scrape stays the base, so that the counts since then are not lost
        if not all(0.0 <= value <= _MAX for value in later.values()):
            continue
        earlier = shown.get(target)
        since, times[target] = times.get(target, math.inf), scraped[target]
        if earlier is None or _other_bins(earlier, later):
            # counts in other bins cannot be added to those that follow
            shown[target], unplaced = later, add_counts(unplaced, counted.pop(target, {}))
            continue
        increases = increase(earlier, later)
        if increases is None:
            shown[target], unplaced = later, add_counts(unplaced, later)
            continue
        shown[target] = later
        counted[target] = add_counts(counted.get(target, {}), increases)
        has_counts = True
        # an idle target must not extend the time in which the weight may have changed
        if any(increases.values()):
            begins = min(begins, since)
    has_requests = any(not _is_event(key) for values in targets.values() for key in values)
    trouble = None if has_counts and has_requests else _trouble(targets, arm.shown, has_requests=has_requests)
    return ArmCounts(times, shown, counted, begins, unplaced, trouble)


def take_counts(arm: ArmCounts, left: Mapping[str, Values] | None = None) -> ArmCounts:
    """The counts after they were taken.

    Args:
        arm: The counts.
        left: Counts that were not taken, by target and series. They are part of the next counts.
    """
    # what is left still comes from the earlier scrapes, and so from the weights of that time
    return replace(arm, counted=left or {}, begins=arm.begins if left else math.inf, unplaced={})


def add_counts(values: Values, more: Values) -> dict[Key, float]:
    """Sums of two sets of values, by series."""
    total = dict(values)
    for series, value in more.items():
        total[series] = total.get(series, 0.0) + value
    return total


def sum_targets(arm: ArmCounts) -> dict[Key, float]:
    """Counts of all targets, by series."""
    total: dict[Key, float] = {}
    for values in arm.counted.values():
        total = add_counts(total, values)
    return total


def merge_series(counters: Counters) -> dict[Key, float]:
    """All series of a target: a restart resets all of them."""
    requests: dict[Key, float] = {(False, series): value for series, value in counters.requests.items()}
    return requests | {(True, series): value for series, value in counters.events.items()}


def totals(values: Iterable[Values]) -> tuple[float, float]:
    """Total requests and events of series with the keys of :func:`merge_series`."""
    series = [(key, value) for target in values for key, value in target.items()]
    # fsum, whose result does not depend on the order of the series
    requests = math.fsum(value for key, value in series if not _is_event(key))
    return requests, math.fsum(value for key, value in series if _is_event(key))


def count_increments(
    *, canary: tuple[Scrape, Scrape], stable: tuple[Scrape, Scrape], events_required: bool = False
) -> Increments | NoData:
    """The increments between two scrapes.

    Events never exceed requests: the counters of a process are not read at the same instant, and an event that is
    counted before its request is omitted.

    Args:
        canary: Earlier and later scrape of the canary.
        stable: Earlier and later scrape of stable.
        events_required: Whether the result is no data if neither arm has a series of events. False if events are a
            label of the metric of requests, whose series appear with the first event. True if a wrong name must not be
            taken for zero events.
    """
    if events_required and not any(counters.events for _, later in (canary, stable) for counters in later.values()):
        return NO_EVENTS
    counts = []
    for name, scrapes in (("canary", canary), ("stable", stable)):
        arm = ArmCounts()
        for at, scrape in enumerate(scrapes):
            targets = {target: merge_series(counters) for target, counters in scrape.items()}
            arm = extend(arm, targets, dict.fromkeys(targets, float(at)))
        if arm.trouble is not None:
            return missing_in_arm(name, arm.trouble)
        counts.append(totals(arm.counted.values()))
    (canary_requests, canary_events), (stable_requests, stable_events) = counts
    return Increments(
        canary_requests, min(canary_events, canary_requests), stable_requests, min(stable_events, stable_requests)
    )


def _is_event(key: Key) -> bool:
    return isinstance(key, tuple) and key[0]


def _other_bins(earlier: Values, later: Values) -> bool:
    """Whether a target has other bins than before: then it is another process with the same name."""
    bins, before = ({key for key in values if not isinstance(key, tuple)} for values in (later, earlier))
    # a histogram may appear with its first request, so that no bins are not other bins
    return bool(before) and bins != before


def missing_in_arm(name: str, trouble: Cause) -> NoData:
    """The absence of data of one arm, as that of a sample.

    Args:
        name: The arm.
        trouble: Why it has no data.
    """
    return NoData(trouble.reason, f"{name}: {trouble.message}")


def _trouble(targets: Mapping[str, Values], shown: Mapping[str, Values], *, has_requests: bool) -> Cause:
    """Why a reading has no counts."""
    if not targets:
        return Cause("NoTargets", "no target responded")
    if not has_requests:
        return Cause("NoRequestSeries", "there is no series of requests")
    if not any(target in shown for target in targets):
        return Cause("NewTargets", "all targets are new since the previous scrape")
    return Cause("CountersRestarted", "counters have invalid values, or restarted in part")
