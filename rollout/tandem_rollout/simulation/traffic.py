"""The traffic of both arms: rates, distributions and incidents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tandem_rollout.api.analysis import Metric

DAY = 86400.0
"""Seconds of a day."""

_STEEPEST = 50.0
_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class EventRates:
    """Rates of one kind of event.

    Attributes:
        stable: Share of stable's requests.
        canary: Share of the canary's requests.
    """

    stable: float
    canary: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.stable < 1.0 and 0.0 <= self.canary < 1.0):
            raise ValueError("rates must be shares of requests, from 0 to below 1")


@dataclass(frozen=True, slots=True)
class Bins:
    """Distributions of predictions over the bins of a histogram.

    Attributes:
        stable: Probabilities of stable's bins.
        canary: Probabilities of the canary's.
        together: Number of rows of a request, which are all equal.
    """

    stable: tuple[float, ...]
    canary: tuple[float, ...]
    together: int = 1


def tilted(stable: tuple[float, ...], distance: float, *, together: int = 1) -> Bins:
    """Bins of a canary with higher predictions and a given distance.

    Args:
        stable: Probabilities of stable's bins.
        distance: Population stability index, from 0.
        together: Number of rows of a request.
    """
    q, places = np.asarray(stable), np.linspace(-1.0, 1.0, len(stable))
    low, high = 0.0, _STEEPEST
    for _ in range(_HALVINGS):
        tilt = (low + high) / 2.0
        # exponents of 0 at most, so that exp cannot overflow
        p = q * np.exp(tilt * (places - 1.0))
        p /= p.sum()
        # the distance grows with the tilt
        low, high = (tilt, high) if ((p - q) * np.log(p / q)).sum() < distance else (low, tilt)
    # halving comes near a distance of 0, and never reaches it
    return Bins(stable, tuple(p.tolist()) if distance else stable, together)


@dataclass(frozen=True, slots=True)
class Times:
    """Distributions of latencies over the buckets of a histogram.

    Attributes:
        edges: Upper edges in seconds. There is one more bucket above the last edge.
        stable: Probabilities of stable's buckets.
        canary: Probabilities of the canary's.
        before: Probabilities of stable's buckets before the run, with another load.
    """

    edges: tuple[float, ...]
    stable: tuple[float, ...]
    canary: tuple[float, ...]
    before: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Incidents:
    """Incidents, in which events are more frequent.

    Attributes:
        factor: Factor of the rates.
        every: Mean seconds between incidents.
        lasting: Mean duration in seconds.
        arms: ``both``, or ``one``: a random arm.
    """

    factor: float
    every: float
    lasting: float
    arms: Literal["both", "one"] = "both"


@dataclass(frozen=True, slots=True)
class ChangeEffect:
    """The effect of a change of the weight.

    Attributes:
        rate: Share of the requests just after the change that are events.
        arms: ``both``, or ``canary``.
    """

    rate: float
    arms: Literal["both", "canary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The traffic of a rollout.

    Attributes:
        requests_per_second: Requests per second of both arms together.
        rates: Rates of events by the name of a metric or, without such an entry, by its type. Metrics with the same key
            count the same events, like gateway and pods.
        bins: Distributions of predictions, for metrics of type drift.
        times: Distributions of latencies, for metrics of type latency, whose limits are then chosen as in a real run.
        incidents: Incidents.
        change: What happens when the route has followed a change of the weight, for :data:`.window.ROUTE_DELAY_S`
            seconds.
        correlation: Intraclass correlation of the events of one arm in one sample; 0 for independent requests.
        burden: Factor of the canary's rates while it has more than half of the requests.
        day: Relative amplitude of the daily wave of load and rates within :data:`DAY` seconds, from 0 to below 1.
    """

    requests_per_second: float = 20.0
    rates: Mapping[str, EventRates] = field(default_factory=dict)
    bins: Bins | None = None
    times: Times | None = None
    incidents: Incidents | None = None
    change: ChangeEffect | None = None
    correlation: float = 0.0
    burden: float = 1.0
    day: float = 0.0

    def key(self, metric: Metric) -> str:
        """The key of the rates of a metric.

        Raises:
            ValueError: There is none.
        """
        for key in (metric.full_name, metric.type):
            if key in self.rates:
                return key
        raise ValueError(f"the traffic has no rates for the metric {metric.full_name}")
