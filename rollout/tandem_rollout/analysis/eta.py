"""Expected number of canary requests until a decision.

Per canary request there are p0 r events of the canary and p0 (1 − w)/w of stable, so that log E of each component grows
on average by

    g(r_j) = p0/φ [ r ln(r_j/r0) + (r + (1 − w)/w) ln((w r0 + 1 − w) / (w r_j + 1 − w)) ]

and that of the floor by [f (1 − ρ) + p0 r ln ρ] / φ. The result is the n at which log Σ π exp(n g) reaches the
threshold. It approximates the mean: random walks overshoot, and samples are an interval apart. Tests compare it with
simulations.
"""

from __future__ import annotations

import math

import numpy as np

from tandem_rollout.analysis.likelihood import FLOOR_WEIGHT, floor_increments, ratio_increments
from tandem_rollout.analysis.priors import BAD, BELOW_FLOOR, Floats
from tandem_rollout.analysis.sequential import RatioTest

# more halvings than a float has bits
_HALVINGS = 60


def to_promotion(test: RatioTest, *, rate: float, share: float, ratio: float = 1.0) -> float:
    """Canary requests until one metric passes.

    Args:
        test: The parameters of the test.
        rate: Stable's rate of events, p0.
        share: The canary's share of requests w, strictly between 0 and 1.
        ratio: The canary's rate over stable's.

    Returns:
        Approximate mean; ``inf`` if it never passes.
    """
    growth, weights = _growth(test, rate, share, ratio, margin=True), np.asarray(test.good.weights)
    if test.floor:
        floor = floor_increments(1.0, rate * ratio, test.floor) / test.dispersion
        growth = np.concatenate([growth, floor])
        # a mixture of two mixtures is one mixture with the products of the weights
        weights = np.concatenate([(1.0 - FLOOR_WEIGHT) * weights, FLOOR_WEIGHT * np.asarray(BELOW_FLOOR.weights)])
    return _reaches(growth, weights, -math.log(test.beta))


def to_rollback(test: RatioTest, *, rate: float, share: float, ratio: float, metrics: int = 1) -> float:
    """Canary requests until one metric fails.

    Args:
        test: The parameters of the test.
        rate: Stable's rate of events, p0.
        share: The canary's share of requests w, strictly between 0 and 1.
        ratio: The canary's rate over stable's.
        metrics: Number of metrics that can each roll back.

    Returns:
        Approximate mean; ``inf`` if it never fails.
    """
    growth = _growth(test, rate, share, ratio, margin=False)
    return _reaches(growth, np.asarray(BAD.weights), math.log(metrics / test.alpha))


def minutes(canary_requests: float, *, requests_per_second: float, share: float) -> float:
    """Minutes until the canary has a number of requests.

    Args:
        canary_requests: Requests of the canary.
        requests_per_second: Requests per second of both arms together.
        share: The canary's share of the requests.
    """
    canary = requests_per_second * share
    return canary_requests / canary / 60.0 if canary > 0 else math.inf


def _growth(test: RatioTest, rate: float, share: float, ratio: float, *, margin: bool) -> Floats:
    if not 0.0 < share < 1.0:
        raise ValueError("the canary's share must be strictly between 0 and 1")
    stable = (1.0 - share) / share
    prior, null = (test.good, test.margin) if margin else (BAD, 1.0)
    return ratio_increments(1.0, rate * ratio, stable, rate * stable, prior, null) / test.dispersion


def _reaches(growth: Floats, weights: Floats, threshold: float) -> float:
    """The n with log Σ π exp(n g) = threshold. The left side is 0 at 0 and convex, so there is at most one."""
    grows = growth > 0.0
    if not grows.any():
        return math.inf
    # at this n one component reaches the threshold without the others
    low, high = 0.0, float(np.min((threshold - np.log(weights[grows])) / growth[grows]))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        terms = np.log(weights) + middle * growth
        # the largest term is factored out, as exp(n g) overflows for many requests
        most = float(terms.max())
        if most + math.log(float(np.exp(terms - most).sum())) < threshold:
            low = middle
        else:
            high = middle
    return high
