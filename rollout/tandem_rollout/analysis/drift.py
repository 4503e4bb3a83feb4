"""Drift of predictions: whether both arms answer with the same distribution.

Predictions are counted in the bins of the histogram ``tandem_prediction``, whose edges belong to the contract. If the
arms answer alike, a row of any bin came from the canary with the canary's share w of the tick's rows. Against that
stands, for each bin, a share from Beta(40 w, 40 (1 − w)), learning from the bin's rows so far; log evidence is summed
over bins and ticks (:mod:`.betabinomial`). When w changes, the rows so far are weighted to the new share: what a bin
has learnt is by how much it is off, not its share.

Two models always differ, and any difference is found in the end. So a distance is asked for too, the population
stability index

    PSI = Σ_b (p_b − q_b) ln(p_b / q_b)

of canary p against stable q, with stable weighted tick by tick to the canary's rows: traffic that changes while the
canary's share rises is no drift.

With w taken from the rows of the tick, the canary's rows are given, not drawn, and the bins are not quite independent.
In the first tick that makes evidence smaller; that it does no harm later is simulated in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tandem_rollout.analysis.betabinomial import log_evidence
from tandem_rollout.analysis.counts import NoData, increase

CONCENTRATION = 40.0
"""Of the beta distribution: how near to w the share of a drifted bin is thought to be."""

Histograms = Mapping[str, Mapping[float, float]]
"""Cumulative buckets by target, as in Prometheus: rows by upper edge, the edge ``inf`` among them."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence so far, by bin.

    Attributes:
        log_e: Log evidence that the arms answer differently.
        canary: Rows of the canary.
        stable: Rows of stable.
        expected: Rows that the canary would have by its shares.
        matched: Rows of stable, weighted tick by tick to the canary's number of rows.
    """

    log_e: float
    canary: tuple[float, ...]
    stable: tuple[float, ...]
    expected: tuple[float, ...]
    matched: tuple[float, ...]


def start(bins: int) -> Evidence:
    """Evidence of no tick."""
    nothing = (0.0,) * bins
    return Evidence(0.0, nothing, nothing, nothing, nothing)


def update(evidence: Evidence, canary: Sequence[float], stable: Sequence[float]) -> Evidence:
    """Evidence with one more tick. A tick in which one arm has no rows says nothing.

    Args:
        evidence: Evidence so far.
        canary: Rows of the canary in each bin.
        stable: Rows of stable in each bin.

    Raises:
        ValueError: The bins are not as many as the evidence has.
    """
    if not len(evidence.canary) == len(canary) == len(stable):
        raise ValueError("rows are counted in other bins than the evidence")
    all_canary, all_stable = math.fsum(canary), math.fsum(stable)
    if not all_canary or not all_stable:
        return evidence
    share = all_canary / (all_canary + all_stable)
    added = math.fsum(
        log_evidence(c, s, share=share, a=a, b=b)
        for c, s, (a, b) in zip(canary, stable, _learnt(evidence, share), strict=True)
    )
    return Evidence(
        evidence.log_e + added,
        _plus(evidence.canary, canary),
        _plus(evidence.stable, stable),
        _plus(evidence.expected, [share * (c + s) for c, s in zip(canary, stable, strict=True)]),
        _plus(evidence.matched, [s * all_canary / all_stable for s in stable]),
    )


def _learnt(evidence: Evidence, share: float) -> list[tuple[float, float]]:
    """Parameters of the beta distribution of each bin: its rows so far, weighted to the present share."""
    learnt = []
    for c, s, expected in zip(evidence.canary, evidence.stable, evidence.expected, strict=True):
        a, b = CONCENTRATION * share, CONCENTRATION * (1.0 - share)
        if c + s:
            before = expected / (c + s)
            a, b = a + c * share / before, b + s * (1.0 - share) / (1.0 - before)
        learnt.append((a, b))
    return learnt


def distance(evidence: Evidence) -> float:
    """PSI of the canary against stable, over all ticks; 0 without rows."""
    return psi(evidence.canary, evidence.matched)


def psi(canary: Sequence[float], stable: Sequence[float]) -> float:
    """Population stability index of two distributions.

    Half a row is added to each bin, so that empty bins count. Of n and m rows in B bins that are distributed alike, it
    is about (B − 1)(1/n + 1/m).

    Args:
        canary: Rows in each bin.
        stable: Rows in each bin.
    """
    p, q = ([(rows + 0.5) / (math.fsum(arm) + 0.5 * len(arm)) for rows in arm] for arm in (canary, stable))
    return math.fsum((ours - theirs) * math.log(ours / theirs) for ours, theirs in zip(p, q, strict=True))


def rows(
    *, canary: tuple[Histograms, Histograms], stable: tuple[Histograms, Histograms]
) -> tuple[tuple[float, ...], tuple[float, ...]] | NoData:
    """Rows in each bin between two scrapes, of canary and stable, summed over targets.

    What :mod:`.counts` says of counters that restart, are new or cannot be, holds here.

    Args:
        canary: Earlier and later scrape of the canary.
        stable: Earlier and later scrape of stable.
    """
    counted = [_arm(arm, *scrapes) for arm, scrapes in (("canary", canary), ("stable", stable))]
    for arm in counted:
        if isinstance(arm, NoData):
            return arm
    ours, theirs = (arm for arm in counted if not isinstance(arm, NoData))
    if ours.keys() != theirs.keys():
        return NoData("canary and stable count predictions in different bins")
    return tuple(ours.values()), tuple(theirs.values())


def _arm(arm: str, earlier: Histograms, later: Histograms) -> dict[float, float] | NoData:
    known = [target for target in sorted(later) if target in earlier]
    # who counts in other bins than before is another process by the same name
    same = [target for target in known if not earlier[target] or earlier[target].keys() == later[target].keys()]
    found = [each for target in same if (each := increase(earlier[target], later[target]))]
    if not found:
        return NoData(f"{arm}: no histogram of predictions was read twice")
    edges = sorted(found[0])
    if any(sorted(each) != edges for each in found):
        return NoData(f"{arm}: targets count predictions in different bins")
    below = [math.fsum(each[edge] for each in found) for edge in edges]
    return {edge: max(0.0, b - a) for edge, a, b in zip(edges, [0.0, *below], below, strict=False)}


def _plus(totals: Sequence[float], added: Sequence[float]) -> tuple[float, ...]:
    return tuple(total + more for total, more in zip(totals, added, strict=True))
