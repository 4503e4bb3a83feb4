"""Evidence about all metrics, of many rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.priors import Floats
from tandem_rollout.api.analysis import Metric
from tandem_rollout.simulation.drifts import Drifts
from tandem_rollout.simulation.evidence import VERDICTS, Bools, Ratios, SimulatedEvidence
from tandem_rollout.simulation.latencies import Latencies
from tandem_rollout.simulation.outage import SEEN, Codes
from tandem_rollout.simulation.stream import Counts
from tandem_rollout.simulation.traffic import Traffic


class SimulatedMetrics:
    """Evidence about all metrics.

    Args:
        metrics: The metrics, without those of type assignment.
        traffic: The traffic, which defines the counts of each metric.
        rollouts: Number of rollouts.
        phi: Dispersion by metric and rollout; by default 1.

    Raises:
        ValueError: The traffic has no counts for a metric.
    """

    def __init__(
        self, metrics: Sequence[Metric], traffic: Traffic, rollouts: int, phi: Mapping[str, Floats] | None = None
    ) -> None:
        gates = max(sum(metric.gate for metric in metrics), 1)
        self._rollouts = rollouts
        self._ratios: dict[str, tuple[str, Ratios]] = {}
        self._latencies: dict[str, Latencies] = {}
        self._drifts: dict[str, Drifts] = {}
        for metric in metrics:
            name = metric.full_name
            dispersion = (phi or {}).get(name)
            if metric.type == "drift":
                if traffic.bins is None:
                    raise ValueError(f"the traffic has no predictions for the metric {name}")
                bins = len(traffic.bins.stable)
                self._drifts[name] = Drifts(metric, rollouts, gates=gates, bins=bins, phi=dispersion)
            elif metric.type == "latency" and traffic.times is not None:
                self._latencies[name] = Latencies(metric, rollouts, gates=gates, times=traffic.times, phi=dispersion)
            else:
                ratios = Ratios(metric, rollouts, gates=gates, phi=dispersion)
                self._ratios[name] = traffic.key(metric), ratios
        by_name: dict[str, SimulatedEvidence] = {
            **{name: ratios for name, (_, ratios) in self._ratios.items()},
            **self._latencies,
            **self._drifts,
        }
        self._evidence = [by_name[metric.full_name] for metric in metrics]

    def add(
        self,
        sampled: Bools,
        trouble: Codes,
        counts: Counts,
        *,
        alone: Bools,
        bounds: tuple[Floats, Floats],
        baking: Bools,
        cold: Bools,
    ) -> Bools:
        """Add a sample.

        Args:
            sampled: Rollouts with a sample.
            trouble: Codes of missing data.
            counts: The counts.
            alone: Rollouts whose canary has all requests.
            bounds: Minimum and maximum share of the canary. They differ if its weight changed in the sample.
            baking: Rollouts whose canary is promoted.
            cold: Rollouts whose canary has cold caches, so that latency is not judged.

        Returns:
            Rollouts in which any metric has counts.
        """
        counted = np.zeros(len(sampled), np.bool_)
        changed = (bounds[0] < bounds[1]) & (trouble == SEEN)
        for key, ratios in self._ratios.values():
            ours, theirs = counts.events[key]
            counted |= ratios.add(
                sampled & ~alone,
                trouble,
                counts.canary,
                ours,
                counts.stable,
                theirs,
                baking=baking,
                bounds=bounds,
                cold=cold,
            )
            if alone.any():
                counted |= ratios.add_alone(sampled & alone, trouble, counts.canary, ours)
        for latencies in self._latencies.values():
            if counts.times is not None:
                counted |= latencies.add_times(
                    sampled & ~alone, trouble, *counts.times, baking=baking, bounds=bounds, cold=cold
                )
        for drifts in self._drifts.values():
            if counts.rows is not None:
                # drift needs a known share of the canary
                counted |= drifts.add(sampled & ~changed, trouble, *counts.rows)
        return counted

    def verdicts(self) -> npt.NDArray[np.int64]:
        """Verdicts of all metrics by rollout, as a number with one digit per metric, the last metric lowest."""
        total = np.zeros(self._rollouts, np.int64)
        for evidence in self._evidence:
            total = total * len(VERDICTS) + evidence.codes()
        return total

    def keep(self, kept: Bools) -> None:
        """Keep only some rollouts."""
        self._rollouts = int(kept.sum())
        for evidence in dict.fromkeys(self._evidence):
            evidence.keep(kept)
