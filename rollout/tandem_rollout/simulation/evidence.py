"""Evidence of many rollouts, with the arithmetic of :mod:`tandem_rollout.analysis`.

For each rollout and sample the verdicts equal those of :func:`~tandem_rollout.analysis.gather.gather` and
:func:`~tandem_rollout.analysis.judge.judge`, as a test verifies.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.gather_rates import ratio_test
from tandem_rollout.analysis.latency import (
    MIN_SLOW,
    SURE,
    min_recent,
)
from tandem_rollout.analysis.likelihood import (
    floor_increments,
    log_mixture,
    log_with_bake,
    log_with_chosen,
    log_with_floor,
    ratio_increments,
)
from tandem_rollout.analysis.priors import BAD, BELOW_FLOOR, Floats
from tandem_rollout.analysis.verdict import Verdict
from tandem_rollout.api.analysis import Metric
from tandem_rollout.simulation.outage import ABSENT, SEEN, UNREADABLE, Codes

Bools = npt.NDArray[np.bool_]

VERDICTS: Final = tuple(Verdict)
"""Verdicts by code."""
PASS, FAIL, INCONCLUSIVE, NO_DATA, PROVIDER_ERROR = range(len(VERDICTS))


class SimulatedEvidence(Protocol):
    """Evidence of one metric, in many rollouts."""

    def codes(self) -> Codes:
        """Verdicts by rollout, as indexes of :data:`VERDICTS`."""
        ...

    def keep(self, kept: Bools) -> None:
        """Keep only some rollouts."""
        ...


class Ratios:
    """Evidence about a ratio of rates.

    Args:
        metric: The metric.
        rollouts: Number of rollouts.
        gates: Number of metrics that can each roll back.
        phi: Dispersion, by rollout.
    """

    def __init__(self, metric: Metric, rollouts: int, *, gates: int, phi: Floats | None = None) -> None:
        self._metric = metric
        self._test = ratio_test(metric)
        self._threshold = math.log(gates / metric.alpha)
        self._phi = np.ones((rollouts, 1)) if phi is None else phi[:, None]
        self._bad = np.zeros((rollouts, len(BAD.values)))
        self._good = np.zeros((rollouts, len(self._test.good.values)))
        self._chosen = np.zeros((rollouts, len(BAD.values)))
        self._floor = np.zeros((rollouts, len(BELOW_FLOOR.values)))
        self._baking = np.zeros((rollouts, len(BAD.values)))
        self._baked = np.zeros(rollouts, np.bool_)
        self._absolute = np.zeros((rollouts, len(BAD.values)))
        self._log_bad, self._log_good = np.zeros(rollouts), np.zeros(rollouts)
        self._canary = np.zeros(rollouts)
        self._stable = np.zeros((rollouts, 2))
        self._missing = np.full(rollouts, ABSENT, np.int8)
        self._alone = False

    def add(
        self,
        sampled: Bools,
        trouble: Codes,
        canary: Floats,
        events: Floats,
        stable: Floats,
        others: Floats,
        *,
        baking: Bools | None = None,
        speaks_for: Bools | None = None,
        chosen: Bools | None = None,
        bounds: tuple[Floats, Floats] | None = None,
        cold: bool | Bools = False,
    ) -> Bools:
        """Add a sample in which both arms have requests.

        Args:
            sampled: Rollouts with a sample.
            trouble: Codes of missing data.
            canary: Requests of the canary.
            events: Events among them.
            stable: Requests of stable.
            others: Events among them.
            baking: Rollouts whose canary is promoted and is compared with the holdback; by default none.
            speaks_for: Rollouts in which the sample may be evidence for the canary; by default all.
            chosen: Rollouts whose limit was chosen in the run; for latency by default those with enough requests of
                stable.
            bounds: Minimum and maximum share of the canary. They differ if its weight changed in the sample.
            cold: Rollouts whose canary has cold caches, so that latency is not judged.

        Returns:
            Rollouts with counts.
        """
        if chosen is None and self._metric.type == "latency":
            speaks_for, chosen = self._enough(self._stable[:, 0], baking)
        low, high, crossed = _bounds(canary, stable, bounds)
        # with bounds of the share an arm may have no requests, as in gather_rates
        quiet = ((canary <= 0.0) | (stable <= 0.0)) & ~crossed
        if self._metric.type == "latency":
            quiet |= cold if baking is None else cold & ~baking
        counted: Bools = sampled & (trouble == SEEN) & ~quiet
        # rollouts without a sample keep what their last one missed
        self._missing = np.where(sampled, np.where((trouble == SEEN) & quiet, ABSENT, trouble), self._missing)
        n_c, k_c, n_s, k_s = (np.where(counted, values, 0.0) for values in (canary, events, stable, others))
        # a sample without events is no evidence about the ratio
        at = np.flatnonzero(k_c + k_s)
        worse = self._compare(at, (n_c, k_c, n_s, k_s), (low, high, crossed), speaks_for)
        bound = self._bound()  # known before the sample
        self._canary += n_c
        self._stable[:, 0] += n_s
        self._stable[:, 1] += k_s
        if chosen is not None:
            self._chosen[at] += np.where(chosen[at, None], worse, 0.0)
        if baking is not None and (baked := counted & baking).any():
            self._baked |= baked
            self._baking[at] += np.where(baked[at, None], worse, 0.0)
            if self._metric.type == "latency":
                self._hold(baked, n_c, k_c, bound)
        return counted

    def _compare(
        self,
        at: npt.NDArray[np.intp],
        counts: tuple[Floats, Floats, Floats, Floats],
        bounds: tuple[Floats, Floats, Bools],
        speaks_for: Bools | None,
    ) -> Floats:
        """Add the evidence of a sample about the ratio and the floor.

        Args:
            at: Indexes of the rollouts with events.
            counts: The canary's requests and events, then stable's requests and events.
            bounds: Minimum and maximum share of the canary, and the rollouts in which they replace its requests.
            speaks_for: Rollouts in which the sample may be evidence for the canary; by default all.

        Returns:
            Log evidence of the sample that the canary is worse, by rollout with events and component.
        """
        n_c, k_c, n_s, k_s = counts
        low, high, crossed = bounds
        test = self._test
        # only the ratio of the requests matters, so that shares may replace them
        ours, theirs = (np.where(crossed, share, n_c)[at] for share in (high, low))
        stable_high, stable_low = (np.where(crossed, 1.0 - share, n_s)[at] for share in (high, low))
        worse = ratio_increments(ours, k_c[at], stable_high, k_s[at], BAD, 1.0) / self._phi[at]
        self._bad[at] += worse
        better = ratio_increments(theirs, k_c[at], stable_low, k_s[at], test.good, test.margin) / self._phi[at]
        self._good[at] += better if speaks_for is None else np.where(speaks_for[at, None], better, 0.0)
        # only where events have changed them, as mixtures are costly
        self._log_bad[at] = log_mixture(self._bad[at], BAD)
        self._log_good[at] = log_mixture(self._good[at], test.good)
        # for all rollouts, as requests without events are evidence for the floor
        if test.floor:
            below = floor_increments(n_c, k_c, test.floor) / self._phi
            self._floor += below if speaks_for is None else np.where(speaks_for[:, None], below, 0.0)
        return worse

    def _enough(self, stable: Floats, baking: Bools | None) -> tuple[Bools, Bools]:
        """Rollouts in which a sample may be evidence for the canary, and in which its limit is chosen."""
        speaks, chosen = (stable >= min_recent(self._metric.quantile, slow) for slow in (SURE, MIN_SLOW))
        return (speaks, chosen) if baking is None else (speaks | baking, chosen | baking)

    def add_alone(self, sampled: Bools, trouble: Codes, canary: Floats, events: Floats) -> Bools:
        """Add a sample in which the canary has all requests."""
        counted: Bools = sampled & (trouble == SEEN)
        self._missing = np.where(sampled, trouble, self._missing)
        # latency depends on the load, and stable has none
        if self._metric.type != "latency" and counted.any():
            self._alone = True
            self._hold(counted, canary, events, self._bound())
        return counted

    def _hold(self, counted: Bools, canary: Floats, events: Floats, bounds: Floats) -> None:
        """Add the evidence of a sample against the fixed bound, if there is one."""
        n_c, k_c = (np.where(counted, values, 0.0)[:, None] for values in (canary, events))
        ratios, bound = np.asarray(BAD.values), bounds[:, None]
        added = (k_c * np.log(ratios) - bound * (ratios - 1.0) * n_c) / self._phi
        self._absolute += np.where(bound > 0.0, added, 0.0)

    def _bound(self) -> Floats:
        """The fixed bound of the canary's rate; 0 for none."""
        requests, events = self._stable[:, 0], self._stable[:, 1]
        # 1 is only there to be divided by
        rate = events / np.where(requests > 0.0, requests, 1.0)
        if self._metric.type == "latency":
            rate = np.maximum(rate, self._expected())
        before = self._metric.margin * rate
        return np.where(requests > 0.0, np.minimum(np.maximum(self._metric.effective_floor, before), 1.0), 0.0)

    def _expected(self) -> Floats:
        """Share of stable's slow requests when the limit was chosen: that of the quantile."""
        return np.full(len(self._canary), 1.0 - self._metric.quantile)

    def codes(self) -> Codes:
        """Codes of the verdicts, by rollout."""
        baking = np.where(self._baked, log_mixture(self._baking, BAD), 0.0)
        whole = self._log_bad
        if self._metric.type == "latency":
            whole = log_with_chosen(whole, log_mixture(self._chosen, BAD))
        fails = log_with_bake(whole, baking) >= self._threshold
        if self._metric.type == "latency":
            # as in judge_metric: stable's pods are idle, so that the bound under the load must be exceeded, too
            fails &= ~self._baked | (log_mixture(self._absolute, BAD) >= self._threshold)
        elif self._alone:
            fails |= log_mixture(self._absolute, BAD) >= self._threshold
        promotion = self._log_good
        if self._test.floor:
            promotion = log_with_floor(promotion, log_mixture(self._floor, BELOW_FLOOR))
        passes = promotion >= -math.log(self._test.beta)
        passes &= self._canary >= self._metric.min_requests
        return judge_codes(fails, passes, self._missing, self._canary > 0.0)

    def keep(self, kept: Bools) -> None:
        """Keep only some rollouts."""
        for name in (
            "_phi",
            "_bad",
            "_good",
            "_chosen",
            "_floor",
            "_baking",
            "_baked",
            "_absolute",
            "_log_bad",
            "_log_good",
            "_canary",
            "_stable",
            "_missing",
        ):
            setattr(self, name, getattr(self, name)[kept])


def _bounds(canary: Floats, stable: Floats, bounds: tuple[Floats, Floats] | None) -> tuple[Floats, Floats, Bools]:
    """Minimum and maximum share of the canary, and the rollouts that need them, as in :func:`.sequential.update`."""
    share = canary / np.maximum(canary + stable, 1.0)
    if bounds is None:
        return share, share, np.zeros(len(share), np.bool_)
    low, high = bounds
    nonempty = canary + stable > 0.0
    return (
        np.where(nonempty, np.minimum(low, share), low),
        np.where(nonempty, np.maximum(high, share), high),
        low < high,
    )


def judge_codes(fails: Bools, passes: Bools, missing: Codes, any_counts: Bools) -> Codes:
    """Codes of verdicts, like ``judge_ratio`` and ``judge_drift`` of :mod:`tandem_rollout.analysis.verdict`.

    Args:
        fails: Rollouts with enough evidence against the canary.
        passes: Rollouts with enough evidence for the canary.
        missing: Codes of missing data in the last sample.
        any_counts: Rollouts with any counts.
    """
    unknown = np.where(missing == UNREADABLE, PROVIDER_ERROR, NO_DATA)
    verdict = np.where(passes, PASS, INCONCLUSIVE)
    counted = (missing == SEEN) & any_counts
    return np.where(fails, FAIL, np.where(counted, verdict, unknown)).astype(np.int8)
