"""What happens to the requests of both arms: rates, distributions, incidents."""

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
            raise ValueError("rates are shares of requests, from 0 to below 1")


@dataclass(frozen=True, slots=True)
class Bins:
    """Distributions of predictions over the bins of a histogram.

    Attributes:
        stable: Probabilities of stable's bins.
        canary: Probabilities of the canary's.
        together: Rows of a request, which are all alike.
    """

    stable: tuple[float, ...]
    canary: tuple[float, ...]
    together: int = 1


def tilted(stable: tuple[float, ...], distance: float, *, together: int = 1) -> Bins:
    """Bins of a canary whose predictions are somewhat higher, by so much that the distance is this one.

    Args:
        stable: Probabilities of stable's bins.
        distance: Population stability index, from 0.
        together: Rows of a request.
    """
    q, places = np.asarray(stable), np.linspace(-1.0, 1.0, len(stable))
    low, high = 0.0, _STEEPEST
    for _ in range(_HALVINGS):
        tilt = (low + high) / 2.0
        p = q * np.exp(tilt * (places - 1.0))
        p /= p.sum()
        low, high = (tilt, high) if ((p - q) * np.log(p / q)).sum() < distance else (low, tilt)
    return Bins(stable, tuple(p.tolist()) if distance else stable, together)


@dataclass(frozen=True, slots=True)
class Times:
    """Distributions of latencies over the buckets of a histogram.

    Attributes:
        edges: Upper edges in seconds; one bucket more is beyond the last.
        stable: Probabilities of stable's buckets.
        canary: Probabilities of the canary's.
        before: Probabilities of stable's before the run, when the load was another one.
    """

    edges: tuple[float, ...]
    stable: tuple[float, ...]
    canary: tuple[float, ...]
    before: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Incidents:
    """Times in which events are more frequent.

    Attributes:
        factor: By how much.
        every: Mean seconds from one to the next.
        lasting: Mean seconds that one lasts.
        arms: ``both``, or ``one``: either arm, by chance.
    """

    factor: float
    every: float
    lasting: float
    arms: Literal["both", "one"] = "both"


@dataclass(frozen=True, slots=True)
class ChangeEffect:
    """What happens when a route has followed a change of the weight.

    Attributes:
        rate: Share of the requests of these seconds that are events.
        arms: ``both``, or ``canary``.
    """

    rate: float
    arms: Literal["both", "canary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What happens to requests.

    Attributes:
        requests_per_second: Of both arms together.
        rates: Rates of events by name of a metric or, where that is not there, by its type. Metrics of one key count
            the same events: a gateway counts the errors that pods count too.
        bins: Distributions of predictions, for metrics of type drift.
        times: Distributions of latencies, for metrics of type latency: their limits are then chosen as in a real run.
        incidents: Times in which events are more frequent.
        change: What happens when the route has followed a change of the weight, for :data:`.window.ROUTE_DELAY_S`
            seconds.
        correlation: Intraclass correlation of the events of one arm in one sample; 0 for independent requests.
        burden: By how much the canary's rates rise when it has more than half of the requests.
        day: How much load and rates rise and fall within :data:`DAY` seconds, from 0 to below 1.
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
        """Where the rates of a metric stand.

        Raises:
            ValueError: Nowhere.
        """
        for key in (metric.full_name, metric.type):
            if key in self.rates:
                return key
        raise ValueError(f"the traffic has no rates for the metric {metric.full_name}")
