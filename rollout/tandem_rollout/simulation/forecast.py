"""Forecasts for given traffic: outcomes and cost for a canary that is as good as stable, and for worse ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tandem_rollout.api.analysis import Metric
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.simulation.outcome import ROLLED_BACK, UNDECIDED, Outcomes, Spread, spread
from tandem_rollout.simulation.rollouts import Case, simulate
from tandem_rollout.simulation.traffic import Bins, EventRates, Traffic, tilted

RATIOS: Final = (1.0, 1.5, 2.0, 5.0)
"""Ratios of the canary's rate to stable's."""
DISTANCES: Final = (0.0, 0.6, 1.5, 2.0, 5.0)
"""For drift, ratios of the distance to the limit."""
_EVEN: Final = Bins((0.1,) * 10, (0.1,) * 10)
_MAX: Final = 0.95
"""Maximum rate of a worse canary."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast for one kind of canary.

    Attributes:
        ratio: Ratio of its rate to stable's; for drift, of its distance to the limit.
        outcomes: Outcomes of its rollouts.
        requests: Canary requests until the decision, of decided rollouts; None if there are none.
        minutes: Minutes until the decision, likewise.
    """

    ratio: float
    outcomes: Outcomes
    requests: Spread | None
    minutes: Spread | None


def steady(requests_per_second: float, rates: Mapping[str, float]) -> Traffic:
    """Traffic with constant rates and a canary that is as good as stable.

    Args:
        requests_per_second: Requests per second of both arms together.
        rates: Rates by name or type of the metrics.
    """
    same = {key: EventRates(rate, rate) for key, rate in rates.items()}
    return Traffic(requests_per_second=requests_per_second, rates=same, bins=_EVEN)


def worse(traffic: Traffic, metric: Metric, ratio: float) -> Traffic:
    """The same traffic with a worse canary, whose rate is 95 % at most.

    Args:
        traffic: The traffic.
        metric: The metric by which the canary is worse.
        ratio: Ratio of the canary's rate to stable's; for drift, of its distance to the limit.
    """
    if metric.type == "drift":
        return replace(traffic, bins=tilted((traffic.bins or _EVEN).stable, ratio * metric.limit))
    key = traffic.key(metric)
    stable = traffic.rates[key].stable
    return replace(traffic, rates={**traffic.rates, key: EventRates(stable, min(stable * ratio, _MAX))})


def kinds(metric: Metric) -> tuple[float, ...]:
    """Ratios of the simulated canaries. The first canary is as good as stable."""
    return DISTANCES if metric.type == "drift" else RATIOS


def forecast(
    case: Case,
    metric: Metric,
    *,
    ratios: Sequence[float] = (),
    rollouts: int = 1000,
    seed: int = 1,
    tell: Callable[[int], None] | None = None,
) -> list[Forecast]:
    """Simulate several kinds of canaries.

    Args:
        case: The simulated case.
        metric: The metric by which the canaries are worse.
        ratios: Their ratios; by default those of :func:`kinds`.
        rollouts: Number of rollouts of each kind.
        seed: Seed of the random numbers.
        tell: Called with the number of newly simulated rollouts.
    """
    forecasts = []
    for number, ratio in enumerate(ratios or kinds(metric)):
        outcomes = simulate(
            replace(case, traffic=worse(case.traffic, metric, ratio)), rollouts=rollouts, seed=seed + number, tell=tell
        )
        # the numbers of undecided rollouts are those of the timeout
        decided = outcomes.ended != UNDECIDED
        requests, minutes = spread(outcomes.requests[decided]), spread(outcomes.seconds[decided] / 60.0)
        forecasts.append(Forecast(ratio, outcomes, requests, minutes))
    return forecasts


def predicted_requests(
    metrics: Sequence[Metric],
    traffic: Traffic,
    *,
    weight: int,
    interval: float = 10.0,
    warmup: float = 15.0,
    timeout: float = 3600.0,
    rollouts: int = 1000,
    seed: int = 1,
) -> Spread | None:
    """Requests of a bad canary until its rollback, including those of the warm-up.

    Args:
        metrics: The metrics. The threshold rises with the number of gates.
        traffic: The traffic, with the canary's rates.
        weight: The canary's percentage of the requests.
        interval: Seconds between samples.
        warmup: Seconds in which latency is not judged.
        timeout: Maximum seconds.
        rollouts: Number of simulated rollouts.
        seed: Seed of the random numbers.

    Returns:
        Their distribution; None if no canary is rolled back.
    """
    case = Case(
        metrics=metrics,
        schedule=Schedule(steps=(ScheduledStep(weight=weight, min_duration=interval),), timeout=timeout),
        traffic=traffic,
        interval=interval,
        warmup=warmup,
    )
    outcomes = simulate(case, rollouts=rollouts, seed=seed)
    return spread(outcomes.requests[outcomes.ended == ROLLED_BACK])
