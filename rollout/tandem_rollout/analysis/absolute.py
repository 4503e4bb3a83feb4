"""Evidence that a rate is above a floor, for a canary that cannot be compared with stable: after its promotion.

The null hypothesis is a rate of at most f; the alternatives are the rates r f, with r and weights of
:data:`.priors.BAD`; for Poisson counts

    log E_r = k ln r − f (r − 1) n

E_r is a supermartingale for every rate up to f: by Ville's inequality it reaches 1/α with probability α at most.
"""

from __future__ import annotations

import math

import numpy as np

from tandem_rollout.analysis.likelihood import log_mixture
from tandem_rollout.analysis.priors import BAD


def update_absolute(
    so_far: tuple[float, ...], requests: float, events: float, floor: float, dispersion: float = 1.0
) -> tuple[float, ...]:
    """The evidence with one more sample, by components of the prior.

    Args:
        so_far: The evidence of the previous samples; empty if there are none.
        requests: Requests of the sample.
        events: Events among them.
        floor: f, above 0.
        dispersion: φ, which divides counts.
    """
    start = so_far or (0.0,) * len(BAD.values)
    # evidence is kept as logs, as a product over many samples leaves the range of floats
    return tuple(
        log + (events * math.log(r) - floor * (r - 1.0) * requests) / dispersion
        for log, r in zip(start, BAD.values, strict=True)
    )


def is_above_floor(evidence: tuple[float, ...], *, alpha: float, metrics: int = 1) -> bool:
    """Whether the rate is above the floor, for a number of metrics that can each roll back."""
    # the metrics share alpha, as each of them alone can roll back
    return bool(evidence) and float(log_mixture(np.asarray(evidence), BAD)) >= math.log(metrics / alpha)
