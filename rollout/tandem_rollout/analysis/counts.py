"""What the targets of one arm have counted, scrape by scrape, and one sample of both arms.

Counters belong to a *target*, the process that exports them. What a target has counted between two scrapes:

- The difference of each series; a series that is new in a known target was born at zero, as error counters are.
- After a restart, all since zero. A counter that fell, or is gone, tells of a restart. Where one fell and another, that
  was not zero before, did not, nobody can tell how much of the second is new: what the target shows is unplaced,
  neither counted nor forgotten.
- Nothing for a target that is new: what it had counted before its first scrape may be old.

A scrape that is missing, or has a value that is negative, absurdly high or not a number, is passed over: the next one
is held against the one before it. So every event between the first and the last scrape of a target is counted once, or
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
"""No counter of requests gets there; sums of what is below are finite."""


@dataclass(frozen=True, slots=True)
class NoData(Cause):
    """There is nothing to count."""


NOTHING: Final = NoData("NothingRead", "nothing was read")
NO_EVENTS: Final = NoData("NoEventSeries", "there is no series of events")

Key = tuple[bool, str] | float
"""A series of a target: whether it is of events, and its name; of a histogram the edge of a bucket."""

Values = Mapping[Key, float]
"""What a target shows, by series."""


@dataclass(frozen=True, slots=True)
class Increments:
    """What happened between two scrapes.

    Attributes:
        canary_requests: Requests that the canary answered.
        canary_events: Those of them that were events: errors, slow answers, degraded answers.
        stable_requests: Requests that stable answered.
        stable_events: Those of them that were events.
    """

    canary_requests: float
    canary_events: float
    stable_requests: float
    stable_events: float


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of one arm in one target, by series. Several series are summed.

    Attributes:
        requests: All requests.
        events: Requests that were events.
    """

    requests: Mapping[str, float]
    events: Mapping[str, float]


Scrape = Mapping[str, Counters]
"""Counters of one arm by target. A target that answered without a series of the arm is there, with empty counters; one
that did not answer is not."""


def increase(earlier: Mapping[_Key, float], later: Mapping[_Key, float]) -> dict[_Key, float] | None:
    """What the counters of one target have counted since the earlier scrape, by series.

    Args:
        earlier: Values by series.
        later: Values of the same target, later.

    Returns:
        The increases, or None where they cannot be told.
    """
    if not all(0.0 <= value <= _MAX for values in (earlier, later) for value in values.values()):
        return None
    if not _fell(earlier, later):
        return {series: value - earlier.get(series, 0.0) for series, value in later.items()}
    # a histogram that counts fewer in all has restarted, though a bucket of it be as full as before
    restarted = any(series == math.inf and value < earlier.get(series, 0.0) for series, value in later.items())
    if not restarted and any(value >= earlier.get(series, 0.0) > 0 for series, value in later.items()):
        return None
    return dict(later)


def _fell(earlier: Mapping[_Key, float], later: Mapping[_Key, float]) -> bool:
    return any(later.get(series, 0.0) < value for series, value in earlier.items())


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """What the targets of one arm have counted since its counts were last taken.

    Attributes:
        scraped: When each target was last scraped, in seconds since the epoch.
        shown: What each target showed then, by series.
        counted: Increases since counts were last taken, by target and series.
        begins: The earliest scrape that they are counted from; infinite where nothing is counted.
        unplaced: Of targets that restarted in part, what they showed afterwards, by series.
        trouble: Why the last reading brought nothing; None where it brought something.
    """

    scraped: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, Values] = field(default_factory=dict)
    counted: Mapping[str, Values] = field(default_factory=dict)
    begins: float = math.inf
    unplaced: Values = field(default_factory=dict)
    trouble: Cause | None = NOTHING


def extend(arm: ArmCounts, targets: Mapping[str, Values], scraped: Mapping[str, float]) -> ArmCounts:
    """The arm after one more reading.

    Args:
        arm: The arm before.
        targets: What each target shows, by series. One that did not answer is not there.
        scraped: When each was scraped, in seconds since the epoch.
    """
    times, shown, counted = dict(arm.scraped), dict(arm.shown), dict(arm.counted)
    begins, unplaced, brought = arm.begins, dict(arm.unplaced), False
    for target in sorted(targets):
        later = targets[target]
        if not all(0.0 <= value <= _MAX for value in later.values()):
            continue
        earlier = shown.get(target)
        since, times[target] = times.get(target, math.inf), scraped[target]
        if earlier is None or _other_bins(earlier, later):
            shown[target], unplaced = later, add_counts(unplaced, counted.pop(target, {}))
            continue
        increases = increase(earlier, later)
        if increases is None:
            shown[target], unplaced = later, add_counts(unplaced, later)
            continue
        shown[target] = later
        counted[target] = add_counts(counted.get(target, {}), increases)
        brought = True
        if any(increases.values()):
            begins = min(begins, since)
    has_requests = any(not _is_event(key) for values in targets.values() for key in values)
    trouble = None if brought and has_requests else _trouble(targets, arm.shown, has_requests=has_requests)
    return ArmCounts(times, shown, counted, begins, unplaced, trouble)


def take_counts(arm: ArmCounts, left: Mapping[str, Values] | None = None) -> ArmCounts:
    """The arm after its counts were taken.

    Args:
        arm: The arm.
        left: What was not taken, by target and series, and is part of the next counts.
    """
    return replace(arm, counted=left or {}, begins=arm.begins if left else math.inf, unplaced={})


def add_counts(values: Values, more: Values) -> dict[Key, float]:
    """Sums by series."""
    total = dict(values)
    for series, value in more.items():
        total[series] = total.get(series, 0.0) + value
    return total


def sum_targets(arm: ArmCounts) -> dict[Key, float]:
    """All that an arm has counted, by series."""
    total: dict[Key, float] = {}
    for values in arm.counted.values():
        total = add_counts(total, values)
    return total


def merge_series(counters: Counters) -> dict[Key, float]:
    """All series of a target: one restart resets them all."""
    requests: dict[Key, float] = {(False, series): value for series, value in counters.requests.items()}
    return requests | {(True, series): value for series, value in counters.events.items()}


def totals(values: Iterable[Values]) -> tuple[float, float]:
    """Requests and events of series that are named as :func:`merge_series` does."""
    series = [(key, value) for target in values for key, value in target.items()]
    requests = math.fsum(value for key, value in series if not _is_event(key))
    return requests, math.fsum(value for key, value in series if _is_event(key))


def count_increments(
    *, canary: tuple[Scrape, Scrape], stable: tuple[Scrape, Scrape], events_required: bool = False
) -> Increments | NoData:
    """The sample between two scrapes.

    Events are never more than requests: two counters of one process are not read at one instant, and an event that was
    counted before its request is left out.

    Args:
        canary: Earlier and later scrape of the canary.
        stable: Earlier and later scrape of stable.
        events_required: Whether it is no data when neither arm has a series of events. False where events are a label
            of the requests' own metric, whose series are born with the first event; true where a wrong name must not
            read as no events at all.
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
    """Whether a target counts in other bins than before: then it is another process by the same name."""
    bins, before = ({key for key in values if not isinstance(key, tuple)} for values in (later, earlier))
    return bool(before) and bins != before


def missing_in_arm(name: str, trouble: Cause) -> NoData:
    """What one arm lacks, said of both.

    Args:
        name: The arm.
        trouble: What it lacks.
    """
    return NoData(trouble.reason, f"{name}: {trouble.message}")


def _trouble(targets: Mapping[str, Values], shown: Mapping[str, Values], *, has_requests: bool) -> Cause:
    """Why a reading brought nothing."""
    if not targets:
        return Cause("NoTargets", "no target answered")
    if not has_requests:
        return Cause("NoRequestSeries", "there is no series of requests")
    if not any(target in shown for target in targets):
        return Cause("NewTargets", "no target was there in the scrape before")
    return Cause("CountersRestarted", "counters have values that cannot be, or restarted in part")
