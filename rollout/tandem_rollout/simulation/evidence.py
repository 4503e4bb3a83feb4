"""What the metrics of many rollouts say, in the arithmetic of :mod:`tandem_rollout.analysis`.

One rollout in here says at each tick what :func:`~tandem_rollout.analysis.gather.gather` and
:func:`~tandem_rollout.analysis.judge.judge` say of the same counts; a test holds them together.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis import distance
from tandem_rollout.analysis.distance import Measured, Sums
from tandem_rollout.analysis.gather import ratio_test
from tandem_rollout.analysis.judge import LEAST_ROWS
from tandem_rollout.analysis.sequential import (
    BAD,
    BELOW_FLOOR,
    Floats,
    floor_increments,
    log_mixture,
    log_with_bake,
    log_with_floor,
    ratio_increments,
)
from tandem_rollout.analysis.verdict import Verdict
from tandem_rollout.gates import Metric
from tandem_rollout.simulation.outage import ABSENT, SEEN, UNREADABLE, Codes

Bools = npt.NDArray[np.bool_]

VERDICTS: Final = tuple(Verdict)
"""Verdicts by code."""
PASS, FAIL, INCONCLUSIVE, NO_DATA, PROVIDER_ERROR = range(len(VERDICTS))


class Evidence(Protocol):
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
        looked: Bools,
        trouble: Codes,
        canary: Floats,
        events: Floats,
        stable: Floats,
        others: Floats,
        *,
        baking: Bools | None = None,
    ) -> Bools:
        """One more tick, in which both arms have requests.

        Args:
            looked: Where a tick was looked at.
            trouble: What was the matter.
            canary: Requests of the canary.
            events: Events among them.
            stable: Requests of stable.
            others: Events among them.
            baking: Where the canary is promoted, and what it is compared with is held back; nowhere by default.

        Returns:
            Where something was counted.
        """
        quiet = (canary <= 0.0) | (stable <= 0.0)
        counted: Bools = looked & (trouble == SEEN) & ~quiet
        self._missing = np.where(looked, np.where((trouble == SEEN) & quiet, ABSENT, trouble), self._missing)
        n_c, k_c, n_s, k_s = (np.where(counted, each, 0.0) for each in (canary, events, stable, others))
        test = self._test
        # a tick without events says nothing of the ratio
        at = np.flatnonzero(k_c + k_s)
        tick = n_c[at], k_c[at], n_s[at], k_s[at]
        worse = ratio_increments(*tick, BAD, 1.0) / self._phi[at]
        self._bad[at] += worse
        self._good[at] += ratio_increments(*tick, test.good, test.margin) / self._phi[at]
        self._log_bad[at] = log_mixture(self._bad[at], BAD)
        self._log_good[at] = log_mixture(self._good[at], test.good)
        if test.floor:
            self._floor += floor_increments(n_c, k_c, test.floor) / self._phi
        self._canary += n_c
        self._stable[:, 0] += n_s
        self._stable[:, 1] += k_s
        if baking is not None and (baked := counted & baking).any():
            self._baked |= baked
            self._baking[at] += np.where(baked[at, None], worse, 0.0)
            if self._metric.type == "latency":
                self._hold(baked, n_c, k_c)
        return counted

    def add_alone(self, looked: Bools, trouble: Codes, canary: Floats, events: Floats) -> Bools:
        """One more tick, in which the canary has all requests."""
        counted: Bools = looked & (trouble == SEEN)
        self._missing = np.where(looked, trouble, self._missing)
        if self._metric.type != "latency" and counted.any():
            self._alone = True
            self._hold(counted, canary, events)
        return counted

    def _hold(self, counted: Bools, canary: Floats, events: Floats) -> None:
        """A tick against the bound, where there is one."""
        n_c, k_c = (np.where(counted, each, 0.0)[:, None] for each in (canary, events))
        ratios, bound = np.asarray(BAD.values), self._bound()[:, None]
        added = (k_c * np.log(ratios) - bound * (ratios - 1.0) * n_c) / self._phi
        self._absolute += np.where(bound > 0.0, added, 0.0)

    def _bound(self) -> Floats:
        """The rate that a canary must not pass; 0 for none."""
        requests, events = self._stable[:, 0], self._stable[:, 1]
        rate = events / np.where(requests > 0.0, requests, 1.0)
        if self._metric.type == "latency":  # the limit is stable's quantile
            rate = np.maximum(rate, 1.0 - self._metric.quantile)
        before = self._metric.margin * rate
        return np.where(requests > 0.0, np.minimum(np.maximum(self._metric.tolerated, before), 1.0), 0.0)

    def codes(self) -> Codes:
        """Verdicts by rollout."""
        baking = np.where(self._baked, log_mixture(self._baking, BAD), 0.0)
        fails = log_with_bake(self._log_bad, baking) >= self._threshold
        if self._metric.type == "latency":
            fails &= ~self._baked | (log_mixture(self._absolute, BAD) >= self._threshold)
        elif self._alone:
            fails |= log_mixture(self._absolute, BAD) >= self._threshold
        promotion = self._log_good
        if self._test.floor:
            promotion = log_with_floor(promotion, log_mixture(self._floor, BELOW_FLOOR))
        passes = promotion >= -math.log(self._test.beta)
        passes &= self._canary >= self._metric.least_requests
        return _judged(fails, passes, self._missing, self._canary > 0.0)

    def keep(self, kept: Bools) -> None:
        """Go on with these rollouts only."""
        for name in (
            "_phi",
            "_bad",
            "_good",
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


class Drifts:
    """Evidence of drift of predictions.

    Args:
        metric: The metric.
        rollouts: How many.
        gates: Metrics that may each roll back.
        bins: Bins of the histogram.
        phi: Dispersion at least, by rollout.
    """

    def __init__(self, metric: Metric, rollouts: int, *, gates: int, bins: int, phi: Floats | None = None) -> None:
        self._metric = metric
        self._threshold = math.log(gates / metric.alpha)
        self._phi = np.ones(rollouts) if phi is None else phi
        nothing = np.zeros((rollouts, bins))
        self._sums = distance.tick(nothing, nothing)
        self._fails, self._passes = np.zeros(rollouts, np.bool_), np.zeros(rollouts, np.bool_)
        self._missing = np.full(rollouts, ABSENT, np.int8)

    def add(self, looked: Bools, trouble: Codes, canary: Floats, stable: Floats) -> Bools:
        """One more tick.

        Args:
            looked: Where a tick was looked at.
            trouble: What was the matter.
            canary: Rows of the canary by bin.
            stable: Rows of stable by bin.

        Returns:
            Where something was counted.
        """
        quiet = (canary.sum(axis=1) == 0.0) | (stable.sum(axis=1) == 0.0)
        counted: Bools = looked & (trouble == SEEN) & ~quiet
        self._missing = np.where(looked, np.where((trouble == SEEN) & quiet, ABSENT, trouble), self._missing)
        taken = counted[:, None]
        more = distance.tick(np.where(taken, canary, 0.0), np.where(taken, stable, 0.0))
        self._sums = Sums(*(before + after for before, after in zip(_arrays(self._sums), _arrays(more), strict=True)))
        self._look(counted)
        return counted

    def _look(self, counted: Bools) -> None:
        """Judge anew. Where rows are too few to judge by, evidence is not worked out."""
        metric, least = self._metric, float(self._metric.least_requests or LEAST_ROWS)
        at = np.flatnonzero(counted & (self._sums.canary.sum(axis=1) >= least))
        measured = distance.measure(_of(self._sums, at), self._phi[at])
        enough = measured.rows >= least
        self._fails[at] = self._passes[at] = False
        at, measured = at[enough], Measured(*(each[enough] for each in _arrays(measured)))
        self._fails[at] = distance.log_above(measured, metric.limit) >= self._threshold
        self._passes[at] = distance.log_below(measured, metric.limit) >= -math.log(metric.beta)

    def codes(self) -> Codes:
        """Verdicts by rollout."""
        return _judged(self._fails, self._passes, self._missing, self._sums.ticks > 0.0)

    def keep(self, kept: Bools) -> None:
        """Go on with these rollouts only."""
        self._sums = _of(self._sums, kept)
        for name in ("_phi", "_fails", "_passes", "_missing"):
            setattr(self, name, getattr(self, name)[kept])


def _arrays(several: Sums | Measured) -> list[Floats]:
    return [getattr(several, each.name) for each in fields(several)]


def _of(sums: Sums, rollouts: npt.NDArray[np.intp] | Bools) -> Sums:
    return Sums(*(each[rollouts] for each in _arrays(sums)))


def _judged(fails: Bools, passes: Bools, missing: Codes, some: Bools) -> Codes:
    """As :func:`~tandem_rollout.analysis.verdict.judge_ratio` and its sibling judge."""
    unknown = np.where(missing == UNREADABLE, PROVIDER_ERROR, NO_DATA)
    known = np.where(passes, PASS, INCONCLUSIVE)
    seen = (missing == SEEN) & some
    return np.where(fails, FAIL, np.where(seen, known, unknown)).astype(np.int8)
