"""``tandem rollout plan``: what would happen, before anything is written."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tandem_cli.errors import AdvisedError
from tandem_cli.render import dump
from tandem_cli.rollout.course import ASSUMED_RATE, Traffic, course
from tandem_cli.rollout.current import Current
from tandem_cli.rollout.forms import Plan, PlannedMetric, PlannedStep, Said
from tandem_cli.rollout.lateness import lateness
from tandem_cli.rollout.training import Expected, Predictions, expected
from tandem_rollout.api.analysis import Analysis
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.fields import seconds
from tandem_rollout.api.pods import BundleSource
from tandem_rollout.api.spec import RolloutSpec
from tandem_rollout.engine.run import ENDS
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.engine.schedule import build_schedule as schedule_of
from tandem_rollout.runner.progress import TRIED


def planned(current: Current, traffic: Traffic, *, image: str = "") -> Plan:
    """What would happen.

    Args:
        current: The rollout.
        traffic: What the numbers are for.
        image: Image of another bundle; on this machine its version.

    Raises:
        AdvisedError: The rollout decides nothing, or its spec is not understood.
    """
    spec = current.spec
    if spec is None:
        raise AdvisedError(
            f"the spec of {current.name} is not understood: {current.trouble}",
            advice="use the tandem command of the controller's version",
        )
    schedule = schedule_of(spec)
    if schedule is None:
        raise AdvisedError(
            f"{current.name} has the strategy {spec.strategy.name} and decides nothing",
            advice="set spec.strategy.canary; see `kubectl explain inferencerollout.spec.strategy`",
        )
    analysis = spec.analysis or Analysis()
    rps = traffic.rps
    weight = schedule.steps[-1].weight if schedule.steps else 0
    share = weight / 100.0 if weight else None
    metrics, minutes = course(schedule, analysis, traffic)
    timeout = schedule.timeout if math.isfinite(schedule.timeout) else None
    diff = _diff(spec.bundle, image)
    return Plan(
        name=current.name,
        namespace=current.namespace,
        strategy=spec.strategy.name,
        source=analysis.source,
        interval_seconds=seconds(analysis.interval),
        warmup_seconds=seconds(analysis.warmup),
        timeout_seconds=timeout,
        on_timeout="report" if schedule.observes else schedule.on_timeout,
        requests_per_second=rps,
        rate_from=None if rps is None else "given" if traffic.requests_per_second is not None else "measured",
        share=share,
        steps=[_planned_step(step, rps) for step in schedule.steps],
        metrics=metrics,
        minutes=minutes,
        in_time=None if minutes is None or timeout is None else minutes * 60.0 <= timeout,
        warnings=[
            *([_said(TRIED)] if not image and current.status.reason == TRIED.reason else []),
            *_warnings(current, spec, schedule, metrics, rps),
            *lateness(schedule, analysis, traffic, metrics, minutes),
        ],
        diff=diff,
    )


def _planned_step(step: ScheduledStep, rps: float | None) -> PlannedStep:
    requests = None if rps is None or not step.weight else rps * step.weight / 100.0 * step.min_duration
    return PlannedStep(
        weight=step.weight, min_duration_seconds=step.min_duration, gate=step.gate, canary_requests=requests
    )


def expected_of(current: Current, known: Mapping[str, Predictions], canary: str) -> Expected | None:
    """What to expect of the version that is to follow the one that serves.

    Args:
        current: The rollout.
        known: Training predictions by version.
        canary: The version; empty for the one that the spec asks for.
    """
    serving = max(current.status.variants, key=lambda each: each.weight, default=None)
    bundle = current.spec.bundle if current.spec else None
    follows = canary or (bundle.image if bundle else "")
    if serving is None or serving.name == follows:
        return None
    return expected(known.get(serving.name), known.get(follows))


def _warnings(
    current: Current,
    spec: RolloutSpec,
    schedule: Schedule,
    metrics: Sequence[PlannedMetric],
    rps: float | None,
) -> list[Said]:
    said = []
    run = current.run
    if run is not None and run.state not in ENDS:
        message = f"run {run.number} is {run.state}: another version would end it"
        said.append(Said(reason="RunInProgress", message=message))
    said += [
        Said(reason="FloorMissing", message=f"{each.name}: a version without events never passes without a floor")
        for each in metrics
        if each.gate and each.margin is not None and each.to_pass is None
    ]
    if any(each.rate_from == "assumed" for each in metrics):
        message = f"rates are assumed to be {ASSUMED_RATE:.1%} where nothing was measured; give --error-rate"
        said.append(Said(reason="RateAssumed", message=message))
    said += [_apart(each) for each in metrics if each.distance is not None and each.distance >= (each.limit or 0.0)]
    if rps is None:
        message = "how long it takes is not known without the rate of requests: give --rps"
        said.append(Said(reason="TrafficUnknown", message=message))
    if not (schedule.steps and schedule.steps[-1].weight):
        message = "the numbers are for a canary with half of the requests, as its share is not in the spec"
        said.append(Said(reason="ShareAssumed", message=message))
    if not schedule.observes and schedule.on_timeout == "promote":
        message = "onTimeout promote: what is not decided in time is promoted"
        said.append(Said(reason="PromotedOnTimeout", message=message))
    said += [
        Said(reason="StepPauses", message=f"step {number} waits for a person")
        for number, step in enumerate(schedule.steps, 1)
        if step.gate
    ]
    if spec.bundle is None and not schedule.observes:
        said.append(Said(reason="VariantsNamed", message="what follows is said in spec.variants"))
    return said


def _said(cause: Cause) -> Said:
    return Said(reason=cause.reason, message=cause.message)


def _apart(metric: PlannedMetric) -> Said:
    """That predictions will be too far apart."""
    follows = "a version that far apart is rolled back" if metric.gate else "it is only reported, and decides nothing"
    return Said(
        reason="PredictionsApart",
        message=f"{metric.name}: by the training predictions of both bundles the distance will be about "
        f"{metric.distance:.3g}, and the limit is {metric.limit:g}: {follows}",
    )


def _diff(bundle: BundleSource | None, image: str) -> list[str]:
    """Lines of ``spec.bundle`` before and after."""
    if bundle is None or not image:
        return []
    before: dict[str, Any] = msgspec.to_builtins(bundle)
    after = {"image": image, **{key: before[key] for key in before if key == "modelcar"}}
    return [
        line
        for line in difflib.unified_diff(_lines(before), _lines(after), n=99, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]


def _lines(bundle: Mapping[str, Any]) -> list[str]:
    return dump([{"spec": {"bundle": dict(bundle)}}]).splitlines()
