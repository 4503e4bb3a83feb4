"""Latency as a rate of events: requests slower than a limit that is frozen before the rollout.

The limit is a quantile of stable, taken from its traffic before the canary gets any. What is slower is an event of
:mod:`.sequential`; load that makes both arms slower moves both rates and says nothing of the canary. The canary's own
limit is so many times as long as a good version may take: where latencies are steady, a little slower would else be
many more slow requests. Limits are bucket edges: stable's is the one whose share of slower requests is nearest to the
quantile's, the canary's the first that is long enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tandem_rollout.analysis.counts import Counters, NoData

LEAST_REQUESTS = 5000
"""Requests that a limit is frozen from, at least."""

_FARTHEST = 5.0
"""An edge with over five times, or under a fifth of, the share of slower requests is another quantile."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A frozen limit.

    Attributes:
        seconds: Requests of stable that took longer are events.
        canary_seconds: Requests of the canary that took longer are.
        share: Share of stable's requests that did, before the rollout: what rate of events to expect.
        requests: Requests that this was frozen from.
    """

    seconds: float
    canary_seconds: float
    share: float
    requests: float


def freeze(
    buckets: Mapping[float, float], quantile: float, slowdown: float = 1.0, *, least: int = LEAST_REQUESTS
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
        return NoData(f"a limit of latency takes {least} requests of stable, there are {max(total, 0.0):g}")
    shares = {edge: 1.0 - count / total for edge, count in buckets.items() if math.isfinite(edge)}
    wanted = 1.0 - quantile
    far = {edge: abs(math.log(share / wanted)) for edge, share in shares.items() if share > 0.0}
    if not far or min(far.values()) > math.log(_FARTHEST):
        return NoData(f"no bucket edge is near the quantile {quantile:g} of stable: its histogram needs finer buckets")
    nearest = min(far, key=lambda edge: (far[edge], edge))
    own = [edge for edge in shares if edge >= nearest * slowdown]
    return Limit(nearest, min(own, default=max(shares)), shares[nearest], total)


def counters(histograms: Mapping[str, Mapping[float, float]], limit: float) -> Counters:
    """Requests and slow requests of one target, for :func:`.counts.tick`.

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
