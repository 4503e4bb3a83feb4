"""Latency as a rate of events: requests slower than a limit that is frozen before the rollout.

The limit is a quantile of stable, taken from its traffic before the canary gets any. What is slower is an event of
:mod:`.sequential`; load that makes both arms slower moves both rates and says nothing of the canary. From histograms,
the limit is the bucket edge whose share of slower requests is nearest to the quantile's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.counts import Counters, NoData

LEAST_REQUESTS = 5000
"""Requests that a limit is frozen from, at least."""

_FARTHEST = 5.0
"""An edge with over five times, or under a fifth of, the share of slower requests is another quantile."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A frozen limit.

    Attributes:
        seconds: Requests that took longer are events.
        share: Share of stable's requests that did, before the rollout: what rate of events to expect.
        requests: Requests that this was frozen from.
    """

    seconds: float
    share: float
    requests: float


def freeze(buckets: Mapping[float, float], quantile: float, *, least: int = LEAST_REQUESTS) -> Limit | NoData:
    """The bucket edge next to a quantile.

    Args:
        buckets: Requests by upper edge in seconds, cumulative as in Prometheus; the edge ``inf`` counts all.
        quantile: Like 0.95.
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
    return Limit(nearest, shares[nearest], total)


def freeze_exact(seconds: npt.ArrayLike, quantile: float, *, least: int = LEAST_REQUESTS) -> Limit | NoData:
    """A quantile of single latencies, where these are known.

    Args:
        seconds: Latencies of stable's requests.
        quantile: Like 0.95.
        least: Requests that it takes.
    """
    values = np.asarray(seconds, np.float64)
    if values.size < least or not np.isfinite(values).all():
        return NoData(f"a limit of latency takes {least} finite latencies of stable, there are {values.size}")
    limit = float(np.quantile(values, quantile, method="higher"))
    return Limit(limit, float(np.mean(values > limit)), float(values.size))


def counters(histograms: Mapping[str, Mapping[float, float]], limit: Limit) -> Counters:
    """Requests and slow requests of one target, for :func:`.counts.tick`.

    Args:
        histograms: Cumulative buckets by series.
        limit: The frozen limit. A histogram without this edge cannot be counted, and its target is left out.
    """
    return Counters(
        requests={series: buckets.get(math.inf, math.nan) for series, buckets in histograms.items()},
        events={
            series: buckets.get(math.inf, math.nan) - buckets.get(limit.seconds, math.nan)
            for series, buckets in histograms.items()
        },
    )


def slower(seconds: npt.ArrayLike, limit: Limit) -> tuple[int, int]:
    """Requests, and those of them that took longer than the limit, where single latencies are known."""
    values = np.asarray(seconds, np.float64)
    return int(values.size), int(np.count_nonzero(values > limit.seconds))
