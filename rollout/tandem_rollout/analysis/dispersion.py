"""How much burstier events come than independent requests would make them.

Stable against stable, two groups of its pods: nothing differs but chance. Of the k events of a sample a share
θ = n_a / (n_a + n_b) should fall on the first group, with the variance of a binomial. Conditional Pearson dispersion is

    φ = max(1, 1/T Σ_t (k_a,t − k_t θ_t)² / (k_t θ_t (1 − θ_t)))

over the T samples that have events. Bursts that hit both groups do not raise it; those in one group do, and they are
what inflates the errors of :mod:`.sequential`, which divides its counts by φ. Bursts weigh more in larger groups and
longer samples: φ is that of the rollout where the first group has the canary's share; of two equal groups it is higher,
on the safe side.

An incident of many samples in one arm cannot be told from a bad canary, with φ or without.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tandem_rollout.analysis.counts import Increments, NoData

MIN_SAMPLES = 30
"""Samples with events that it takes: the standard error is then a quarter, without bursts."""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """A measured dispersion.

    Attributes:
        phi: φ, 1 or more.
        samples: Samples with events that it was measured on.
    """

    phi: float
    samples: int


def estimate_dispersion(
    samples: Iterable[Increments], *, least: int = MIN_SAMPLES, leave_out_worst: bool = False
) -> Dispersion | NoData:
    """Dispersion of stable against itself.

    Args:
        samples: Samples before the rollout, with the first group of pods in the canary's place.
        least: Samples with events that it takes.
        leave_out_worst: Leave out the sample with the greatest deviation, so that one incident does not blunt the test.
    """
    deviations = sorted(_deviation(sample) for sample in samples if _tells(sample))
    if leave_out_worst:
        deviations = deviations[:-1]
    if len(deviations) < max(least, 1):
        return NoData(
            "TooFewSamples", f"dispersion takes {least} ticks with events in stable, there are {len(deviations)}"
        )
    return Dispersion(max(1.0, math.fsum(deviations) / len(deviations)), len(deviations))


def _tells(sample: Increments) -> bool:
    return sample.canary_requests > 0 and sample.stable_requests > 0 and sample.canary_events + sample.stable_events > 0


def _deviation(sample: Increments) -> float:
    events = sample.canary_events + sample.stable_events
    theta = sample.canary_requests / (sample.canary_requests + sample.stable_requests)
    return (sample.canary_events - events * theta) ** 2 / (events * theta * (1.0 - theta))
