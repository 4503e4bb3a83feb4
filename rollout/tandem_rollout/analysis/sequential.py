"""The conditional sequential test of the ratio of two rates.

Given that an event happened in sample t, it happened in the canary with probability θ_t(r) = n_c r / (n_c r + n_s),
where n are the requests of the sample in each arm and r is the canary's rate over stable's. The rate itself, and
everything that changes it in both arms, cancels out. With k the events of the sample,

    E(r0, π) = Σ_r π(r) Π_t [θ_t(r) / θ_t(r0)]^{k_c,t} [(1 − θ_t(r)) / (1 − θ_t(r0))]^{k_s,t}

is a martingale of mean 1 if r0 is true. If π lies above r0 it is a supermartingale for every r ≤ r0, and if π lies
below for every r ≥ r0 (monotone likelihood ratio). By Ville's inequality it ever reaches 1/α with probability α at
most: the test is valid at any time.

- Roll back when (1 − δ) E(1, π_bad) + δ E_bake(1, π_bad) ≥ k/α, for k metrics, δ = 1/10. E_bake is E of the samples
  since promotion only, and 1 until then. Evidence for a canary before its promotion says little about its behavior
  under the whole load, and E alone would have to outweigh it first. Both are martingales, so the probability stays α.
- Promote when E(R, π_good) ≥ 1/β; with a floor f, when (1 − ω) E(R, π_good) + ω E_floor ≥ 1/β, ω = 1/5, where

      E_floor = Σ_ρ π(ρ) Π_t exp(f (1 − ρ) n_c,t) ρ^{k_c,t},   ρ < 1

  is a supermartingale for every canary rate ≥ f, for Poisson and for binomial counts. The mean of both is one for a
  canary whose rate is both ≥ R times stable's and ≥ f; ω is small as most promotions are due to the ratio. Without a
  floor, two arms without events can never be compared.

If the weight changes in a sample, its requests had one share before and another share after the change, and it is not
known in which part an event happened. Both factors of an event of E(1, π_bad) fall as the canary's share rises, those
of E(R, π_good) rise. So E(1, π_bad) with the greatest possible share, and E(R, π_good) with the least, are not larger
than with the true shares: both remain supermartingales, whatever happened in both arms at the change. E_floor has no
shares.

Samples are never pooled: their shares differ, and weight and rate may rise together. To account for bursts in one arm,
counts are divided by their dispersion (:mod:`.dispersion`).

Source: Lindon and Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022, arXiv 2011.03567, the
conditional test for Poisson counts. The one-sided form, the floor and the priors were added here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tandem_rollout.analysis.counts import Increments
from tandem_rollout.analysis.likelihood import (
    floor_increments,
    log_mixture,
    log_with_bake,
    log_with_chosen,
    log_with_floor,
    ratio_increments,
)
from tandem_rollout.analysis.priors import BAD, BELOW_FLOOR, Floats, Prior, good_below


@dataclass(frozen=True, slots=True)
class RatioTest:
    """The parameters of the test. They are fixed before the first sample.

    Attributes:
        margin: R: a canary with this many times stable's rate must not be promoted.
        floor: Rate of events that is always acceptable, such as 0.002; 0 for none.
        alpha: Maximum probability of rolling back a canary that is not worse than stable.
        beta: Maximum probability of promoting a canary that is at the margin, or beyond.
        dispersion: φ ≥ 1, the variance of the counts relative to that of Poisson counts.

    Raises:
        ValueError: A parameter is out of its range.
    """

    margin: float = 2.0
    floor: float = 0.0
    alpha: float = 0.008
    beta: float = 0.008
    dispersion: float = 1.0

    def __post_init__(self) -> None:
        # these conditions are also false for NaN
        if not 1.0 < self.margin < math.inf:
            raise ValueError("the margin must be a ratio above 1")
        if not 0.0 <= self.floor < 1.0:
            raise ValueError("the floor must be a share of requests, from 0 to below 1")
        if not (0.0 < self.alpha < 1.0 and 0.0 < self.beta < 1.0):
            raise ValueError("alpha and beta must be probabilities")
        if not 1.0 <= self.dispersion < math.inf:
            raise ValueError("the dispersion must be 1 or more")

    @property
    def good(self) -> Prior:
        """The prior of good ratios."""
        return good_below(self.margin)


class Shares(NamedTuple):
    """Bounds of the canary's share of the requests.

    Attributes:
        low: Minimum share, from 0 to 1.
        high: Maximum share.
    """

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether the share is known, as the weight did not change."""
        return self.low == self.high


@dataclass(frozen=True, slots=True)
class RatioEvidence:
    """Evidence of all samples: log E of each component of the priors, and totals for display.

    Attributes:
        bad: Of :data:`.priors.BAD`, against a ratio of 1.
        good: Of the test's good ratios, against its margin.
        floor: Of :data:`.priors.BELOW_FLOOR`, against the floor.
        samples: Number of samples.
        canary_requests: Requests of the canary in all samples.
        canary_events: Events of the canary.
        stable_requests: Requests of stable.
        stable_events: Events of stable.
    """

    bad: tuple[float, ...]
    good: tuple[float, ...]
    floor: tuple[float, ...]
    samples: int = 0
    canary_requests: float = 0.0
    canary_events: float = 0.0
    stable_requests: float = 0.0
    stable_events: float = 0.0


def start(test: RatioTest) -> RatioEvidence:
    """Evidence of no sample."""
    return RatioEvidence((0.0,) * len(BAD.values), (0.0,) * len(test.good.values), (0.0,) * len(BELOW_FLOOR.values))


def update(
    test: RatioTest,
    evidence: RatioEvidence,
    sample: Increments,
    *,
    speaks_for: bool = True,
    shares: Shares | None = None,
) -> RatioEvidence:
    """Evidence with one more sample.

    Args:
        test: The parameters of the test.
        evidence: The evidence of the previous samples.
        sample: The sample.
        speaks_for: Whether the sample may be evidence for the canary, and not only against it. This must be known
            before the sample is.
        shares: Bounds of the canary's share if its weight changed in the sample; otherwise None.

    Raises:
        ValueError: The evidence belongs to another test.
    """
    good = test.good
    if (len(evidence.bad), len(evidence.good)) != (len(BAD.values), len(good.values)):
        raise ValueError("the evidence and the test have different numbers of components: it belongs to another test")
    # evidence for the canary is weakest with the least share that is possible
    least, _ = _bounds(sample, shares)
    floor = floor_increments(sample.canary_requests, sample.canary_events, test.floor)
    return RatioEvidence(
        worse(test, evidence.bad, sample, shares),
        _add_increments(evidence.good, ratio_increments(*_counts(sample, least), good, test.margin), test.dispersion)
        if speaks_for
        else evidence.good,
        _add_increments(evidence.floor, floor, test.dispersion) if test.floor and speaks_for else evidence.floor,
        evidence.samples + 1,
        evidence.canary_requests + sample.canary_requests,
        evidence.canary_events + sample.canary_events,
        evidence.stable_requests + sample.stable_requests,
        evidence.stable_events + sample.stable_events,
    )


def worse(
    test: RatioTest, so_far: tuple[float, ...], sample: Increments, shares: Shares | None = None
) -> tuple[float, ...]:
    """Log E(1, π_bad) with one more sample, by components: :attr:`Evidence.bad`.

    Args:
        test: The parameters of the test.
        so_far: The value of the previous samples; empty if there are none.
        sample: The sample.
        shares: Bounds of the canary's share if its weight changed in the sample; otherwise None.
    """
    # evidence against the canary is weakest with the greatest share that is possible
    _, greatest = _bounds(sample, shares)
    counts = _counts(sample, greatest)
    return _add_increments(so_far or (0.0,) * len(BAD.values), ratio_increments(*counts, BAD, 1.0), test.dispersion)


def _bounds(sample: Increments, shares: Shares | None) -> tuple[float | None, float | None]:
    """Minimum and maximum share of the canary; None if it is that of the sample's requests."""
    if shares is None:
        return None, None
    requests = sample.canary_requests + sample.stable_requests
    # by chance the requests may fall outside of the bounds
    measured = (sample.canary_requests / requests,) if requests else ()
    return min(shares.low, *measured), max(shares.high, *measured)


def _counts(sample: Increments, share: float | None) -> tuple[float, float, float, float]:
    """Requests and events for :func:`.likelihood.ratio_increments`, which depends only on the share of the requests."""
    if share is None:
        return sample.canary_requests, sample.canary_events, sample.stable_requests, sample.stable_events
    return share, sample.canary_events, 1.0 - share, sample.stable_events


def log_rollback(evidence: RatioEvidence) -> float:
    """Log E(1, π_bad): evidence that the canary is worse than stable."""
    return float(log_mixture(np.asarray(evidence.bad), BAD))


def log_promotion(test: RatioTest, evidence: RatioEvidence) -> float:
    """Log evidence that the canary is below the margin or, with a floor, below the floor."""
    return float(log_promotion_of(test, np.asarray(evidence.good), np.asarray(evidence.floor)))


def rolls_back(
    test: RatioTest,
    evidence: RatioEvidence,
    *,
    baking: tuple[float, ...] = (),
    chosen: tuple[float, ...] | None = None,
    metrics: int = 1,
) -> bool:
    """Whether the canary is worse than stable.

    Args:
        test: The parameters of the test.
        evidence: Evidence of all samples.
        baking: :func:`worse` of the samples since promotion; empty before.
        chosen: :func:`worse` of the samples whose limit was chosen in the run; empty before. None for metrics without a
            limit.
        metrics: Number of metrics that can each roll back.
    """
    whole = np.asarray(log_rollback(evidence))
    if chosen is not None:
        whole = log_with_chosen(whole, log_mixture(np.asarray(chosen), BAD) if chosen else np.zeros(()))
    # E of no sample is 1, and its log 0
    since = log_mixture(np.asarray(baking), BAD) if baking else np.zeros(())
    return float(log_with_bake(whole, since)) >= math.log(metrics / test.alpha)


def promotes(test: RatioTest, evidence: RatioEvidence) -> bool:
    """Whether the metric passes. Promotion needs all metrics, so that their number does not change the threshold."""
    return log_promotion(test, evidence) >= -math.log(test.beta)


def log_promotion_of(test: RatioTest, good: Floats, floor: Floats) -> Floats:
    """:func:`log_promotion` of many runs: components on the last axis."""
    ratio = log_mixture(good, test.good)
    return log_with_floor(ratio, log_mixture(floor, BELOW_FLOOR)) if test.floor else ratio


def _add_increments(logs: tuple[float, ...], increments: Floats, dispersion: float) -> tuple[float, ...]:
    # logs are linear in the counts, so that this divides the counts by φ
    return tuple(log + float(added) / dispersion for log, added in zip(logs, increments, strict=True))
