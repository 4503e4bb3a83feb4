"""Two ratios that are displayed with a verdict: of the units of the arms, and of the arms' rates.

**Sample-ratio mismatch.** Units, such as users or sessions, are assigned by hash; requests are not independent. If the
canary's share of new units is not as configured, the arms are not comparable. :func:`update_assignment` gathers
anytime-valid evidence (:mod:`.betabinomial`), :func:`chi_square` is the p-value for one test at a fixed end.

**Interval of the rate ratio.** All ratios that the test of :mod:`.sequential` does not reject, at any sample:

    {r0 : E(r0, π) < 1/α},   log E(r0, π) = log Σ_r π(r) exp L(r) − L(r0)

with L the conditional log likelihood, kept on a grid of ratios, and π the same for all r0. At all times
together it covers the true ratio with probability 1 − α at least. Source: Lindon and Malek, arXiv 2011.03567.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tandem_rollout.analysis.betabinomial import log_evidence
from tandem_rollout.analysis.counts import Increments
from tandem_rollout.analysis.likelihood import ratio_increments
from tandem_rollout.analysis.priors import Floats, Prior

CONCENTRATION = 1000.0
"""Concentration of the beta distribution of a wrong assignment: it mostly differs by 10 % of the configured share."""

_STEPS = 60
# an odd number of points, so that 1 is one of them
_GRID = np.exp(np.linspace(-math.log(100.0), math.log(100.0), 2 * _STEPS + 1))
_PULL = np.exp(-0.5 * (np.log(_GRID) / 1.0) ** 2)
GRID = Prior(tuple(map(float, _GRID)), tuple(map(float, _PULL / _PULL.sum())))
"""Ratios from 1/100 to 100, with log-normal weights around 1."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The evidence about the assignment.

    Attributes:
        log_e: Log evidence that units are not assigned as configured.
        canary: Units of the canary.
        stable: Units of stable.
        expected: Expected number of the canary's units.
    """

    log_e: float = 0.0
    canary: float = 0.0
    stable: float = 0.0
    expected: float = 0.0


def update_assignment(so_far: Assignment, *, canary: float, stable: float, share: float) -> Assignment:
    """The evidence with the units of one more sample.

    Args:
        so_far: The evidence of the previous samples.
        canary: New units of the canary.
        stable: New units of stable.
        share: Configured share of the canary's units. With 0 or 1 there is no evidence.
    """
    if not 0.0 < share < 1.0:
        return so_far
    # from earlier units only, as the parameters must be known before the sample
    a, b = CONCENTRATION * share, CONCENTRATION * (1.0 - share)
    units = so_far.canary + so_far.stable
    if units:
        # earlier units had other shares: they are rescaled to the present one
        before = so_far.expected / units
        a, b = a + so_far.canary * share / before, b + so_far.stable * (1.0 - share) / (1.0 - before)
    return Assignment(
        so_far.log_e + log_evidence(canary, stable, share=share, a=a, b=b),
        so_far.canary + canary,
        so_far.stable + stable,
        so_far.expected + share * (canary + stable),
    )


def mismatched(assignment: Assignment, *, alpha: float = 0.001) -> bool:
    """Whether units are not assigned as configured. The error probability over all samples is alpha at most."""
    return assignment.log_e >= -math.log(alpha)


def chi_square(*, canary: float, stable: float, share: float) -> float:
    """P-value of Pearson's χ² with one degree of freedom, for a single test at a fixed time.

    Args:
        canary: Units of the canary.
        stable: Units of stable.
        share: Configured share of the canary, strictly between 0 and 1.
    """
    units = canary + stable
    if not units:
        return 1.0
    # χ² with one degree of freedom is the square of a normal variable
    return math.erfc(abs(canary - units * share) / math.sqrt(2.0 * units * share * (1.0 - share)))


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The conditional log likelihood of all samples.

    Attributes:
        logs: L at each ratio of :data:`GRID`, relative to L(1).
        events: Events in all samples in which both arms had requests.
    """

    logs: tuple[float, ...] = (0.0,) * len(GRID.values)
    events: float = 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """Interval of the ratio of the canary's rate to stable's.

    Attributes:
        low: Lower end; 0 if it is unbounded.
        estimate: The most likely ratio; None without events; 0 or inf beyond the grid.
        high: Upper end; ``inf`` if it is unbounded.
    """

    low: float
    estimate: float | None
    high: float


def update_likelihood(so_far: Likelihood, sample: Increments, *, dispersion: float = 1.0) -> Likelihood:
    """The likelihood with one more sample. A sample in which one arm has no requests is ignored.

    Args:
        so_far: The likelihood of the previous samples.
        sample: The sample.
        dispersion: φ, which divides counts.
    """
    if sample.canary_requests <= 0 or sample.stable_requests <= 0:
        return so_far
    added = ratio_increments(
        sample.canary_requests, sample.canary_events, sample.stable_requests, sample.stable_events, GRID, 1.0
    )
    logs = tuple(log + float(more) / dispersion for log, more in zip(so_far.logs, added, strict=True))
    return Likelihood(logs, so_far.events + sample.canary_events + sample.stable_events)


def interval(likelihood: Likelihood, *, alpha: float = 0.05) -> Interval:
    """Anytime-valid interval of the ratio of rates.

    Args:
        likelihood: The likelihood of all samples.
        alpha: Maximum probability that the true ratio is ever outside.
    """
    logs = np.asarray(likelihood.logs)
    if not likelihood.events:
        return Interval(0.0, None, math.inf)
    # the largest likelihood is factored out, as the exponential of a long run overflows
    top = float(logs.max())
    mixed = top + math.log(float(np.sum(np.exp(logs - top) * np.asarray(GRID.weights))))
    # positive somewhere: the mixture is never above the maximum, and log α is negative
    excess = logs - (mixed + math.log(alpha))
    return Interval(_end(excess, 0.0), _most_likely(logs), _end(excess[::-1], math.inf))


def _end(excess: Floats, beyond: float) -> float:
    """The first point, from the outside, at which the excess crosses zero. The likelihood is unimodal."""
    first = int(np.argmax(excess > 0.0))
    # the interval is longer than the grid
    if first == 0:
        return beyond
    steps = np.log(_GRID) if beyond == 0.0 else np.log(_GRID)[::-1]
    # linear in the log of the ratio, in which the grid is even
    part = -excess[first - 1] / (excess[first] - excess[first - 1])
    return float(np.exp(steps[first - 1] + part * (steps[first] - steps[first - 1])))


def _most_likely(logs: Floats) -> float:
    """Maximum of the parabola through the three highest points of the grid."""
    at = int(np.argmax(logs))
    if at == 0:
        return 0.0
    if at == len(logs) - 1:
        return math.inf
    # a log likelihood is nearly a parabola at its maximum
    lower, top, upper = (float(value) for value in logs[at - 1 : at + 2])
    shift = 0.5 * (lower - upper) / (lower - 2.0 * top + upper)
    return float(_GRID[at] * (_GRID[1] / _GRID[0]) ** shift)
