"""What the metrics of many rollouts say, in the arithmetic of :mod:`tandem_rollout.analysis`.

One rollout in here says at each sample what :func:`~tandem_rollout.analysis.gather.gather` and
:func:`~tandem_rollout.analysis.judge.judge` say of the same counts; a test holds them together.
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
        """Verdicts by rollout, as places in :data:`VERDICTS`."""
        ...

    def keep(self, kept: Bools) -> None:
        """Go on with these rollouts only."""
        ...


class Ratios:
    """Evidence of a ratio of rates.

    Args:
        metric: The metric.
        rollouts: How many.
        gates: Metrics that may each roll back.
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
        """One more sample, in which both arms have requests.

        Args:
            sampled: Where a sample was taken.
            trouble: What was the matter.
            canary: Requests of the canary.
            events: Events among them.
            stable: Requests of stable.
            others: Events among them.
            baking: Where the canary is promoted, and what it is compared with is held back; nowhere by default.
            speaks_for: Where the sample may speak for the canary, and not only against it; everywhere by default.
            chosen: Where its limit was chosen in the run; of latency where stable's requests are enough by default.
            bounds: Least and greatest share of the canary; where they differ its weight changed in the sample.
            cold: Where the caches of the canary are cold, so that latency is not judged.

        Returns:
            Where something was counted.
        """
        if chosen is None and self._metric.type == "latency":
            speaks_for, chosen = self._enough(self._stable[:, 0], baking)
        low, high, crossed = _bounds(canary, stable, bounds)
        quiet = ((canary <= 0.0) | (stable <= 0.0)) & ~crossed
        if self._metric.type == "latency":
            quiet |= cold if baking is None else cold & ~baking
        counted: Bools = sampled & (trouble == SEEN) & ~quiet
        self._missing = np.where(sampled, np.where((trouble == SEEN) & quiet, ABSENT, trouble), self._missing)
        n_c, k_c, n_s, k_s = (np.where(counted, values, 0.0) for values in (canary, events, stable, others))
        # a sample without events says nothing of the ratio
        at = np.flatnonzero(k_c + k_s)
        worse = self._compare(at, (n_c, k_c, n_s, k_s), (low, high, crossed), speaks_for)
        bound = self._bound()  # what was known before the sample
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
        """Take a sample as evidence of the ratio and of the floor.

        Args:
            at: Places of the rollouts that have events.
            counts: The canary's requests and events, stable's requests and events.
            bounds: Least and greatest share of the canary, and where they are taken for its requests.
            speaks_for: Where the sample may speak for the canary; everywhere by default.

        Returns:
            Log evidence of the sample that the canary is worse, by component, of the rollouts that have events.
        """
        n_c, k_c, n_s, k_s = counts
        low, high, crossed = bounds
        test = self._test
        ours, theirs = (np.where(crossed, share, n_c)[at] for share in (high, low))
        stable_high, stable_low = (np.where(crossed, 1.0 - share, n_s)[at] for share in (high, low))
        worse = ratio_increments(ours, k_c[at], stable_high, k_s[at], BAD, 1.0) / self._phi[at]
        self._bad[at] += worse
        better = ratio_increments(theirs, k_c[at], stable_low, k_s[at], test.good, test.margin) / self._phi[at]
        self._good[at] += better if speaks_for is None else np.where(speaks_for[at, None], better, 0.0)
        self._log_bad[at] = log_mixture(self._bad[at], BAD)
        self._log_good[at] = log_mixture(self._good[at], test.good)
        if test.floor:
            below = floor_increments(n_c, k_c, test.floor) / self._phi
            self._floor += below if speaks_for is None else np.where(speaks_for[:, None], below, 0.0)
        return worse

    def _enough(self, stable: Floats, baking: Bools | None) -> tuple[Bools, Bools]:
        """Where a sample may speak for the canary, and where its limit is chosen, of so many requests of stable."""
        speaks, chosen = (stable >= min_recent(self._metric.quantile, slow) for slow in (SURE, MIN_SLOW))
        return (speaks, chosen) if baking is None else (speaks | baking, chosen | baking)

    def add_alone(self, sampled: Bools, trouble: Codes, canary: Floats, events: Floats) -> Bools:
        """One more sample, in which the canary has all requests."""
        counted: Bools = sampled & (trouble == SEEN)
        self._missing = np.where(sampled, trouble, self._missing)
        if self._metric.type != "latency" and counted.any():
            self._alone = True
            self._hold(counted, canary, events, self._bound())
        return counted

    def _hold(self, counted: Bools, canary: Floats, events: Floats, bounds: Floats) -> None:
        """A sample against the bound, where there is one."""
        n_c, k_c = (np.where(counted, values, 0.0)[:, None] for values in (canary, events))
        ratios, bound = np.asarray(BAD.values), bounds[:, None]
        added = (k_c * np.log(ratios) - bound * (ratios - 1.0) * n_c) / self._phi
        self._absolute += np.where(bound > 0.0, added, 0.0)

    def _bound(self) -> Floats:
        """The rate that a canary must not pass; 0 for none."""
        requests, events = self._stable[:, 0], self._stable[:, 1]
        rate = events / np.where(requests > 0.0, requests, 1.0)
        if self._metric.type == "latency":
            rate = np.maximum(rate, self._expected())
        before = self._metric.margin * rate
        return np.where(requests > 0.0, np.minimum(np.maximum(self._metric.effective_floor, before), 1.0), 0.0)

    def _expected(self) -> Floats:
        """Share of stable's requests that were slow when the limit was chosen: the limit is its quantile."""
        return np.full(len(self._canary), 1.0 - self._metric.quantile)

    def codes(self) -> Codes:
        """Verdicts by rollout."""
        baking = np.where(self._baked, log_mixture(self._baking, BAD), 0.0)
        whole = self._log_bad
        if self._metric.type == "latency":
            whole = log_with_chosen(whole, log_mixture(self._chosen, BAD))
        fails = log_with_bake(whole, baking) >= self._threshold
        if self._metric.type == "latency":
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
        """Go on with these rollouts only."""
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
    """Least and greatest share of the canary, and where they are needed, as :func:`.sequential.update` takes them."""
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
    """Verdicts as ``judge_ratio`` and ``judge_drift`` of :mod:`tandem_rollout.analysis.verdict` have them.

    Args:
        fails: Where evidence speaks against the canary.
        passes: Where it is enough to promote.
        missing: What was the matter with the last sample.
        any_counts: Where something was counted at all.
    """
    unknown = np.where(missing == UNREADABLE, PROVIDER_ERROR, NO_DATA)
    verdict = np.where(passes, PASS, INCONCLUSIVE)
    counted = (missing == SEEN) & any_counts
    return np.where(fails, FAIL, np.where(counted, verdict, unknown)).astype(np.int8)
