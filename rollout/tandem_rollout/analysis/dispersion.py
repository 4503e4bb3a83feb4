"""Dispersion of events: their variance relative to that of independent requests.

Two groups of stable's pods are compared, which differ by chance only. Of the k events of a sample a share
θ = n_a / (n_a + n_b) should belong to the first group, with the variance of a binomial. The conditional Pearson
dispersion is

    φ = max(1, 1/T Σ_t (k_a,t − k_t θ_t)² / (k_t θ_t (1 − θ_t)))

over the T samples with events. Bursts in both groups do not raise it. Bursts in one group do; they also raise the error
probabilities of :mod:`.sequential`, which divides its counts by φ. Bursts weigh more in larger groups and longer
samples: φ is exact for a first group with the canary's share, and higher, thus conservative, for two equal groups.

An incident of many samples in one arm cannot be distinguished from a bad canary, with φ or without.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tandem_rollout.analysis.counts import Increments, NoData

MIN_SAMPLES = 30
"""Minimum number of samples with events: without bursts the standard error is then 25 %."""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """A measured dispersion.

    Attributes:
        phi: φ, 1 or more.
        samples: Number of samples with events.
    """

    phi: float
    samples: int


def estimate_dispersion(
    samples: Iterable[Increments], *, least: int = MIN_SAMPLES, leave_out_worst: bool = False
) -> Dispersion | NoData:
    """The dispersion of stable, compared with itself.

    Args:
        samples: Samples before the rollout, with the first group of pods in the canary's place.
        least: Minimum number of samples with events.
        leave_out_worst: Whether the sample with the greatest deviation is omitted, so that one incident does not make
            the test insensitive.
    """
    deviations = sorted(_deviation(sample) for sample in samples if _tells(sample))
    if leave_out_worst:
        deviations = deviations[:-1]
    if len(deviations) < max(least, 1):
        return NoData(
            "TooFewSamples", f"dispersion needs {least} samples with events in stable, there are {len(deviations)}"
        )
    # a φ below 1 would multiply the evidence
    return Dispersion(max(1.0, math.fsum(deviations) / len(deviations)), len(deviations))


def _tells(sample: Increments) -> bool:
    # otherwise the expected variance, which is divided by, is 0
    return sample.canary_requests > 0 and sample.stable_requests > 0 and sample.canary_events + sample.stable_events > 0


def _deviation(sample: Increments) -> float:
    events = sample.canary_events + sample.stable_events
    theta = sample.canary_requests / (sample.canary_requests + sample.stable_requests)
    return (sample.canary_events - events * theta) ** 2 / (events * theta * (1.0 - theta))
