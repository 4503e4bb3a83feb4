"""The distance of two distributions over bins, and the sequential test whether it is above or below a limit.

The distance is the population stability index, which is Jeffreys' divergence of canary p and stable q:

    PSI = Σ_b (p_b − q_b) ln(p_b / q_b)

Two models always differ, so equality is not tested. The test decides on which side of the limit d0 the true distance is
(:mod:`.distance_evidence`).

**Weights.** In sample t the arms have c_t and s_t rows. The difference of their shares p̂_t − q̂_t has the information of
h_t = c_t s_t / (c_t + s_t) rows. Both arms get these weights, Mantel's and Haenszel's: p̂ = Σ h_t p̂_t / H and
q̂ = Σ h_t q̂_t / H with H = Σ h_t. Traffic that changes while the canary's share rises changes both arms equally, and no
sample reduces the information.

**Estimate.** The PSI of p̂ and q̂ is too high by k φ / H, by the delta method with

    k = Σ_b [(1 − w)(1 + q_b/p_b)(1 − p_b) + w (1 + p_b/q_b)(1 − q_b)] / 2,    w the canary's share

which is B − 1 if both arms have the same distribution over B bins: the known (B − 1)(1/n + 1/m). It is subtracted.

**Evidence.** Near p = q the PSI is a sum of B − 1 squares: H PSI(p̂, q̂) / φ has the noncentral χ² distribution with
B − 1 degrees of freedom and the noncentrality H d / φ, d the true distance. It grows as the squared norm of a Brownian
motion with a drift of the length √d, at the time H / φ. The norm is a maximal invariant of rotations, and its present
value tells all of d that its past does (Hall, Wijsman and Ghosh, Annals of Mathematical Statistics 36, 1965; it is the
sequential χ² test of Jackson and Bradley, same journal 32, 1961). So its likelihood ratio

    E(d1, d0) = exp(−H (d1 − d0) / 2φ) · 0F1(k/2; d1 H² PSI / 4φ²) / 0F1(k/2; d0 H² PSI / 4φ²)

is a nonnegative martingale if d0 is the truth. If the truth is below d0, the norm is smaller path by path, by the
comparison theorem for diffusions, and so is E for d1 > d0; likewise above d0, for d1 < d0. Mixtures over d1 reach 1/α
with a probability of α at most, at any sample (Ville). The degrees of freedom are part of the likelihood, so that the
bias of the estimate is not taken for evidence.

Far from p = q the variance of the PSI is not 4 d φ / H. H and k are divided by κ = V H / 4 φ PSI if that is above 1,
with V the variance by the delta method: the evidence is then that of the normal approximation.

**Dispersion.** The rows of one request are similar and arrive together. φ is measured in the run itself: the squared
differences of p̂_t − q̂_t from their mean, relative to those of independent rows. Changes in both arms cancel out.

**Simulation of the alternatives.** Limit 0.1, α = β = 0.8 %, w = 10 %, 10 and 16 bins; canary rows until 99 % of the
canaries are decided whose distance is 0.6 and 2 times the limit: 7,000 and 2,400 by this test. A confidence sequence by
the central limit theorem (Waudby-Smith and others, arXiv 2103.06476) takes 5,900 and 3,000 with the same estimate, and
must be tuned to a number of rows. Universal inference (Wasserman, Ramdas and Balakrishnan, PNAS 117, 2020) is
exact, and pays for B − 1 unknowns in each arm: after 12,000 rows all of the former and 34 to 99 % of the latter are
undecided. At the limit itself both errors are about 1 % at most, over even, bell-shaped and rare bins, tilts and
single bins that are off, shares of 5 to 95 % and ramps between, and rows that come eight at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.priors import Floats

Bools = npt.NDArray[np.bool_]


_HALF_A_ROW: Final = 0.5


@dataclass(frozen=True, slots=True)
class SampleSums:
    """Sums over samples. The last axis of the arrays is that of the bins, unless a field says otherwise.

    Attributes:
        canary: Rows of the canary by bin.
        stable: Rows of stable by bin.
        ours: Σ h p̂, by bin.
        theirs: Σ h q̂, by bin.
        squares: Σ h (p̂ − q̂)², by bin.
        share: Σ h w, without the axis of the bins.
        samples: Number of samples with rows of both arms, without the axis of the bins.
    """

    canary: Floats
    stable: Floats
    ours: Floats
    theirs: Floats
    squares: Floats
    share: Floats
    samples: Floats


@dataclass(frozen=True, slots=True)
class DistanceEstimate:
    """The estimate of a distance. The arrays have the shape of the sums without the axis of the bins.

    Attributes:
        distance: Unbiased estimate of the distance. It may be below 0.
        rows: Effective number of independent rows of the canary: its rows, divided by the dispersion.
        dispersion: φ, 1 or more.
        share: The canary's share of the rows.
        raw: PSI of the counted rows.
        information: H / φκ, in rows.
        freedom: k / κ, degrees of freedom.
    """

    distance: Floats
    rows: Floats
    dispersion: Floats
    share: Floats
    raw: Floats
    information: Floats
    freedom: Floats


def sum_sample(canary: Floats, stable: Floats) -> SampleSums:
    """The sums of one sample; zeros if an arm has no rows.

    Args:
        canary: Rows of the canary by bin.
        stable: Rows of stable by bin.
    """
    c, s = canary.sum(axis=-1), stable.sum(axis=-1)
    both = (c > 0.0) & (s > 0.0)
    # 1 is only there to be divided by: the weight of such a sample is 0
    c, s = np.where(both, c, 1.0), np.where(both, s, 1.0)
    here = both.astype(np.float64)
    weight = here * c * s / (c + s)
    p, q, bins = canary / c[..., None], stable / s[..., None], weight[..., None]
    counted = here[..., None]
    return SampleSums(
        canary * counted, stable * counted, bins * p, bins * q, bins * (p - q) ** 2, weight * c / (c + s), here
    )


def measure(sums: SampleSums, dispersion: float | Floats = 1.0) -> DistanceEstimate:
    """Estimate the distance.

    Args:
        sums: Sums over the samples.
        dispersion: Minimum of φ. The dispersion of the samples is used if it is larger.
    """
    # the total is divided by, and is 0 without a sample
    total = np.maximum(sums.ours.sum(axis=-1), 1e-9)
    n = sums.canary.sum(axis=-1)
    # rounding must not make 1 − share negative
    share = np.minimum(sums.share / total, 1.0)
    # empty bins are ignored
    hit = (sums.canary + sums.stable) > 0.0
    p, q = (
        _smoothed(mean / total[..., None], rows, hit)
        for mean, rows in ((sums.ours, n), (sums.theirs, sums.stable.sum(axis=-1)))
    )
    # in an ignored bin both shares are 0, and their ratio is undefined
    p_safe, q_safe = np.where(hit, p, 1.0), np.where(hit, q, 1.0)
    log, over, under = np.log(p_safe / q_safe), np.where(hit, q / p_safe, 0.0), np.where(hit, p / q_safe, 0.0)
    raw = ((p - q) * log).sum(axis=-1)
    bins = hit.sum(axis=-1)
    # Σ (1 + q/p)(1 − p) over the bins is B − 2 + Σ q/p, as both shares sum to 1
    biases = [np.maximum(bins - 2.0 + ratio.sum(axis=-1), 0.0) / 2.0 for ratio in (over, under)]
    bias = (1.0 - share) * biases[0] + share * biases[1]
    # derivatives of the PSI by p and by q, without a constant, which does not change a variance
    variance = (1.0 - share) * _variance(p, log - over) + share * _variance(q, -log - under)
    # κ: only a variance above that of χ² is corrected, so that evidence is never overstated
    far = np.maximum(variance / np.maximum(4.0 * raw, 1e-9), 1.0)
    phi = np.maximum(_dispersion(sums, p, q, share, total), dispersion)
    information = total / (phi * far)
    return DistanceEstimate(
        distance=raw - bias * phi / total,
        rows=n / phi,
        dispersion=phi,
        share=share,
        raw=raw,
        information=information,
        # with a single bin the bias is 0, and 0F1 needs a parameter above 0
        freedom=np.maximum(bias / far, 1.0),
    )


def psi(canary: npt.ArrayLike, stable: npt.ArrayLike) -> float:
    """Population stability index of two histograms, with half a row added to each bin and without bias correction.

    Args:
        canary: Rows in each bin.
        stable: Rows in each bin.
    """
    arms = [np.asarray(rows, np.float64) + _HALF_A_ROW for rows in (canary, stable)]
    p, q = (arm / arm.sum() for arm in arms)
    return float(((p - q) * np.log(p / q)).sum())


def _smoothed(shares: Floats, rows: Floats, hit: Bools) -> Floats:
    """Shares with half a row added to each bin, so that the distance of an empty bin is finite."""
    added = np.where(hit, _HALF_A_ROW, 0.0)
    return np.asarray(
        (shares * rows[..., None] + added) / np.maximum(rows + added.sum(axis=-1), _HALF_A_ROW)[..., None], np.float64
    )


def _variance(shares: Floats, influence: Floats) -> Floats:
    mean = (shares * influence).sum(axis=-1)
    return np.asarray((shares * influence**2).sum(axis=-1) - mean**2, np.float64)


def _dispersion(sums: SampleSums, p: Floats, q: Floats, share: Floats, total: Floats) -> Floats:
    """Dispersion of the samples: their variance relative to that of independent rows."""
    w = share[..., None]
    expected = (1.0 - w) * p * (1.0 - p) + w * q * (1.0 - q)
    # the difference of two nearly equal sums, which rounding can make negative
    observed = np.maximum(sums.squares - (sums.ours - sums.theirs) ** 2 / total[..., None], 0.0)
    # each bin is divided by its share, as in Pearson's χ²: otherwise large bins alone would decide
    mixed = (1.0 - w) * p + w * q
    mixed = np.where(mixed > 0.0, mixed, 1.0)
    # the mean difference is estimated from the same samples, which takes the freedom of one of them
    free = np.maximum(sums.samples - 1.0, 0.0) * (expected / mixed).sum(axis=-1)
    return np.where(free > 0.0, (observed / mixed).sum(axis=-1) / np.where(free > 0.0, free, 1.0), 1.0)
