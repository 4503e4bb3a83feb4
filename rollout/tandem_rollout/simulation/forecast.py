"""What rollouts of one's own traffic take: of a canary that is as good as stable, and of canaries that are worse."""

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
"""Rates over stable's."""
DISTANCES: Final = (0.0, 0.6, 1.5, 2.0, 5.0)
"""Of drift: distances over the limit."""
_EVEN: Final = Bins((0.1,) * 10, (0.1,) * 10)
_MAX: Final = 0.95
"""A worse canary's rate is not higher."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What becomes of one kind of canary.

    Attributes:
        ratio: Its rate of events over stable's; of drift its distance over the limit.
        outcomes: How its rollouts ended.
        requests: Canary requests until the decision, of those that were decided; None where none was.
        minutes: Minutes that they took.
    """

    ratio: float
    outcomes: Outcomes
    requests: Spread | None
    minutes: Spread | None


def steady(requests_per_second: float, rates: Mapping[str, float]) -> Traffic:
    """Traffic whose rates stay, of a canary that is as good as stable.

    Args:
        requests_per_second: Of both arms together.
        rates: Rates by name or type of the metrics.
    """
    same = {key: EventRates(rate, rate) for key, rate in rates.items()}
    return Traffic(requests_per_second=requests_per_second, rates=same, bins=_EVEN)


def worse(traffic: Traffic, metric: Metric, ratio: float) -> Traffic:
    """The same traffic with a canary that has so many times stable's rate, though no more than 95 %.

    Args:
        traffic: The traffic.
        metric: What it is worse by.
        ratio: The canary's rate over stable's; of drift its distance over the limit.
    """
    if metric.type == "drift":
        return replace(traffic, bins=tilted((traffic.bins or _EVEN).stable, ratio * metric.limit))
    key = traffic.key(metric)
    stable = traffic.rates[key].stable
    return replace(traffic, rates={**traffic.rates, key: EventRates(stable, min(stable * ratio, _MAX))})


def kinds(metric: Metric) -> tuple[float, ...]:
    """How much worse by a metric canaries are, the first of them not at all."""
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
    """What becomes of canaries.

    Args:
        case: What is simulated.
        metric: What they are worse by.
        ratios: How much worse; by default as :func:`kinds` has it.
        rollouts: How many of each.
        seed: Of chance.
        tell: Told how many rollouts have been simulated more.
    """
    forecasts = []
    for number, ratio in enumerate(ratios or kinds(metric)):
        outcomes = simulate(
            replace(case, traffic=worse(case.traffic, metric, ratio)), rollouts=rollouts, seed=seed + number, tell=tell
        )
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
    """Requests that a bad canary answers until it is rolled back, those of the warm-up among them.

    Args:
        metrics: The metrics; the threshold rises with the number of gates.
        traffic: What happens, with the canary's rates.
        weight: The canary's percentage of the requests.
        interval: Seconds between samples.
        warmup: Seconds in which latency is not judged.
        timeout: Most seconds.
        rollouts: How many are simulated.
        seed: Of chance.

    Returns:
        How they spread; None where no canary is rolled back.
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
