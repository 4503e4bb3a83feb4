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
from tandem_rollout.analysis.latency import (
    FARTHEST,
    LEAST_REQUESTS,
    LEAST_SLOW,
    SURE,
    Limit,
    freeze,
    least_recent,
    most_recent,
)
from tandem_rollout.analysis.sequential import (
    BAD,
    BELOW_FLOOR,
    Floats,
    floor_increments,
    log_mixture,
    log_with_bake,
    log_with_chosen,
    log_with_floor,
    ratio_increments,
)
from tandem_rollout.analysis.verdict import Verdict
from tandem_rollout.gates import Metric
from tandem_rollout.simulation.outage import ABSENT, SEEN, UNREADABLE, Codes
from tandem_rollout.simulation.traffic import Times

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
        looked: Bools,
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
        """One more tick, in which both arms have requests.

        Args:
            looked: Where a tick was looked at.
            trouble: What was the matter.
            canary: Requests of the canary.
            events: Events among them.
            stable: Requests of stable.
            others: Events among them.
            baking: Where the canary is promoted, and what it is compared with is held back; nowhere by default.
            speaks_for: Where the tick may speak for the canary, and not only against it; everywhere by default.
            chosen: Where its limit was chosen in the run; of latency where stable's requests are enough by default.
            bounds: Least and greatest share of the canary; where they differ its weight changed in the tick.
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
        counted: Bools = looked & (trouble == SEEN) & ~quiet
        self._missing = np.where(looked, np.where((trouble == SEEN) & quiet, ABSENT, trouble), self._missing)
        n_c, k_c, n_s, k_s = (np.where(counted, each, 0.0) for each in (canary, events, stable, others))
        test = self._test
        # a tick without events says nothing of the ratio
        at = np.flatnonzero(k_c + k_s)
        ours, theirs = (np.where(crossed, share, n_c)[at] for share in (high, low))
        rest, others_ = (np.where(crossed, 1.0 - share, n_s)[at] for share in (high, low))
        worse = ratio_increments(ours, k_c[at], rest, k_s[at], BAD, 1.0) / self._phi[at]
        self._bad[at] += worse
        better = ratio_increments(theirs, k_c[at], others_, k_s[at], test.good, test.margin) / self._phi[at]
        self._good[at] += better if speaks_for is None else np.where(speaks_for[at, None], better, 0.0)
        self._log_bad[at] = log_mixture(self._bad[at], BAD)
        self._log_good[at] = log_mixture(self._good[at], test.good)
        if test.floor:
            below = floor_increments(n_c, k_c, test.floor) / self._phi
            self._floor += below if speaks_for is None else np.where(speaks_for[:, None], below, 0.0)
        bound = self._bound()  # what was known before the tick
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

    def _enough(self, stable: Floats, baking: Bools | None) -> tuple[Bools, Bools]:
        """Where a tick may speak for the canary, and where its limit is chosen, of so many requests of stable."""
        speaks, chosen = (stable >= least_recent(self._metric.quantile, slow) for slow in (SURE, LEAST_SLOW))
        return (speaks, chosen) if baking is None else (speaks | baking, chosen | baking)

    def add_alone(self, looked: Bools, trouble: Codes, canary: Floats, events: Floats) -> Bools:
        """One more tick, in which the canary has all requests."""
        counted: Bools = looked & (trouble == SEEN)
        self._missing = np.where(looked, trouble, self._missing)
        if self._metric.type != "latency" and counted.any():
            self._alone = True
            self._hold(counted, canary, events, self._bound())
        return counted

    def _hold(self, counted: Bools, canary: Floats, events: Floats, bounds: Floats) -> None:
        """A tick against the bound, where there is one."""
        n_c, k_c = (np.where(counted, each, 0.0)[:, None] for each in (canary, events))
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
        return np.where(requests > 0.0, np.minimum(np.maximum(self._metric.tolerated, before), 1.0), 0.0)

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
        passes &= self._canary >= self._metric.least_requests
        return _judged(fails, passes, self._missing, self._canary > 0.0)

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


class Timed(Ratios):
    """Evidence of latency whose limit is chosen from stable's requests, as in a real run.

    Args:
        metric: The metric.
        rollouts: How many.
        gates: Metrics that may each roll back.
        times: Distributions of latencies.
        phi: Dispersion, by rollout.
    """

    def __init__(self, metric: Metric, rollouts: int, *, gates: int, times: Times, phi: Floats | None = None) -> None:
        super().__init__(metric, rollouts, gates=gates, phi=phi)
        self._edges = np.asarray(times.edges)
        longer = [np.flatnonzero(self._edges >= edge * metric.slowdown) for edge in times.edges]
        self._own = np.array([each[0] if len(each) else len(times.edges) - 1 for each in longer])
        before = dict(zip((*times.edges, math.inf), np.cumsum(times.before) * LEAST_REQUESTS * 2.0, strict=True))
        frozen = freeze(before, metric.quantile, metric.slowdown)
        place = times.edges.index(frozen.seconds) if isinstance(frozen, Limit) else -1
        self._frozen = np.full(rollouts, place)
        self._frozen_share = np.full(rollouts, frozen.share if isinstance(frozen, Limit) else 0.0)
        self._limit, self._share = self._frozen.copy(), self._frozen_share.copy()
        self._slower, self._seen = np.zeros((rollouts, len(times.edges))), np.zeros(rollouts)

    def add_times(
        self,
        looked: Bools,
        trouble: Codes,
        canary: Floats,
        stable: Floats,
        *,
        baking: Bools,
        bounds: tuple[Floats, Floats] | None = None,
        cold: bool | Bools = False,
    ) -> Bools:
        """One more tick, in which both arms have requests.

        Args:
            looked: Where a tick was looked at.
            trouble: What was the matter.
            canary: Requests of the canary, by bucket.
            stable: Requests of stable, by bucket.
            baking: Where the canary is promoted.
            bounds: Least and greatest share of the canary; where they differ its weight changed in the tick.
            cold: Where the caches of the canary are cold, so that latency is not judged.

        Returns:
            Where something was counted.
        """
        ours, theirs = canary.sum(axis=1), stable.sum(axis=1)
        slow, others = (each.sum(axis=1, keepdims=True) - np.cumsum(each, axis=1)[:, :-1] for each in (canary, stable))
        speaks_for, chosen = self._choose(baking, looked & (trouble == SEEN))
        none = self._limit < 0
        rows, limit = np.arange(len(ours)), np.maximum(self._limit, 0)
        counted = self.add(
            looked,
            np.where((trouble == SEEN) & none, ABSENT, trouble).astype(np.int8),
            ours,
            slow[rows, self._own[limit]],
            theirs,
            others[rows, limit],
            baking=baking,
            speaks_for=speaks_for,
            chosen=chosen,
            bounds=bounds,
            cold=cold,
        )
        known = (counted | (looked & (trouble == SEEN) & (none | cold))) & ~baking
        self._seen += np.where(known, theirs, 0.0)
        self._slower += np.where(known[:, None], others, 0.0)
        kept = np.minimum(1.0, most_recent(self._metric.quantile) / np.maximum(self._seen, 1.0))
        self._seen *= kept
        self._slower *= kept[:, None]
        return counted

    def _choose(self, baking: Bools, read: Bools) -> tuple[Bools, Bools]:
        """Limits of this tick; where it may speak for the canary, and where they are stable's quantile in the run."""
        speaks_for, enough = self._enough(self._seen, baking)
        shares = self._slower / np.maximum(self._seen, 1.0)[:, None]
        far = np.where(shares > 0.0, np.abs(np.log(np.maximum(shares, 1e-12) / (1.0 - self._metric.quantile))), np.inf)
        nearest = far.argmin(axis=1)
        rows = np.arange(len(nearest))
        chosen = enough & (far[rows, nearest] <= math.log(FARTHEST)) & ~baking & read
        self._limit = np.where(chosen, nearest, self._limit)
        self._share = np.where(chosen, shares[rows, nearest], self._share)
        back = baking & (self._frozen >= self._limit)
        self._limit = np.where(back, self._frozen, self._limit)
        self._share = np.where(back, self._frozen_share, self._share)
        return speaks_for, enough

    def _expected(self) -> Floats:
        return self._share

    def keep(self, kept: Bools) -> None:
        """Go on with these rollouts only."""
        super().keep(kept)
        for name in ("_frozen", "_frozen_share", "_limit", "_share", "_slower", "_seen"):
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
        metric, least = self._metric, self._metric.least_rows
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


def _bounds(canary: Floats, stable: Floats, bounds: tuple[Floats, Floats] | None) -> tuple[Floats, Floats, Bools]:
    """Least and greatest share of the canary, and where they are needed, as :func:`.sequential.update` takes them."""
    share = canary / np.maximum(canary + stable, 1.0)
    if bounds is None:
        return share, share, np.zeros(len(share), np.bool_)
    low, high = bounds
    some = canary + stable > 0.0
    return np.where(some, np.minimum(low, share), low), np.where(some, np.maximum(high, share), high), low < high


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
