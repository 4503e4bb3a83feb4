"""Evidence about latency with limits that are chosen in the run, of many rollouts."""

from __future__ import annotations

import math

import numpy as np

from tandem_rollout.analysis.latency import MAX_FACTOR, MIN_REQUESTS, Limit, freeze, max_recent
from tandem_rollout.analysis.priors import Floats
from tandem_rollout.api.analysis import Metric
from tandem_rollout.simulation.evidence import Bools, Ratios
from tandem_rollout.simulation.outage import ABSENT, SEEN, Codes
from tandem_rollout.simulation.traffic import Times


class Latencies(Ratios):
    """Evidence about latency with a limit that is chosen from stable's requests, as in a real run.

    Args:
        metric: The metric.
        rollouts: Number of rollouts.
        gates: Number of metrics that can each roll back.
        times: Distributions of latencies.
        phi: Dispersion, by rollout.
    """

    def __init__(self, metric: Metric, rollouts: int, *, gates: int, times: Times, phi: Floats | None = None) -> None:
        super().__init__(metric, rollouts, gates=gates, phi=phi)
        self._edges = np.asarray(times.edges)
        longer = [np.flatnonzero(self._edges >= edge * metric.slowdown) for edge in times.edges]
        # the last edge if no edge is long enough, as in latency.freeze
        self._own = np.array([places[0] if len(places) else len(times.edges) - 1 for places in longer])
        # more requests than a limit needs to be frozen
        before = dict(zip((*times.edges, math.inf), np.cumsum(times.before) * MIN_REQUESTS * 2.0, strict=True))
        frozen = freeze(before, metric.quantile, metric.slowdown)
        # −1 for no limit, as an array of indexes has no None
        place = times.edges.index(frozen.seconds) if isinstance(frozen, Limit) else -1
        self._frozen = np.full(rollouts, place)
        self._frozen_share = np.full(rollouts, frozen.share if isinstance(frozen, Limit) else 0.0)
        self._limit, self._share = self._frozen.copy(), self._frozen_share.copy()
        self._slower, self._seen = np.zeros((rollouts, len(times.edges))), np.zeros(rollouts)

    def add_times(
        self,
        sampled: Bools,
        trouble: Codes,
        canary: Floats,
        stable: Floats,
        *,
        baking: Bools,
        bounds: tuple[Floats, Floats] | None = None,
        cold: bool | Bools = False,
    ) -> Bools:
        """Add a sample in which both arms have requests.

        Args:
            sampled: Rollouts with a sample.
            trouble: Codes of missing data.
            canary: Requests of the canary, by bucket.
            stable: Requests of stable, by bucket.
            baking: Rollouts whose canary is promoted.
            bounds: Minimum and maximum share of the canary. They differ if its weight changed in the sample.
            cold: Rollouts whose canary has cold caches, so that latency is not judged.

        Returns:
            Rollouts with counts.
        """
        ours, theirs = canary.sum(axis=1), stable.sum(axis=1)
        slow_canary, slow_stable = (
            buckets.sum(axis=1, keepdims=True) - np.cumsum(buckets, axis=1)[:, :-1] for buckets in (canary, stable)
        )
        # before the sample is remembered, as a limit must be known before what it judges
        speaks_for, chosen = self._choose(baking, sampled & (trouble == SEEN))
        none = self._limit < 0
        # without a limit any index will do: there is no data
        rows, limit = np.arange(len(ours)), np.maximum(self._limit, 0)
        counted = self.add(
            sampled,
            np.where((trouble == SEEN) & none, ABSENT, trouble).astype(np.int8),
            ours,
            slow_canary[rows, self._own[limit]],
            theirs,
            slow_stable[rows, limit],
            baking=baking,
            speaks_for=speaks_for,
            chosen=chosen,
            bounds=bounds,
            cold=cold,
        )
        # samples with cold caches too, as only the canary is cold
        remembered = (counted | (sampled & (trouble == SEEN) & (none | cold))) & ~baking
        self._seen += np.where(remembered, theirs, 0.0)
        self._slower += np.where(remembered[:, None], slow_stable, 0.0)
        fraction = np.minimum(1.0, max_recent(self._metric.quantile) / np.maximum(self._seen, 1.0))
        self._seen *= fraction
        self._slower *= fraction[:, None]
        return counted

    def _choose(self, baking: Bools, read: Bools) -> tuple[Bools, Bools]:
        """Choose the limits of a sample; returns where it may be evidence for the canary, and where they are chosen."""
        speaks_for, enough = self._enough(self._seen, baking)
        shares = self._slower / np.maximum(self._seen, 1.0)[:, None]
        # np.where computes both branches, and log 0 would warn
        far = np.where(shares > 0.0, np.abs(np.log(np.maximum(shares, 1e-12) / (1.0 - self._metric.quantile))), np.inf)
        nearest = far.argmin(axis=1)
        rows = np.arange(len(nearest))
        chosen = enough & (far[rows, nearest] <= math.log(MAX_FACTOR)) & ~baking & read
        self._limit = np.where(chosen, nearest, self._limit)
        self._share = np.where(chosen, shares[rows, nearest], self._share)
        # the longest limit, as in gather_latency
        back = baking & (self._frozen >= self._limit)
        self._limit = np.where(back, self._frozen, self._limit)
        self._share = np.where(back, self._frozen_share, self._share)
        return speaks_for, enough

    def _expected(self) -> Floats:
        return self._share

    def keep(self, kept: Bools) -> None:
        """Keep only some rollouts."""
        super().keep(kept)
        for name in ("_frozen", "_frozen_share", "_limit", "_share", "_slower", "_seen"):
            setattr(self, name, getattr(self, name)[kept])
