"""Latency as a rate of events: requests slower than a limit, which is a quantile of stable.

What is slower is an event of :mod:`.sequential`; load that makes both arms slower moves both rates and says nothing of
the canary. The canary's own limit is so many times as long as a good version may take: where latencies are steady, a
little slower would else be many more slow requests. Limits are bucket edges: stable's is the one whose share of slower
requests is nearest to the quantile's, the canary's the first that is long enough.

Load before the run may have been another one, and then few of stable's requests are slow, or most of them: neither says
much of the canary. So the limit of a sample is chosen from stable's requests in the samples of the run before it. A
choice that is known before the sample leaves each factor of E with mean 1 at most, whatever the limit is: chances of
error stay what they are at any time, and nothing is shared out among limits. They are those of a canary that is no
worse, or worse by the margin, at the limits that were chosen. Until enough of stable's requests were counted, the limit
is the one that was frozen before the run, and what is counted can only speak against the canary: at a limit that is far
too short a bad version looks good. What is counted at chosen limits is weighed by itself too, beside that of all
samples, so that it has not to outweigh the first ones. While it bakes the limit stays: stable has few requests then,
and its pods are idle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tandem_rollout.analysis.counts import ArmCounts, Counters, Increments, NoData, sum_targets

MIN_REQUESTS = 5000
"""Requests that a limit is frozen from, at least."""

MIN_SLOW = 3.0
"""Slow requests of stable that a limit is chosen from in the run, at least: of the quantile 0.95 of 60 requests."""

SURE = 10.0
"""And those with which it is near enough to the quantile for what is counted to speak for a canary."""

MAX_FACTOR = 5.0
"""An edge with over five times, or under a fifth of, the share of slower requests is another quantile."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit.

    Attributes:
        seconds: Requests of stable that took longer are events.
        canary_seconds: Requests of the canary that took longer are.
        share: Share of stable's requests that did, when it was chosen: what rate of events to expect.
        requests: Requests that it was chosen from.
    """

    seconds: float
    canary_seconds: float
    share: float
    requests: float


def freeze(
    buckets: Mapping[float, float], quantile: float, slowdown: float = 1.0, *, least: int = MIN_REQUESTS
) -> Limit | NoData:
    """The bucket edge next to a quantile.

    Args:
        buckets: Requests by upper edge in seconds, cumulative as in Prometheus; the edge ``inf`` counts all.
        quantile: Like 0.95.
        slowdown: So many times as long may the canary take. Above the last edge it is that edge.
        least: Requests that it takes.
    """
    total = buckets.get(math.inf, math.nan)
    if not least <= total < math.inf:
        return NoData(
            "TooFewRequests", f"a limit of latency takes {least} requests of stable, there are {max(total, 0.0):g}"
        )
    shares = {edge: 1.0 - count / total for edge, count in buckets.items() if math.isfinite(edge)}
    expected = 1.0 - quantile
    far = {edge: abs(math.log(share / expected)) for edge, share in shares.items() if share > 0.0}
    if not far or min(far.values()) > math.log(MAX_FACTOR):
        return NoData(
            "NoBucketNear",
            f"no bucket edge is near the quantile {quantile:g} of stable: its histogram needs finer buckets",
        )
    nearest = min(far, key=lambda edge: (far[edge], edge))
    own = [edge for edge in shares if edge >= nearest * slowdown]
    return Limit(nearest, min(own, default=max(shares)), shares[nearest], total)


@dataclass(frozen=True, slots=True)
class Recent:
    """Stable's last requests in the run.

    Attributes:
        edges: Bucket edges in seconds.
        slower: Requests that took longer, by edge.
        requests: All of them.
    """

    edges: tuple[float, ...] = ()
    slower: tuple[float, ...] = ()
    requests: float = 0.0


def remember(recent: Recent, buckets: Mapping[float, float], quantile: float) -> Recent:
    """Recent requests with those of one more sample; older ones fade, so that the limit follows the load.

    Args:
        recent: Those before.
        buckets: Requests of the sample by upper edge, cumulative; empty where nothing was counted.
        quantile: Like 0.95: the rarer slow requests are, the more of them are remembered.
    """
    total = buckets.get(math.inf, 0.0)
    if not total > 0.0:
        return recent
    edges = tuple(sorted(edge for edge in buckets if math.isfinite(edge)))
    previous = recent if recent.edges == edges else Recent(edges, (0.0,) * len(edges))
    requests = previous.requests + total
    fraction = min(1.0, max_recent(quantile) / requests)
    slower = (
        fraction * (old + max(total - buckets[edge], 0.0)) for edge, old in zip(edges, previous.slower, strict=True)
    )
    return Recent(edges, tuple(slower), fraction * requests)


def min_recent(quantile: float, slow: float = MIN_SLOW) -> float:
    """Requests of stable in the run among which so many slow ones are to be expected."""
    return slow / (1.0 - quantile)


def max_recent(quantile: float) -> float:
    """Requests of stable that are remembered."""
    return max(MIN_REQUESTS, 2.0 * min_recent(quantile, SURE))


def choose(recent: Recent, quantile: float, slowdown: float) -> Limit | NoData:
    """The limit of the next sample, from stable's requests in the samples before it.

    Args:
        recent: Those requests.
        quantile: Like 0.95.
        slowdown: So many times as long may the canary take.
    """
    buckets = {edge: recent.requests - slower for edge, slower in zip(recent.edges, recent.slower, strict=True)}
    least = round(min_recent(quantile))
    return freeze({**buckets, math.inf: recent.requests}, quantile, slowdown, least=least)


def longest(*limits: Limit | None) -> Limit | None:
    """The longest of some limits; None where there is none."""
    return max((limit for limit in limits if limit is not None), key=lambda limit: limit.seconds, default=None)


def counters(histograms: Mapping[str, Mapping[float, float]], limit: float) -> Counters:
    """Requests and slow requests of one target, for :func:`.counts.count_increments`.

    Args:
        histograms: Cumulative buckets by series.
        limit: The arm's limit in seconds. A histogram without this edge cannot be counted, and its target is left out.
    """
    return Counters(
        requests={series: buckets.get(math.inf, math.nan) for series, buckets in histograms.items()},
        events={
            series: buckets.get(math.inf, math.nan) - buckets.get(limit, math.nan)
            for series, buckets in histograms.items()
        },
    )


def buckets(arm: ArmCounts) -> dict[float, float]:
    """Requests of all targets of an arm by upper edge, cumulative."""
    return {edge: count for edge, count in sum_targets(arm).items() if not isinstance(edge, tuple)}


def earlier_buckets(arm: ArmCounts) -> dict[float, float]:
    """Requests of all targets of an arm by upper edge, cumulative, that are older than what is counted."""
    total: dict[float, float] = {}
    for target, shown in arm.shown.items():
        counted = arm.counted.get(target, {})
        for edge, count in shown.items():
            if not isinstance(edge, tuple):
                total[edge] = total.get(edge, 0.0) + max(count - counted.get(edge, 0.0), 0.0)
    return total


def count_slow(canary: ArmCounts, stable: ArmCounts, limit: Limit) -> Increments | NoData:
    """Requests and slow requests of a window.

    Args:
        canary: Histograms of the canary.
        stable: Histograms of stable.
        limit: The limit. A target whose histogram has not its edge is left out.
    """
    counts = []
    for name, arm, edge in (("canary", canary, limit.canary_seconds), ("stable", stable, limit.seconds)):
        histograms = [values for values in arm.counted.values() if edge in values or not values]
        if not histograms:
            return NoData("NoBucketBelow", f"{name}: no histogram has a bucket up to {edge:g} s")
        requests = math.fsum(values.get(math.inf, 0.0) for values in histograms)
        counts += [requests, requests - math.fsum(values.get(edge, 0.0) for values in histograms)]
    return Increments(*counts)
