"""``tandem rollout simulate``: what one's own traffic and analysis would make of good canaries and of bad ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.progress import Progress
from rich.table import Table

from tandem_cli.output import Console
from tandem_cli.render import read_rollouts
from tandem_cli.rollout.forms import SCHEMA, Form
from tandem_cli.rollout.options import Format, OutputOption, document
from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.api.fields import InvalidSpecError, seconds
from tandem_rollout.api.manifest import parse
from tandem_rollout.engine.schedule import Schedule, ScheduledStep, build_schedule
from tandem_rollout.simulation.forecast import Forecast, forecast, kinds, steady
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, TAKEN_BACK, UNDECIDED, Spread
from tandem_rollout.simulation.rollouts import Case


class Amount(Form, frozen=True, kw_only=True):
    """How a number spreads over the rollouts that were decided.

    Attributes:
        mean: Mean.
        median: Half of them have less.
        p90: Nine in ten have less.
        p99: 99 in 100 have less.
    """

    mean: float
    median: float
    p90: float
    p99: float


class Canaries(Form, frozen=True, kw_only=True):
    """Canaries of one kind.

    Attributes:
        ratio: Their rate of events over stable's; of drift their distance over the limit.
        rollouts: How many were simulated.
        promoted: Share of them that were promoted, and stayed so.
        rolled_back: Share that were rolled back before.
        taken_back: Share that were rolled back while they baked.
        undecided: Share without a decision in time.
        requests: Canary requests until the decision; null where none was decided.
        minutes: Minutes until the decision, without the bake time.
    """

    ratio: float
    rollouts: int
    promoted: float
    rolled_back: float
    taken_back: float
    undecided: float
    requests: Amount | None
    minutes: Amount | None


class Simulation(Form, frozen=True, kw_only=True):
    """``tandem rollout simulate``.

    Attributes:
        name: Name of the rollout; empty without a manifest.
        requests_per_second: Of both arms.
        rates: Stable's rates of events by metric.
        worse: What bad canaries are worse by.
        decides: Whether that decides, or is only reported.
        limit: Of drift, the limit of the distance; null for others.
        weights: The steps.
        timeout_seconds: Longest time to a decision.
        on_timeout: What happens then.
        seed: Of chance.
        canaries: What becomes of them.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutSimulation"] = "RolloutSimulation"
    name: str
    requests_per_second: float
    rates: dict[str, float]
    worse: str
    decides: bool
    limit: float | None
    weights: list[int]
    timeout_seconds: float
    on_timeout: str
    seed: int
    canaries: list[Canaries]


def simulate(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", dir_okay=False, help="Manifest with a canary, - for stdin; else the defaults."),
    ] = None,
    rps: Annotated[float, typer.Option("--rps", min=0.001, help="Requests per second of both versions together.")] = 20,
    error_rate: Annotated[
        float, typer.Option("--error-rate", min=0.0, max=0.9, help="Share of errors of what serves.")
    ] = 0.001,
    degraded_rate: Annotated[
        float, typer.Option("--degraded-rate", min=0.0, max=0.9, help="Share of degraded answers of what serves.")
    ] = 0.001,
    slow_rate: Annotated[
        float | None,
        typer.Option("--slow-rate", min=0.0, max=0.9, help="Share of slow requests; by default as the quantile says."),
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option("--rate", metavar="METRIC=RATE", help="Rate of a metric by its name.")
    ] = None,
    worse: Annotated[
        str, typer.Option("--worse", metavar="METRIC", help="What bad versions are worse by; by default the first.")
    ] = "",
    weight: Annotated[int, typer.Option("--weight", min=1, max=99, help="Without a manifest: the one weight.")] = 10,
    pods: Annotated[
        int, typer.Option("--pods", min=1, help="Pods of what serves: from 2 on, bursts are measured on them.")
    ] = 1,
    rollouts: Annotated[int, typer.Option("--rollouts", min=1, max=100_000, help="How many of each kind.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same numbers.")] = 1,
    output: OutputOption = Format.TABLE,
) -> None:
    """Simulate rollouts of your traffic: how good and bad versions end, and what that takes. Nothing is changed.

    Pods are always ready in it, and steps that pause go on at once.

    Exit codes: 0 shown, 1 the manifest is not valid or has no canary, 2 the command line is invalid.
    """
    name, planned, analysis = _planned(file, weight)
    metrics = [metric for metric in analysis.all_metrics if metric.type != "assignment"]
    if file is None:
        metrics = [_deciding(metric, worse) for metric in metrics]
    if not any(metric.gate for metric in metrics):
        raise InvalidSpecError("analysis.metrics: none of them decides, there is nothing to simulate")
    given = _rates(rate or [], [metric for metric in metrics if metric.type != "drift"])
    types = {"errors": error_rate, "degraded": degraded_rate, "latency": slow_rate}
    traffic = steady(rps, _shared(metrics, given, types))
    bad = _worse(worse, metrics)
    case = Case(
        metrics=metrics,
        schedule=planned,
        traffic=traffic,
        interval=seconds(analysis.interval),
        warmup=seconds(analysis.warmup),
        dispersion=analysis.dispersion,
        pods=pods,
    )
    form = _simulation(name, case, bad, rollouts, seed, rps)
    if output.for_programs:
        document(form, output)
        return
    _console().print(table(form))


def _simulation(name: str, case: Case, bad: Metric, rollouts: int, seed: int, rps: float) -> Simulation:
    """Simulate, with a progress bar in a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("rollouts", total=rollouts * len(kinds(bad)))
        outcomes = forecast(case, bad, rollouts=rollouts, seed=seed, tell=lambda done: progress.advance(task, done))
    traffic, schedule = case.traffic, case.schedule
    return Simulation(
        name=name,
        requests_per_second=rps,
        rates={
            metric.full_name: traffic.rates[traffic.key(metric)].stable
            for metric in case.metrics
            if metric.type != "drift"
        },
        worse=bad.full_name,
        decides=bad.gate,
        limit=bad.limit if bad.type == "drift" else None,
        weights=[step.weight for step in schedule.steps],
        timeout_seconds=schedule.timeout,
        on_timeout=schedule.on_timeout,
        seed=seed,
        canaries=[_canaries(outcome) for outcome in outcomes],
    )


def table(form: Simulation) -> Table:
    """The result for people."""
    rates = ", ".join(f"{metric} {rate:.3%}" for metric, rate in form.rates.items())
    weights = ", ".join(map(str, form.weights))
    made = Table(
        title=f"{form.canaries[0].rollouts} rollouts of each kind at {form.requests_per_second:g} requests/s; {rates}; "
        f"weights {weights} %; {form.on_timeout} after {form.timeout_seconds / 60.0:g} min",
        title_justify="left",
        box=None,
        caption=None if form.decides else f"{form.worse} is only reported (gate: false): it rolls nothing back",
        caption_justify="left",
    )
    made.add_column(form.worse if form.limit is None else f"{form.worse}, PSI over {form.limit:g}")
    for heading in ("promoted", "rolled back", "undecided", "requests p50", "p90", "minutes p50", "p90"):
        made.add_column(heading, justify="right")
    for each in form.canaries:
        back = f"{each.rolled_back:.1%}" + (f" + {each.taken_back:.1%} baking" if each.taken_back else "")
        made.add_row(
            "as good" if each is form.canaries[0] else f"×{each.ratio:g}",
            f"{each.promoted:.1%}",
            back,
            f"{each.undecided:.1%}",
            *(_shown(each.requests, "{:,.0f}") or ["-", "-"]),
            *(_shown(each.minutes, "{:,.1f}") or ["-", "-"]),
        )
    return made


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


def _shown(amount: Amount | None, form: str) -> list[str]:
    return [form.format(amount.median), form.format(amount.p90)] if amount is not None else []


def _planned(file: Path | None, weight: int) -> tuple[str, Schedule, Analysis]:
    if file is None:
        analysis = Analysis()
        return (
            "",
            Schedule(steps=(ScheduledStep(weight=weight, min_duration=60.0),), timeout=seconds(analysis.timeout)),
            analysis,
        )
    manifests = read_rollouts(file)
    if len(manifests) > 1:
        raise InvalidSpecError(f"{file}: there are {len(manifests)} rollouts in it; simulate one at a time")
    rollout = parse(manifests[0])
    planned = build_schedule(rollout.spec)
    if rollout.spec.strategy.canary is None or planned is None:
        raise InvalidSpecError(f"{file}: {rollout.name}: only the strategy canary is simulated")
    # somebody says go on, sooner or later
    planned = replace(planned, steps=tuple(replace(step, gate=False) for step in planned.steps))
    return rollout.name, planned, rollout.spec.analysis or Analysis()


def _rates(given: list[str], metrics: list[Metric]) -> dict[str, float]:
    """Rates by name of a metric."""
    found, names = {}, {metric.full_name for metric in metrics}
    for each in given:
        name, _, text = each.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if name not in names or not 0.0 <= value <= 0.9:
            raise typer.BadParameter(
                f"{each!r} is not one of {', '.join(sorted(names))} with a rate from 0 to 0.9", param_hint="--rate"
            )
        found[name] = value
    return found


def _rate(metric: Metric, given: dict[str, float], types: dict[str, float | None]) -> float:
    if metric.full_name in given:
        return given[metric.full_name]
    if metric.type == "ratio":
        raise typer.BadParameter(
            f"say the rate of {metric.full_name}: --rate {metric.full_name}=RATE", param_hint="--rate"
        )
    rate = types.get(metric.type)
    return rate if rate is not None else round(1.0 - metric.quantile, 9)


def _worse(name: str, metrics: list[Metric]) -> Metric:
    """The metric that bad canaries are worse by."""
    found = {metric.full_name: metric for metric in metrics}
    if name and name not in found:
        raise typer.BadParameter(f"is none of {', '.join(found)}", param_hint="--worse")
    return found[name] if name else next(each for each in metrics if each.gate)


def _deciding(metric: Metric, worse: str) -> Metric:
    """A default metric; the one that is asked about decides, as there is nothing to see else."""
    return msgspec.structs.replace(metric, gate=True) if metric.full_name == worse else metric


def _shared(metrics: list[Metric], given: dict[str, float], types: dict[str, float | None]) -> dict[str, float]:
    """Rates as traffic has them: the gateway and the pods count the same errors, unless told otherwise."""
    found = {}
    for metric in metrics:
        own = metric.full_name in given or metric.type not in ("errors", "drift")
        if own:
            found[metric.full_name] = _rate(metric, given, types)
        elif metric.type == "errors":
            found.setdefault("errors", given.get("errors", types["errors"] or 0.0))
    return found


def _canaries(found: Forecast) -> Canaries:
    share = found.outcomes.share
    return Canaries(
        ratio=found.ratio,
        rollouts=len(found.outcomes),
        promoted=share(PROMOTED),
        rolled_back=share(ROLLED_BACK),
        taken_back=share(TAKEN_BACK),
        undecided=share(UNDECIDED),
        requests=_amount(found.requests),
        minutes=_amount(found.minutes),
    )


def _amount(spread: Spread | None) -> Amount | None:
    if spread is None:
        return None
    return Amount(mean=spread.mean, median=spread.median, p90=spread.p90, p99=spread.p99)
