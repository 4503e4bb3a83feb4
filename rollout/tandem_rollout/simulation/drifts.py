"""Evidence about drift, of many rollouts."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis import distance, distance_evidence
from tandem_rollout.analysis.distance import DistanceEstimate, SampleSums
from tandem_rollout.analysis.priors import Floats
from tandem_rollout.api.analysis import Metric
from tandem_rollout.simulation.evidence import Bools, judge_codes
from tandem_rollout.simulation.outage import ABSENT, SEEN, Codes


class Drifts:
    """Evidence about drift.

    Args:
        metric: The metric.
        rollouts: Number of rollouts.
        gates: Number of metrics that can each roll back.
        bins: Number of bins of the histogram.
        phi: Minimum dispersion, by rollout.
    """

    def __init__(self, metric: Metric, rollouts: int, *, gates: int, bins: int, phi: Floats | None = None) -> None:
        self._metric = metric
        self._threshold = math.log(gates / metric.alpha)
        self._phi = np.ones(rollouts) if phi is None else phi
        nothing = np.zeros((rollouts, bins))
        self._sums = distance.sum_sample(nothing, nothing)
        self._fails, self._passes = np.zeros(rollouts, np.bool_), np.zeros(rollouts, np.bool_)
        self._missing = np.full(rollouts, ABSENT, np.int8)

    def add(self, sampled: Bools, trouble: Codes, canary: Floats, stable: Floats) -> Bools:
        """Add a sample.

        Args:
            sampled: Rollouts with a sample.
            trouble: Codes of missing data.
            canary: Rows of the canary by bin.
            stable: Rows of stable by bin.

        Returns:
            Rollouts with counts.
        """
        quiet = (canary.sum(axis=1) == 0.0) | (stable.sum(axis=1) == 0.0)
        counted: Bools = sampled & (trouble == SEEN) & ~quiet
        # rollouts without a sample keep what their last one missed
        self._missing = np.where(sampled, np.where((trouble == SEEN) & quiet, ABSENT, trouble), self._missing)
        mask = counted[:, None]
        more = distance.sum_sample(np.where(mask, canary, 0.0), np.where(mask, stable, 0.0))
        self._sums = SampleSums(
            *(before + after for before, after in zip(_arrays(self._sums), _arrays(more), strict=True))
        )
        self._judge(counted)
        return counted

    def _judge(self, counted: Bools) -> None:
        """Judge again. The evidence of rollouts with too few rows is not computed."""
        metric, least = self._metric, self._metric.min_rows
        at = np.flatnonzero(counted & (self._sums.canary.sum(axis=1) >= least))
        measured = distance.measure(_of(self._sums, at), self._phi[at])
        enough = measured.rows >= least
        # verdicts of drift are not final: each sample judges all rows again
        self._fails[at] = self._passes[at] = False
        at, measured = at[enough], DistanceEstimate(*(values[enough] for values in _arrays(measured)))
        self._fails[at] = distance_evidence.log_above(measured, metric.limit) >= self._threshold
        self._passes[at] = distance_evidence.log_below(measured, metric.limit) >= -math.log(metric.beta)

    def codes(self) -> Codes:
        """Codes of the verdicts, by rollout."""
        return judge_codes(self._fails, self._passes, self._missing, self._sums.samples > 0.0)

    def keep(self, kept: Bools) -> None:
        """Keep only some rollouts."""
        self._sums = _of(self._sums, kept)
        for name in ("_phi", "_fails", "_passes", "_missing"):
            setattr(self, name, getattr(self, name)[kept])


def _arrays(several: SampleSums | DistanceEstimate) -> list[Floats]:
    return [getattr(several, field.name) for field in fields(several)]


def _of(sums: SampleSums, rollouts: npt.NDArray[np.intp] | Bools) -> SampleSums:
    return SampleSums(*(values[rollouts] for values in _arrays(sums)))
