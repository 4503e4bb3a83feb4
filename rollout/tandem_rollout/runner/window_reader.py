"""Reads the counters of both arms into windows, across changes of the names under which they are counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tandem_rollout.analysis.counts import NOTHING
from tandem_rollout.analysis.reading import Readings
from tandem_rollout.analysis.window import CountWindow, begin_window, extend_window
from tandem_rollout.api.analysis import Metric
from tandem_rollout.sources import Arms, MetricSource


class WindowReader:
    """Windows of the metrics of one run.

    Args:
        source: Where counters are read.

    Attributes:
        windows: Counts of each metric since evidence was last taken, by name.
        last_read: Time of the last reading, in seconds since the epoch; None before the first.
    """

    def __init__(self, source: MetricSource) -> None:
        self._source = source
        self._arms: Arms | None = None
        self.windows: Mapping[str, CountWindow] = {}
        self.last_read: float | None = None

    @property
    def begins(self) -> float:
        """The earliest scrape that a window counts from, in seconds since the epoch; infinite if there is none."""
        return min((window.begins for window in self.windows.values()), default=math.inf)

    def reset(self) -> None:
        """Forget all readings: another run begins."""
        self._arms, self.windows, self.last_read = None, {}, None

    def is_moved(self, arms: Arms) -> bool:
        """Whether an arm is counted under other names than at the last reading."""
        return self._arms is not None and _names(self._arms) != _names(arms)

    async def read(self, metrics: Sequence[Metric], arms: Arms, now: float) -> Readings:
        """Read the counters, and add them to the windows.

        Args:
            metrics: The metrics.
            arms: Where both arms are counted.
            now: Seconds since the epoch.

        Returns:
            The readings.
        """
        before, moved = self._arms, self.is_moved(arms)
        self._arms, self.last_read = arms, now
        # the old names first, under which the requests since the last reading were counted
        readings = await self._source.read(metrics, _under_old_names(arms, before) if before and moved else arms)
        self.windows = {
            metric.full_name: extend_window(
                self.windows.get(metric.full_name, CountWindow()), readings.get(metric.full_name, NOTHING), now
            )
            for metric in metrics
        }
        if moved:
            # another arm may have been counted before under a name that is new to this arm
            readings = await self._source.read(metrics, arms)
            self.windows = {
                # the series of histograms are merged, so that those of other traffic cannot be told apart
                name: extend_window(CountWindow(), readings.get(name, NOTHING), now)
                if window.binned and before and _traffic(before) != _traffic(arms)
                else begin_window(window, readings.get(name, NOTHING), now)
                for name, window in self.windows.items()
            }
        return readings


def _names(arms: Arms) -> list[tuple[tuple[str, ...], str]]:
    """The names that identify the counters of both arms: clusters of the gateway, and a label of the pods."""
    return [(location.clusters, location.traffic) for location in (arms.stable, arms.canary)]


def _traffic(arms: Arms) -> tuple[str, str]:
    return arms.stable.traffic, arms.canary.traffic


def _under_old_names(arms: Arms, before: Arms) -> Arms:
    """Where both arms are counted, under their names of the previous reading."""
    stable, canary = (
        replace(location, clusters=earlier.clusters, traffic=earlier.traffic)
        for location, earlier in ((arms.stable, before.stable), (arms.canary, before.canary))
    )
    return replace(arms, stable=stable, canary=canary)
