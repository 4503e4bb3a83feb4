"""What both arms have counted of one metric since evidence was last taken from it.

Requests are shared out by the weights of the route, and those change while targets are scraped at times of their own.
What was counted between two scrapes while the weight changed may have come before the change or after it: the canary's
share of those requests is only known to lie between two bounds, the least and the greatest weight of that time.
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
"""Seconds after a route has a weight in which requests may still be shared out by the one before: proxies take it one
by one, and requests that are on their way end as they began."""

_UNREAD: Final = NoData("NothingRead", "nothing was read before")
_UNTOUCHED: Final = ArmCounts()
_EARLY: Final = ""
"""Target of events that were counted before their requests."""


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Counts since evidence was last taken.

    Attributes:
        canary: Of the canary.
        stable: Of stable.
        binned: Whether they are histograms.
        trouble: Why the last reading of the metric brought nothing for either arm; None where it may have.
    """

    canary: ArmCounts = _UNTOUCHED
    stable: ArmCounts = _UNTOUCHED
    binned: bool = False
    trouble: Trouble | None = _UNREAD

    @property
    def begins(self) -> float:
        """The earliest scrape that something is counted from, in seconds since the epoch."""
        return min(self.canary.begins, self.stable.begins)

    @property
    def missing(self) -> Trouble | None:
        """Why the last reading does not say what both arms have counted; None where it does."""
        if self.trouble is not None:
            return self.trouble
        for name, arm in (("canary", self.canary), ("stable", self.stable)):
            if arm.trouble is not None:
                return missing_in_arm(name, arm.trouble)
        return None

    @property
    def increments(self) -> Increments:
        """Requests and events of counters.

        Events are never more than requests: two counters of one process are not read at one instant, and an event whose
        request is not counted yet waits for it.
        """
        canary, canary_events = totals(self.canary.counted.values())
        stable, stable_events = totals(self.stable.counted.values())
        return Increments(canary, min(canary_events, canary), stable, min(stable_events, stable))


def extend_window(window: CountWindow, reading: Reading, now: float) -> CountWindow:
    """The window after one more reading.

    Args:
        window: The window before.
        reading: What was read. Where that failed, the next reading is held against the one before it.
        now: When it was read, in seconds since the epoch.
    """
    if isinstance(reading, NoData | ProviderError):
        return replace(window, trouble=reading)
    if isinstance(reading, CounterReading):
        canary, stable = (
            {target: merge_series(counters) for target, counters in scrape.items()}
            for scrape in (reading.canary, reading.stable)
        )
        has_events = reading.born or any(
            counters.events for scrape in (reading.canary, reading.stable) for counters in scrape.values()
        )
    else:
        canary, stable, has_events = _merged(reading.canary), _merged(reading.stable), True
    ours, theirs = ({target: reading.scraped.get(target, now) for target in arm} for arm in (canary, stable))
    return CountWindow(
        extend(window.canary, canary, ours),
        extend(window.stable, stable, theirs),
        isinstance(reading, HistogramReading),
        None if has_events else NO_EVENTS,
    )


def begin_window(window: CountWindow, reading: Reading, now: float) -> CountWindow:
    """The window with what was not shown before taken as it is: it is counted from now on.

    Args:
        window: The window before.
        reading: What was read.
        now: When it was read, in seconds since the epoch.
    """
    if isinstance(reading, NoData | ProviderError):
        return window
    after = extend_window(CountWindow(), reading, now)
    return replace(window, canary=_begun(window.canary, after.canary), stable=_begun(window.stable, after.stable))


def _begun(arm: ArmCounts, after: ArmCounts) -> ArmCounts:
    shown = {
        target: {series: arm.shown.get(target, {}).get(series, value) for series, value in values.items()}
        for target, values in after.shown.items()
    }
    return replace(arm, shown={**arm.shown, **shown}, scraped={**after.scraped, **arm.scraped})


def close_window(window: CountWindow) -> CountWindow:
    """The window after evidence was taken from it."""
    return replace(window, canary=_taken(window.canary), stable=_taken(window.stable))


def possible_shares(window: CountWindow, weight: int, earlier: Mapping[int, float]) -> Shares:
    """The shares of the requests that the canary may have had.

    Args:
        window: The window.
        weight: The canary's percentage now.
        earlier: Other percentages that it had, and until when, in seconds since the epoch.
    """
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
    early: dict[str, Values] = {_EARLY: {(True, _EARLY): events - requests}} if events > requests else {}
    return take_counts(arm, early)
