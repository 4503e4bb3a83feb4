"""The counts of one metric, of both arms, since evidence was last taken.

The weights of the route distribute requests, and they change between the scrapes of targets. Requests between two
scrapes may have come before or after a change of the weight: the canary's share of them is only known to be between two
bounds, the minimum and the maximum weight of that time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from tandem_rollout.analysis.counts import (
    NO_EVENTS,
    ArmCounts,
    Increments,
    Key,
    NoData,
    Values,
    extend,
    merge_series,
    missing_in_arm,
    take_counts,
    totals,
)
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Histograms, Reading
from tandem_rollout.analysis.sequential import Shares
from tandem_rollout.analysis.verdict import ProviderError, Trouble

ROUTE_DELAY_S: Final = 3.0
"""Seconds after a change of the weight in which the previous weight may still apply: proxies apply the change one by
one, and active requests are not moved."""

_UNREAD: Final = NoData("NothingRead", "nothing was read before")
_UNTOUCHED: Final = ArmCounts()
_EARLY: Final = ""
"""Target of events that were counted before their requests."""


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Counts since evidence was last taken.

    Attributes:
        canary: Counts of the canary.
        stable: Counts of stable.
        binned: Whether the counts are histograms.
        trouble: Why the last reading has no data of either arm; None if it may have.
    """

    canary: ArmCounts = _UNTOUCHED
    stable: ArmCounts = _UNTOUCHED
    binned: bool = False
    trouble: Trouble | None = _UNREAD

    @property
    def begins(self) -> float:
        """Time of the earliest scrape that the counts start from, in seconds since the epoch."""
        return min(self.canary.begins, self.stable.begins)

    @property
    def missing(self) -> Trouble | None:
        """Why the last reading does not have the counts of both arms; None if it has."""
        if self.trouble is not None:
            return self.trouble
        for name, arm in (("canary", self.canary), ("stable", self.stable)):
            if arm.trouble is not None:
                return missing_in_arm(name, arm.trouble)
        return None

    @property
    def increments(self) -> Increments:
        """The increments of counters.

        Events never exceed requests: the counters of a process are not read at the same instant, and an event whose
        request is not counted yet is part of the next sample.
        """
        canary, canary_events = totals(self.canary.counted.values())
        stable, stable_events = totals(self.stable.counted.values())
        return Increments(canary, min(canary_events, canary), stable, min(stable_events, stable))


def extend_window(window: CountWindow, reading: Reading, now: float) -> CountWindow:
    """The window with one more reading.

    Args:
        window: The previous window.
        reading: The reading. If it failed, the next reading is compared with the previous one.
        now: Time of the reading, in seconds since the epoch.
    """
    if isinstance(reading, NoData | ProviderError):
        return replace(window, trouble=reading)
    if isinstance(reading, CounterReading):
        canary, stable = (
            {target: merge_series(counters) for target, counters in scrape.items()}
            for scrape in (reading.canary, reading.stable)
        )
        # no errors yet and a wrong name in PromQL look alike: only the former is data
        has_events = reading.born or any(
            counters.events for scrape in (reading.canary, reading.stable) for counters in scrape.values()
        )
    else:
        canary, stable, has_events = _merged(reading.canary), _merged(reading.stable), True
    # counters from Prometheus are as old as its last scrape
    ours, theirs = ({target: reading.scraped.get(target, now) for target in arm} for arm in (canary, stable))
    return CountWindow(
        extend(window.canary, canary, ours),
        extend(window.stable, stable, theirs),
        isinstance(reading, HistogramReading),
        None if has_events else NO_EVENTS,
    )


def begin_window(window: CountWindow, reading: Reading, now: float) -> CountWindow:
    """The window in which new series begin with their present values.

    Args:
        window: The previous window.
        reading: The reading.
        now: Time of the reading, in seconds since the epoch.
    """
    if isinstance(reading, NoData | ProviderError):
        return window
    after = extend_window(CountWindow(), reading, now)
    return replace(window, canary=_begun(window.canary, after.canary), stable=_begun(window.stable, after.stable))


def _begun(arm: ArmCounts, after: ArmCounts) -> ArmCounts:
    shown = {
        # a known series keeps its base, so that its counts since then are not lost
        target: {series: arm.shown.get(target, {}).get(series, value) for series, value in values.items()}
        for target, values in after.shown.items()
    }
    # the earlier time is kept with the earlier base
    return replace(arm, shown={**arm.shown, **shown}, scraped={**after.scraped, **arm.scraped})


def close_window(window: CountWindow) -> CountWindow:
    """The window after evidence was taken from it."""
    return replace(window, canary=_taken(window.canary), stable=_taken(window.stable))


def possible_shares(window: CountWindow, weight: int, earlier: Mapping[int, float]) -> Shares:
    """Bounds of the canary's share of the requests in a window.

    Args:
        window: The window.
        weight: The canary's present percentage.
        earlier: Other percentages that it had, and until when, in seconds since the epoch.
    """
    # requests since the first scrape may have met any weight that applied after it
    weights = [weight, *(percentage for percentage, until in earlier.items() if until > window.begins)]
    return Shares(min(weights) / 100.0, max(weights) / 100.0)


def _merged(histograms: Histograms) -> dict[str, dict[Key, float]]:
    """One histogram for each target."""
    return {target: _sum(series.values()) for target, series in histograms.items()}


def _sum(histograms: Iterable[Mapping[float, float]]) -> dict[Key, float]:
    total: dict[Key, float] = {}
    for buckets in histograms:
        for edge, count in buckets.items():
            total[edge] = total.get(edge, 0.0) + count
    return total


def _taken(arm: ArmCounts) -> ArmCounts:
    requests, events = totals(arm.counted.values())
    # an event whose request is not counted yet waits for it
    early: dict[str, Values] = {_EARLY: {(True, _EARLY): events - requests}} if events > requests else {}
    return take_counts(arm, early)
