"""Log likelihood ratios of samples, and mixtures of them: the arithmetic of :mod:`.sequential`."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.priors import BELOW_FLOOR, Floats, Prior

BAKE_WEIGHT = 0.1
"""δ, the weight of the samples since promotion, besides that of all samples. Before promotion a decision takes 2 % more
requests; after promotion it takes 50 % more than a separate test would."""


CHOSEN_WEIGHT = 0.5
"""For latency, the weight of the samples whose limit was chosen in the run, besides that of all samples. If both are
the same samples, it costs nothing. If a good limit was frozen before the run, a decision takes 14 % more requests. If a
bad limit was frozen, the samples with that limit are soon outweighed."""


FLOOR_WEIGHT = 0.2
"""ω, the weight of the floor, besides that of the ratio. A healthy canary with errors far above the floor takes 14 %
more requests with 1/2 than without a floor, and 5 % more with 1/5. A canary without errors takes 17 % more with 1/5."""


def ratio_increments(
    canary_requests: npt.ArrayLike,
    canary_events: npt.ArrayLike,
    stable_requests: npt.ArrayLike,
    stable_events: npt.ArrayLike,
    prior: Prior,
    null: float,
) -> Floats:
    """Log likelihood ratio of samples, for each ratio of a prior against the null.

    With θ written out it is k_c ln(r/r0) + (k_c + k_s) ln((n_c r0 + n_s) / (n_c r + n_s)).

    Args:
        canary_requests: n_c of one or many samples, of any shape, like the other counts.
        canary_events: k_c.
        stable_requests: n_s.
        stable_events: k_s.
        prior: Ratios r.
        null: Ratio r0.

    Returns:
        An array of the shape of the counts, with one more axis for the ratios. Zero for samples without events.
    """
    n_c, k_c, n_s, k_s = (
        np.asarray(counts, np.float64)[..., None]
        for counts in (canary_requests, canary_events, stable_requests, stable_events)
    )
    ratios = np.asarray(prior.values)
    # θ itself is not computed: it is 0 or 1 if one arm has no requests, and its log infinite
    has_requests = n_c + n_s > 0
    shift = np.log(np.where(has_requests, n_c * null + n_s, 1.0) / np.where(has_requests, n_c * ratios + n_s, 1.0))
    return np.asarray(k_c * np.log(ratios / null) + (k_c + k_s) * shift, np.float64)


def floor_increments(canary_requests: npt.ArrayLike, canary_events: npt.ArrayLike, floor: float) -> Floats:
    """Log evidence of samples that the canary's rate is below the floor, for each value of :data:`.priors.BELOW_FLOOR`.

    Returns:
        f (1 − ρ) n_c + k_c ln ρ: an array of the shape of the counts, with one more axis for the values of ρ.
    """
    n_c, k_c = (np.asarray(counts, np.float64)[..., None] for counts in (canary_requests, canary_events))
    rho = np.asarray(BELOW_FLOOR.values)
    return np.asarray(floor * (1.0 - rho) * n_c + k_c * np.log(rho), np.float64)


def log_mixture(logs: Floats, prior: Prior) -> Floats:
    """Log Σ π exp(log E) over the last axis."""
    terms = logs + np.log(prior.weights)
    # the largest term is factored out, as E of a long run leaves the range of floats
    most = terms.max(axis=-1, keepdims=True)
    return np.asarray(most[..., 0] + np.log(np.exp(terms - most).sum(axis=-1)), np.float64)


def log_with_floor(ratio: Floats, floor: Floats) -> Floats:
    """Log evidence for promotion by the ratio and by the floor together, from the logs of both."""
    # weighted means of E, not of its logs: only they are supermartingales
    return np.asarray(np.logaddexp(ratio + math.log1p(-FLOOR_WEIGHT), floor + math.log(FLOOR_WEIGHT)), np.float64)


def log_with_chosen(whole: Floats, chosen: Floats) -> Floats:
    """Log evidence for rollback by all samples and by those with a limit chosen in the run, from the logs of both."""
    return np.asarray(np.logaddexp(whole + math.log1p(-CHOSEN_WEIGHT), chosen + math.log(CHOSEN_WEIGHT)), np.float64)


def log_with_bake(whole: Floats, baking: Floats) -> Floats:
    """Log evidence for rollback by all samples and by those since promotion together, from the logs of both."""
    return np.asarray(np.logaddexp(whole + math.log1p(-BAKE_WEIGHT), baking + math.log(BAKE_WEIGHT)), np.float64)
