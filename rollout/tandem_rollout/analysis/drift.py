"""Drift: the distance of the distributions of both arms' predictions.

Predictions are counted in the bins of the histogram ``tandem_prediction``, whose edges are part of the contract. See
:mod:`.distance` for the distance and its test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from tandem_rollout.analysis import distance
from tandem_rollout.analysis.counts import ArmCounts, NoData
from tandem_rollout.analysis.distance import DistanceEstimate, SampleSums
from tandem_rollout.analysis.priors import Floats


@dataclass(frozen=True, slots=True)
class DriftEvidence:
    """The evidence of all samples: :class:`.distance.SampleSums` in a form that can be stored.

    Attributes:
        canary: Rows of the canary by bin.
        stable: Rows of stable by bin.
        ours: Weighted shares of the canary's rows by bin, summed over samples.
        theirs: Weighted shares of stable's rows by bin.
        squares: Weighted squared differences of the shares by bin.
        share: Weighted shares of the canary in the samples.
        samples: Number of samples with rows of both arms.
    """

    canary: tuple[float, ...]
    stable: tuple[float, ...]
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    squares: tuple[float, ...]
    share: float
    samples: float


def start(bins: int) -> DriftEvidence:
    """The evidence before the first sample."""
    nothing = (0.0,) * bins
    return DriftEvidence(nothing, nothing, nothing, nothing, nothing, 0.0, 0.0)


def update(evidence: DriftEvidence, canary: Sequence[float], stable: Sequence[float]) -> DriftEvidence:
    """The evidence with one more sample. A sample in which one arm has no rows is ignored.

    Args:
        evidence: The evidence of the previous samples.
        canary: Rows of the canary in each bin.
        stable: Rows of stable in each bin.

    Raises:
        ValueError: The number of bins differs from that of the evidence.
    """
    if not len(evidence.canary) == len(canary) == len(stable):
        raise ValueError("the rows have another number of bins than the evidence")
    more = distance.sum_sample(np.asarray(canary, np.float64), np.asarray(stable, np.float64))
    # both classes have the same fields in the same order
    *by_bin, share, samples = (before + after for before, after in zip(_arrays(evidence), astuple(more), strict=True))
    # tuples of floats, which msgspec writes and reads without loss
    canary_, stable_, ours, theirs, squares = (tuple(values.tolist()) for values in by_bin)
    return DriftEvidence(canary_, stable_, ours, theirs, squares, float(share), float(samples))


def measure(evidence: DriftEvidence, dispersion: float = 1.0) -> DistanceEstimate:
    """Estimate the distance.

    Args:
        evidence: Evidence of at least one sample.
        dispersion: Minimum of φ.
    """
    return distance.measure(SampleSums(*_arrays(evidence)), dispersion)


def estimate(evidence: DriftEvidence, dispersion: float = 1.0) -> float:
    """The unbiased distance, and at least 0; 0 without rows."""
    return max(float(measure(evidence, dispersion).distance), 0.0) if evidence.samples else 0.0


def _arrays(evidence: DriftEvidence) -> list[Floats]:
    return [np.asarray(value, np.float64) for value in astuple(evidence)]


def rows(canary: ArmCounts, stable: ArmCounts) -> tuple[tuple[float, ...], tuple[float, ...]] | NoData:
    """Rows of canary and stable in each bin, summed over targets.

    Args:
        canary: Histograms of the canary.
        stable: Histograms of stable.
    """
    counted = [_bins(name, arm) for name, arm in (("canary", canary), ("stable", stable))]
    for arm in counted:
        if isinstance(arm, NoData):
            return arm
    ours, theirs = (arm for arm in counted if not isinstance(arm, NoData))
    if ours.keys() != theirs.keys():
        return NoData("DifferentBins", "canary and stable have different bins of predictions")
    return tuple(ours.values()), tuple(theirs.values())


def _bins(name: str, arm: ArmCounts) -> dict[float, float] | NoData:
    histograms = [
        {edge: count for edge, count in values.items() if not isinstance(edge, tuple)}
        for values in arm.counted.values()
        if values
    ]
    if not histograms:
        return NoData("NoHistogram", f"{name}: no histogram of predictions was read in two scrapes")
    edges = sorted(histograms[0])
    if any(sorted(histogram) != edges for histogram in histograms):
        return NoData("DifferentBins", f"{name}: targets have different bins of predictions")
    # buckets are not read at the same instant, so that one may be behind the bucket below it
    below = [math.fsum(histogram[edge] for histogram in histograms) for edge in edges]
    return {edge: max(0.0, b - a) for edge, a, b in zip(edges, [0.0, *below], below, strict=False)}
