"""Latency as a rate of events: the share of the requests that are slower than a limit, which is a quantile of stable.

A slow request is an event of :mod:`.sequential`. Load that slows both arms raises both rates and is no evidence about
the canary. The canary's limit is larger than stable's by the factor ``slowdown``: with a narrow distribution of
latency, a slightly slower version would otherwise have many more slow requests. Limits are bucket edges. Stable's limit
is the edge whose share of slower requests is nearest to that of the quantile. The canary's limit is the first edge that
is large enough.

The load before the run may have been different. Then few or most of stable's requests are slow, and both are little
evidence about the canary. So the limit of a sample is chosen from stable's requests in the previous samples of the run.
A limit that is known before the sample leaves each factor of E with mean 1 at most, whatever the limit is: the error
probabilities stay valid at any time without a correction for several limits. They are those of a canary that is not
worse, or worse by the margin, at the chosen limits. Until enough of stable's requests were counted, the limit that was
frozen before the run is used, and samples are evidence against the canary only: at a limit that is far too short a bad
version looks good. Samples with chosen limits also have evidence of their own, besides that of all samples, so that
they need not outweigh the first ones. During the bake time the limit is fixed, as stable has few requests and idle
pods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tandem_rollout.analysis.counts import ArmCounts, Counters, Increments, NoData, sum_targets

MIN_REQUESTS = 5000
"""Minimum number of requests for freezing a limit."""

MIN_SLOW = 3.0
"""Minimum expected number of slow requests for choosing a limit in the run: 60 requests for the quantile 0.95."""

SURE = 10.0
"""Minimum expected number of slow requests for a limit that allows evidence for the canary."""

MAX_FACTOR = 5.0
"""Maximum factor between the share of slower requests at a bucket edge and that of the quantile."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of latency.

    Attributes:
        seconds: Stable's limit. Slower requests are events.
        canary_seconds: The canary's limit.
        share: Share of stable's slower requests when the limit was chosen: the expected rate of events.
        requests: Number of requests from which the limit was chosen.
    """

    seconds: float
    canary_seconds: float
    share: float
    requests: float


def freeze(
    buckets: Mapping[float, float], quantile: float, slowdown: float = 1.0, *, least: int = MIN_REQUESTS
) -> Limit | NoData:
    """The limit at the bucket edge nearest to a quantile.

    Args:
        buckets: Requests by upper edge in seconds, cumulative as in Prometheus; the edge ``inf`` counts all.
        quantile: The quantile, such as 0.95.
        slowdown: Factor of the canary's limit. The limit is at most the last edge.
        least: Minimum number of requests.
    """
    total = buckets.get(math.inf, math.nan)
    # a histogram without the edge inf has the total NaN, which compares as false
    if not least <= total < math.inf:
        return NoData(
            "TooFewRequests", f"a limit of latency needs {least} requests of stable, there are {max(total, 0.0):g}"
        )
    shares = {edge: 1.0 - count / total for edge, count in buckets.items() if math.isfinite(edge)}
    expected = 1.0 - quantile
    # by ratios: twice as many slow requests are as far from the quantile as half as many
    far = {edge: abs(math.log(share / expected)) for edge, share in shares.items() if share > 0.0}
    if not far or min(far.values()) > math.log(MAX_FACTOR):
        return NoData(
            "NoBucketNear",
            f"no bucket edge is near the quantile {quantile:g} of stable: the histogram needs finer buckets",
        )
    # of two edges at the same distance always the shorter one
    nearest = min(far, key=lambda edge: (far[edge], edge))
    # beyond the last edge a histogram cannot tell how slow a request was
    own = [edge for edge in shares if edge >= nearest * slowdown]
    return Limit(nearest, min(own, default=max(shares)), shares[nearest], total)


@dataclass(frozen=True, slots=True)
class Recent:
    """Stable's recent requests in the run.

    Attributes:
        edges: Bucket edges in seconds.
        slower: Number of slower requests, by edge.
        requests: Number of all requests.
    """

    edges: tuple[float, ...] = ()
    slower: tuple[float, ...] = ()
    requests: float = 0.0


def remember(recent: Recent, buckets: Mapping[float, float], quantile: float) -> Recent:
    """The recent requests with those of one more sample. Older requests fade, so that the limit follows the load.

    Args:
        recent: The previous requests.
        buckets: Requests of the sample by upper edge, cumulative; empty if nothing was counted.
        quantile: The quantile, such as 0.95. More requests are remembered for a higher quantile.
    """
    total = buckets.get(math.inf, 0.0)
    if not total > 0.0:
        return recent
    edges = tuple(sorted(edge for edge in buckets if math.isfinite(edge)))
    # a histogram with other edges cannot be added edge by edge
    previous = recent if recent.edges == edges else Recent(edges, (0.0,) * len(edges))
    requests = previous.requests + total
    fraction = min(1.0, max_recent(quantile) / requests)
    # buckets are not read at the same instant, so that one may be ahead of the total
    slower = (
        fraction * (old + max(total - buckets[edge], 0.0)) for edge, old in zip(edges, previous.slower, strict=True)
    )
    return Recent(edges, tuple(slower), fraction * requests)


def min_recent(quantile: float, slow: float = MIN_SLOW) -> float:
    """Number of stable's requests with an expected number of slow ones."""
    return slow / (1.0 - quantile)


def max_recent(quantile: float) -> float:
    """Maximum number of stable's requests that are remembered."""
    return max(MIN_REQUESTS, 2.0 * min_recent(quantile, SURE))


def choose(recent: Recent, quantile: float, slowdown: float) -> Limit | NoData:
    """The limit of the next sample, from stable's requests in the previous samples.

    Args:
        recent: The requests.
        quantile: The quantile, such as 0.95.
        slowdown: Factor of the canary's limit.
    """
    buckets = {edge: recent.requests - slower for edge, slower in zip(recent.edges, recent.slower, strict=True)}
    # rounded, as 3 / (1 − 0.95) is not exactly 60, and messages contain the number
    least = round(min_recent(quantile))
    return freeze({**buckets, math.inf: recent.requests}, quantile, slowdown, least=least)


def longest(*limits: Limit | None) -> Limit | None:
    """The longest of some limits; None if there is none."""
    return max((limit for limit in limits if limit is not None), key=lambda limit: limit.seconds, default=None)


def counters(histograms: Mapping[str, Mapping[float, float]], limit: float) -> Counters:
    """Requests and slow requests of one target, for :func:`.counts.count_increments`.

    Args:
        histograms: Cumulative buckets by series.
        limit: The arm's limit in seconds. A target whose histogram does not have this edge is omitted.
    """
    return Counters(
        requests={series: buckets.get(math.inf, math.nan) for series, buckets in histograms.items()},
        events={
            # NaN rejects the whole target: with 0 all its requests would be slow
            series: buckets.get(math.inf, math.nan) - buckets.get(limit, math.nan)
            for series, buckets in histograms.items()
        },
    )


def buckets(arm: ArmCounts) -> dict[float, float]:
    """Requests of all targets of an arm by upper edge, cumulative."""
    return {edge: count for edge, count in sum_targets(arm).items() if not isinstance(edge, tuple)}


def earlier_buckets(arm: ArmCounts) -> dict[float, float]:
    """Requests of all targets of an arm before the counted ones, by upper edge, cumulative."""
    total: dict[float, float] = {}
    for target, shown in arm.shown.items():
        counted = arm.counted.get(target, {})
        for edge, count in shown.items():
            if not isinstance(edge, tuple):
                # after a restart a window may have counted more than the target shows
                total[edge] = total.get(edge, 0.0) + max(count - counted.get(edge, 0.0), 0.0)
    return total


def count_slow(canary: ArmCounts, stable: ArmCounts, limit: Limit) -> Increments | NoData:
    """Requests and slow requests of both arms in a window.

    Args:
        canary: Histograms of the canary.
        stable: Histograms of stable.
        limit: The limit. A target whose histogram does not have its edge is omitted.
    """
    counts = []
    for name, arm, edge in (("canary", canary, limit.canary_seconds), ("stable", stable, limit.seconds)):
        # an idle target may have no buckets yet, and then has no slow requests either
        histograms = [values for values in arm.counted.values() if edge in values or not values]
        if not histograms:
            return NoData("NoBucketBelow", f"{name}: no histogram has a bucket with the edge {edge:g} s")
        requests = math.fsum(values.get(math.inf, 0.0) for values in histograms)
        counts += [requests, requests - math.fsum(values.get(edge, 0.0) for values in histograms)]
    return Increments(*counts)
