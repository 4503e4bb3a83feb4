"""Simulates rollouts of a manifest: how good canaries and bad ones end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import typer

from tandem_cli.manifests import read_rollouts
from tandem_cli.rollout.output.documents.simulation import Distribution, SimulatedCanaries, SimulationDocument
from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.api.fields import InvalidSpecError, seconds
from tandem_rollout.api.manifest import parse
from tandem_rollout.engine.schedule import Schedule, ScheduledStep, build_schedule
from tandem_rollout.simulation.forecast import Forecast, forecast, kinds, steady
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, TAKEN_BACK, UNDECIDED, Spread
from tandem_rollout.simulation.rollouts import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTraffic:
    """The traffic of a simulation.

    Attributes:
        rps: Requests per second to both versions together.
        rates: Rates of stable by name of the metric, as ``METRIC=RATE``; they override the rates by type.
        error_rate: Share of errors.
        degraded_rate: Share of degraded answers.
        slow_rate: Share of slow requests; None to take it from the quantile of the metric.
        pods: Number of pods of stable.
    """

    rps: float
    rates: Sequence[str]
    error_rate: float
    degraded_rate: float
    slow_rate: float | None
    pods: int


@dataclass(frozen=True, slots=True)
class SimulatedRollout:
    """The rollout of a simulation.

    Attributes:
        name: Its name; empty without a manifest.
        case: What is simulated.
        worse: The metric by which bad canaries are worse.
    """

    name: str
    case: Case
    worse: Metric

    @property
    def kinds(self) -> int:
        """Number of kinds of canaries."""
        return len(kinds(self.worse))


def prepare_simulation(file: Path | None, weight: int, worse: str, traffic: SimulatedTraffic) -> SimulatedRollout:
    """Prepare a simulation.

    Args:
        file: File with one manifest, - for stdin; None for the default analysis.
        weight: Without a manifest, the weight of the one step, in percent.
        worse: Name of the metric by which bad canaries are worse; empty for the first one that decides.
        traffic: The traffic.

    Raises:
        InvalidSpecError: if the manifest is invalid, has no canary, or no metric decides.
        typer.BadParameter: if a rate is not valid, or there is no such metric.
    """
    name, schedule, analysis = _read_rollout(file) if file is not None else _default_rollout(weight)
    metrics = [metric for metric in analysis.all_metrics if metric.type != "assignment"]
    if file is None:
        # without a manifest, the selected metric decides: the outcomes would all be the same otherwise
        metrics = [
            msgspec.structs.replace(metric, gate=True) if metric.full_name == worse else metric for metric in metrics
        ]
    if not any(metric.gate for metric in metrics):
        raise InvalidSpecError("analysis.metrics: no metric decides, so there is nothing to simulate")
    case = Case(
        metrics=metrics,
        schedule=schedule,
        traffic=steady(traffic.rps, _rates(metrics, traffic)),
        interval=seconds(analysis.interval),
        warmup=seconds(analysis.warmup),
        dispersion=analysis.dispersion,
        pods=traffic.pods,
    )
    return SimulatedRollout(name, case, _find_metric(worse, metrics))


def run_simulation(
    rollout: SimulatedRollout, *, rps: float, rollouts: int, seed: int, progress: Callable[[int], None]
) -> SimulationDocument:
    """Simulate rollouts.

    Args:
        rollout: The rollout.
        rps: Requests per second to both versions together.
        rollouts: Number of rollouts of each kind.
        seed: Seed of the random numbers.
        progress: Called with a number of rollouts that are done.
    """
    case, worse = rollout.case, rollout.worse
    outcomes = forecast(case, worse, rollouts=rollouts, seed=seed, tell=progress)
    return SimulationDocument(
        name=rollout.name,
        requests_per_second=rps,
        rates={
            metric.full_name: case.traffic.rates[case.traffic.key(metric)].stable
            for metric in case.metrics
            if metric.type != "drift"
        },
        worse=worse.full_name,
        decides=worse.gate,
        limit=worse.limit if worse.type == "drift" else None,
        weights=[step.weight for step in case.schedule.steps],
        timeout_seconds=case.schedule.timeout,
        on_timeout=case.schedule.on_timeout,
        seed=seed,
        canaries=[_canaries(outcome) for outcome in outcomes],
    )


def _default_rollout(weight: int) -> tuple[str, Schedule, Analysis]:
    analysis = Analysis()
    schedule = Schedule(steps=(ScheduledStep(weight=weight, min_duration=60.0),), timeout=seconds(analysis.timeout))
    return "", schedule, analysis


def _read_rollout(file: Path) -> tuple[str, Schedule, Analysis]:
    manifests = read_rollouts(file)
    if len(manifests) > 1:
        raise InvalidSpecError(f"{file}: contains {len(manifests)} rollouts; simulate one at a time")
    rollout = parse(manifests[0])
    schedule = build_schedule(rollout.spec)
    if rollout.spec.strategy.canary is None or schedule is None:
        raise InvalidSpecError(f"{file}: {rollout.name}: only the strategy canary can be simulated")
    # approvals are given at once
    schedule = replace(schedule, steps=tuple(replace(step, gate=False) for step in schedule.steps))
    return rollout.name, schedule, rollout.spec.analysis or Analysis()


def _rates(metrics: Sequence[Metric], traffic: SimulatedTraffic) -> dict[str, float]:
    """Rates by name; gateway and pods count the same errors, unless ``--rate`` says otherwise."""
    options = _parse_rates(traffic.rates, [metric for metric in metrics if metric.type != "drift"])
    rates: dict[str, float] = {}
    for metric in metrics:
        if metric.full_name in options or metric.type not in ("errors", "drift"):
            rates[metric.full_name] = _rate(metric, options, traffic)
        elif metric.type == "errors":
            rates.setdefault("errors", options.get("errors", traffic.error_rate))
    return rates


def _parse_rates(options: Sequence[str], metrics: Sequence[Metric]) -> dict[str, float]:
    rates, names = {}, {metric.full_name for metric in metrics}
    for option in options:
        name, _, text = option.partition("=")
        try:
            rate = float(text)
        except ValueError:
            rate = -1.0
        if name not in names or not 0.0 <= rate <= 0.9:
            message = f"{option!r} must be one of {', '.join(sorted(names))} with a rate from 0 to 0.9"
            raise typer.BadParameter(message, param_hint="--rate")
        rates[name] = rate
    return rates


def _rate(metric: Metric, options: Mapping[str, float], traffic: SimulatedTraffic) -> float:
    if metric.full_name in options:
        return options[metric.full_name]
    if metric.type == "ratio":
        message = f"the rate of {metric.full_name} is needed: --rate {metric.full_name}=RATE"
        raise typer.BadParameter(message, param_hint="--rate")
    if metric.type == "degraded":
        return traffic.degraded_rate
    if metric.type == "latency" and traffic.slow_rate is not None:
        return traffic.slow_rate
    return traffic.error_rate if metric.type == "errors" else round(1.0 - metric.quantile, 9)


def _find_metric(name: str, metrics: Sequence[Metric]) -> Metric:
    """The metric of this name; the first one that decides if the name is empty."""
    by_name = {metric.full_name: metric for metric in metrics}
    if name and name not in by_name:
        raise typer.BadParameter(f"must be one of {', '.join(by_name)}", param_hint="--worse")
    return by_name[name] if name else next(metric for metric in metrics if metric.gate)


def _canaries(outcome: Forecast) -> SimulatedCanaries:
    share = outcome.outcomes.share
    return SimulatedCanaries(
        ratio=outcome.ratio,
        rollouts=len(outcome.outcomes),
        promoted=share(PROMOTED),
        rolled_back=share(ROLLED_BACK),
        taken_back=share(TAKEN_BACK),
        undecided=share(UNDECIDED),
        requests=_distribution(outcome.requests),
        minutes=_distribution(outcome.minutes),
    )


def _distribution(spread: Spread | None) -> Distribution | None:
    if spread is None:
        return None
    return Distribution(mean=spread.mean, median=spread.median, p90=spread.p90, p99=spread.p99)
