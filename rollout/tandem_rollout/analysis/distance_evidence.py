"""Evidence that a distance is above or below a limit, and what a decision takes. See :mod:`.distance`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from tandem_rollout.analysis.distance import Bools, DistanceEstimate
from tandem_rollout.analysis.hypergeometric import log_0f1
from tandem_rollout.analysis.priors import Floats

_ABOVE: Final = ((1.25, 1.5, 2.0, 3.0, 5.0, 10.0), (0.1, 0.25, 0.35, 0.15, 0.1, 0.05))
"""Alternatives above the limit, as multiples of it, and their weights."""


_BELOW: Final = ((0.0, 0.1, 0.25, 0.5, 0.6, 0.75), (0.05, 0.1, 0.2, 0.25, 0.25, 0.15))
"""Alternatives below the limit, and their weights. Most weight is 40 % below it, where most evidence is needed."""


_MAX_DISTANCE: Final = 1e3
"""Upper bound of distances."""


_MAX: Final = 1e9
"""Upper bound of the number of rows."""


# a geometric range needs an end above 0, and an unbiased estimate may be negative
_MIN: Final = 1e-6


_CUTS: Final = 64


_ROUNDS: Final = 3
"""Three rounds with 64 parts each leave 1e-4 of a range."""


def log_above(measured: DistanceEstimate, limit: float | Floats) -> Floats:
    """Log evidence that the true distance is above a limit."""
    return _evidence(measured, limit, *_ABOVE)


def log_below(measured: DistanceEstimate, limit: float | Floats) -> Floats:
    """Log evidence that the true distance is below a limit."""
    return _evidence(measured, limit, *_BELOW)


def passing_limit(measured: DistanceEstimate, beta: float) -> float:
    """The smallest limit that a distance is below, with an error probability of beta at most.

    Args:
        measured: The estimate of one distance.
        beta: Error probability, such as 0.008.
    """

    def passes(limits: Floats) -> Bools:
        return log_below(measured, limits) >= -math.log(beta)

    return _find_first(passes, max(float(measured.distance), _MIN), _MAX_DISTANCE)


def information_to_decide(distance: float, *, limit: float, error: float, freedom: float) -> float:
    """Expected information until it is decided on which side of the limit a distance is.

    Args:
        distance: The true distance.
        limit: The limit.
        error: Error probability: beta below the limit; above it alpha, divided by the number of gates.
        freedom: Degrees of freedom: the number of bins, less one.

    Returns:
        Approximate mean in rows; with the canary's share w, one of its rows has the information 1 − w. ``inf`` if it is
        never decided.
    """
    # at the limit no evidence grows for either side
    if distance == limit:
        return math.inf
    evidence = log_below if distance < limit else log_above

    def decides(information: Floats) -> Bools:
        same = np.ones_like(information)
        expected = DistanceEstimate(
            distance=same * distance,
            rows=same,
            dispersion=same,
            share=same,
            # the PSI of the counts is higher than the distance by its bias
            raw=distance + freedom / information,
            information=information,
            freedom=same * freedom,
        )
        return evidence(expected, limit) >= -math.log(error)

    return _find_first(decides, 1.0, _MAX)


def _find_first(holds: Callable[[Floats], Bools], low: float, high: float) -> float:
    """The smallest number of a range from which a condition holds; ``inf`` if it never does."""
    for _ in range(_ROUNDS):
        # one call for all numbers of a round costs less than a call for each step of a bisection
        numbers = np.geomspace(low, high, _CUTS)
        at = int(np.argmax(mask)) if (mask := holds(numbers)).any() else _CUTS
        if at == _CUTS:
            return math.inf
        low, high = float(numbers[max(at - 1, 0)]), float(numbers[at])
    return high


def _evidence(
    measured: DistanceEstimate, limit: float | Floats, multiples: tuple[float, ...], weights: tuple[float, ...]
) -> Floats:
    limits = np.asarray(limit)[..., None]
    logs = _log_density(measured, limits * multiples) - _log_density(measured, limits) + np.log(weights)
    # the largest term is factored out, as the exponential of strong evidence overflows
    most = logs.max(axis=-1)
    return np.asarray(most + np.log(np.exp(logs - most[..., None]).sum(axis=-1)), np.float64)


def _log_density(measured: DistanceEstimate, distances: Floats) -> Floats:
    """Log density of the noncentral χ² by its noncentrality, up to a constant; distances on the last axis."""
    information, freedom = measured.information[..., None], measured.freedom[..., None]
    statistic = np.asarray(measured.raw)[..., None] * information
    means = distances * information
    # factors that do not depend on the distance cancel out in the ratio of two densities
    return -means / 2.0 + log_0f1(freedom / 2.0, means * statistic / 4.0)
