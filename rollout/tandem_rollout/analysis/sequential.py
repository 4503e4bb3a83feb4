"""The conditional sequential test of the ratio of two rates.

Given that an event happened in sample t, it fell on the canary with probability θ_t(r) = n_c r / (n_c r + n_s), where n
are the requests of the sample in each arm and r is the canary's rate over stable's. The rate itself, and whatever moves
it in both arms, has gone. With k the events of the sample,

    E(r0, π) = Σ_r π(r) Π_t [θ_t(r) / θ_t(r0)]^{k_c,t} [(1 − θ_t(r)) / (1 − θ_t(r0))]^{k_s,t}

is a martingale of mean 1 if r0 is true. If π lies above r0 it is a supermartingale for every r ≤ r0, and if π lies
below for every r ≥ r0 (monotone likelihood ratio). By Ville's inequality it ever reaches 1/α with probability α at
most: the test may be read at any time.

- Roll back when (1 − δ) E(1, π_bad) + δ E_bake(1, π_bad) ≥ k/α, for k metrics, δ = 1/10. E_bake is E of the samples
  since promotion only, and 1 until then. What spoke for a canary before it was promoted says little of how it bears the
  whole load, and would have to be outweighed first; both are martingales, so the chance stays α over the whole run.
- Promote when E(R, π_good) ≥ 1/β; with a floor f, when (1 − ω) E(R, π_good) + ω E_floor ≥ 1/β, ω = 1/5, where

      E_floor = Σ_ρ π(ρ) Π_t exp(f (1 − ρ) n_c,t) ρ^{k_c,t},   ρ < 1

  is a supermartingale for every canary rate ≥ f, for Poisson and for binomial counts. The mean of both is one for a
  canary whose rate is both ≥ R times stable's and ≥ f; ω is small as most promotions come by the ratio. Without a
  floor, two arms without events are never told apart.

Where the weight changes in a sample, its requests had one share before and another after, and which of them an event
fell among is not known. Both factors of an event of E(1, π_bad) fall as the canary's share rises, those of E(R, π_good)
rise. So with the greatest share that the canary may have had E(1, π_bad) is no more than with the true ones, and with
the least E(R, π_good) is: both stay supermartingales, whatever befell both arms at the change. E_floor has no shares.

Samples are never pooled: their shares differ, and weight and rate may rise together. Bursts in one arm are answered by
dividing counts by their dispersion (:mod:`.dispersion`).

Source: Lindon and Malek, Anytime-Valid Inference for Multinomial Count Data, NeurIPS 2022, arXiv 2011.03567, the
conditional test for Poisson counts. The one-sided form, the floor and the priors are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.counts import Increments

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prior:
    """Weights on values of a parameter; they sum to 1.

    Attributes:
        values: Ratios of rates.
        weights: Their weights.

    Raises:
        ValueError: The weights are not a distribution over the values.
    """

    values: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.weights) or min(self.weights) <= 0:
            raise ValueError("a prior has one positive weight for each value")
        if not math.isclose(math.fsum(self.weights), 1.0):
            raise ValueError(f"weights of a prior sum to 1, not to {math.fsum(self.weights)}")
        if min(self.values) <= 0:
            raise ValueError("ratios of a prior are positive")


BAD = Prior((1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0), (0.05, 0.2, 0.35, 0.15, 0.1, 0.07, 0.05, 0.03))
"""Ratios of bad canaries."""

GOOD = Prior((0.25, 0.5, 0.75, 1.0, 1.25, 1.5), (0.05, 0.1, 0.15, 0.55, 0.1, 0.05))
"""Ratios of good canaries, for margins above 1.5."""

BELOW_FLOOR = Prior((0.01, 0.1, 0.25, 0.5), (0.7, 0.15, 0.1, 0.05))
"""Rates of good canaries, over the floor. Most weight is on none: the floor is for what has almost no events."""


BAKE_WEIGHT = 0.1
"""δ, the weight of the samples since promotion beside that of all. Until promotion it takes a fiftieth more requests,
and after it half as many again as a test of its own would."""

CHOSEN_WEIGHT = 0.5
"""Of latency: the weight of the samples whose limit was chosen in the run, beside that of all. Where both are the same
samples nothing is lost; where the limit was frozen well before the run, a decision takes a seventh more requests, and
where it was frozen badly, what was counted at it is soon outweighed."""

FLOOR_WEIGHT = 0.2
"""ω, the weight of the floor beside the ratio. With 1/2, a healthy canary with errors far above the floor would take a
seventh more requests than without a floor, with 1/5 a twentieth. One without errors takes a sixth more with 1/5."""


def good_below(margin: float) -> Prior:
    """The part of :data:`GOOD` that lies below a margin, weights scaled to sum to 1."""
    components = [(value, weight) for value, weight in zip(GOOD.values, GOOD.weights, strict=True) if value < margin]
    total = math.fsum(weight for _, weight in components)
    return Prior(tuple(value for value, _ in components), tuple(weight / total for _, weight in components))


@dataclass(frozen=True, slots=True)
class RatioTest:
    """What is tested. It is fixed before the first sample and stays while its evidence is kept.

    Attributes:
        margin: R: a canary with this many times stable's rate must not be promoted.
        floor: Rate of events that nobody would mind, like 0.002; 0 for none.
        alpha: Chance at most to roll back a canary that is no worse than stable.
        beta: Chance at most to promote a canary that is at the margin, or beyond.
        dispersion: φ ≥ 1, how many times the variance of Poisson counts that of the events is.

    Raises:
        ValueError: A number is out of its range.
    """

    margin: float = 2.0
    floor: float = 0.0
    alpha: float = 0.008
    beta: float = 0.008
    dispersion: float = 1.0

    def __post_init__(self) -> None:
        if not 1.0 < self.margin < math.inf:
            raise ValueError("the margin is a ratio above 1")
        if not 0.0 <= self.floor < 1.0:
            raise ValueError("the floor is a share of requests, from 0 to below 1")
        if not (0.0 < self.alpha < 1.0 and 0.0 < self.beta < 1.0):
            raise ValueError("alpha and beta are probabilities")
        if not 1.0 <= self.dispersion < math.inf:
            raise ValueError("the dispersion is 1 or more")

    @property
    def good(self) -> Prior:
        """Ratios that promotion bets on."""
        return good_below(self.margin)


class Shares(NamedTuple):
    """Bounds of the canary's share of the requests while its weight changed.

    Attributes:
        low: The least, from 0 to 1.
        high: The greatest.
    """

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether the weight did not change."""
        return self.low == self.high


@dataclass(frozen=True, slots=True)
class RatioEvidence:
    """Evidence so far: log E of each component of the priors, and totals to show.

    Attributes:
        bad: Of :data:`BAD`, against a ratio of 1.
        good: Of the test's good ratios, against its margin.
        floor: Of :data:`BELOW_FLOOR`, against the floor.
        samples: Samples counted.
        canary_requests: Requests of the canary in all samples; so with the others.
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
        test: What is tested.
        evidence: Evidence so far.
        sample: The sample.
        speaks_for: Whether it may speak for the canary; otherwise only against it. To be known before the sample is.
        shares: Bounds of the canary's share where its weight changed in the sample; None where it did not.

    Raises:
        ValueError: The evidence is of another test.
    """
    good = test.good
    if (len(evidence.bad), len(evidence.good)) != (len(BAD.values), len(good.values)):
        raise ValueError("the evidence has not as many components as the test: it was gathered for another one")
    least, _ = _bounds(sample, shares)
    floor = floor_increments(sample.canary_requests, sample.canary_events, test.floor)
    return RatioEvidence(
        worse(test, evidence.bad, sample, shares),
        _plus(evidence.good, ratio_increments(*_counts(sample, least), good, test.margin), test.dispersion)
        if speaks_for
        else evidence.good,
        _plus(evidence.floor, floor, test.dispersion) if test.floor and speaks_for else evidence.floor,
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
        test: What is tested.
        so_far: The same before; empty for no sample.
        sample: The sample.
        shares: Bounds of the canary's share where its weight changed in the sample; None where it did not.
    """
    _, greatest = _bounds(sample, shares)
    counts = _counts(sample, greatest)
    return _plus(so_far or (0.0,) * len(BAD.values), ratio_increments(*counts, BAD, 1.0), test.dispersion)


def _bounds(sample: Increments, shares: Shares | None) -> tuple[float | None, float | None]:
    """Least and greatest share of the canary; None where it is that of the sample's requests."""
    if shares is None:
        return None, None
    requests = sample.canary_requests + sample.stable_requests
    measured = (sample.canary_requests / requests,) if requests else ()
    return min(shares.low, *measured), max(shares.high, *measured)


def _counts(sample: Increments, share: float | None) -> tuple[float, float, float, float]:
    """Requests and events for :func:`ratio_increments`, which takes only the share of the requests."""
    if share is None:
        return sample.canary_requests, sample.canary_events, sample.stable_requests, sample.stable_events
    return share, sample.canary_events, 1.0 - share, sample.stable_events


def log_rollback(evidence: RatioEvidence) -> float:
    """Log E(1, π_bad): evidence that the canary is worse than stable."""
    return float(log_mixture(np.asarray(evidence.bad), BAD))


def log_promotion(test: RatioTest, evidence: RatioEvidence) -> float:
    """Log evidence that the canary is below the margin or, where there is a floor, below the floor."""
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
        test: What is tested.
        evidence: Evidence of all samples.
        baking: :func:`worse` of those since promotion; empty before.
        chosen: :func:`worse` of those whose limit was chosen in the run; empty before, None where there are no limits.
        metrics: Metrics that may each say so.
    """
    whole = np.asarray(log_rollback(evidence))
    if chosen is not None:
        whole = log_with_chosen(whole, log_mixture(np.asarray(chosen), BAD) if chosen else np.zeros(()))
    since = log_mixture(np.asarray(baking), BAD) if baking else np.zeros(())
    return float(log_with_bake(whole, since)) >= math.log(metrics / test.alpha)


def promotes(test: RatioTest, evidence: RatioEvidence) -> bool:
    """Whether the canary is good by this metric. Promotion needs all metrics, so their number does not matter."""
    return log_promotion(test, evidence) >= -math.log(test.beta)


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
        canary_requests: n_c of one or many samples, of any shape; so with the others.
        canary_events: k_c.
        stable_requests: n_s.
        stable_events: k_s.
        prior: Ratios r.
        null: Ratio r0.

    Returns:
        The shape of the counts, and one axis more for the ratios. Zero for samples without events.
    """
    n_c, k_c, n_s, k_s = (
        np.asarray(counts, np.float64)[..., None]
        for counts in (canary_requests, canary_events, stable_requests, stable_events)
    )
    ratios = np.asarray(prior.values)
    has_requests = n_c + n_s > 0
    shift = np.log(np.where(has_requests, n_c * null + n_s, 1.0) / np.where(has_requests, n_c * ratios + n_s, 1.0))
    return np.asarray(k_c * np.log(ratios / null) + (k_c + k_s) * shift, np.float64)


def floor_increments(canary_requests: npt.ArrayLike, canary_events: npt.ArrayLike, floor: float) -> Floats:
    """Log evidence of samples that the canary's rate is below the floor, for each value of :data:`BELOW_FLOOR`.

    Returns:
        f (1 − ρ) n_c + k_c ln ρ: the shape of the counts, and one axis more for the values of ρ.
    """
    n_c, k_c = (np.asarray(counts, np.float64)[..., None] for counts in (canary_requests, canary_events))
    rho = np.asarray(BELOW_FLOOR.values)
    return np.asarray(floor * (1.0 - rho) * n_c + k_c * np.log(rho), np.float64)


def log_mixture(logs: Floats, prior: Prior) -> Floats:
    """Log Σ π exp(log E) over the last axis."""
    terms = logs + np.log(prior.weights)
    most = terms.max(axis=-1, keepdims=True)
    return np.asarray(most[..., 0] + np.log(np.exp(terms - most).sum(axis=-1)), np.float64)


def log_promotion_of(test: RatioTest, good: Floats, floor: Floats) -> Floats:
    """:func:`log_promotion` of many runs: components on the last axis."""
    ratio = log_mixture(good, test.good)
    return log_with_floor(ratio, log_mixture(floor, BELOW_FLOOR)) if test.floor else ratio


def log_with_floor(ratio: Floats, floor: Floats) -> Floats:
    """Log evidence for promotion by the ratio and by the floor together, of the logs of both."""
    return np.asarray(np.logaddexp(ratio + math.log1p(-FLOOR_WEIGHT), floor + math.log(FLOOR_WEIGHT)), np.float64)


def log_with_chosen(whole: Floats, chosen: Floats) -> Floats:
    """Log evidence for rollback by all samples and by those whose limit was chosen in the run, of the logs of both."""
    return np.asarray(np.logaddexp(whole + math.log1p(-CHOSEN_WEIGHT), chosen + math.log(CHOSEN_WEIGHT)), np.float64)


def log_with_bake(whole: Floats, baking: Floats) -> Floats:
    """Log evidence for rollback by all samples and by those since promotion together, of the logs of both."""
    return np.asarray(np.logaddexp(whole + math.log1p(-BAKE_WEIGHT), baking + math.log(BAKE_WEIGHT)), np.float64)


def _plus(logs: tuple[float, ...], increments: Floats, dispersion: float) -> tuple[float, ...]:
    return tuple(log + float(added) / dispersion for log, added in zip(logs, increments, strict=True))
