"""Builds the document of ``tandem rollout plan``: what a run would take, before anything is written."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tandem_cli.errors import AdvisedError
from tandem_cli.output import dump_yaml
from tandem_cli.rollout.decision_time import check_decision_time
from tandem_cli.rollout.estimate import ASSUMED_RATE, TrafficAssumptions, estimate_run
from tandem_cli.rollout.output.documents.base import Statement
from tandem_cli.rollout.output.documents.plan import PlanDocument, PlannedMetric, PlannedStep
from tandem_cli.rollout.snapshot import RolloutSnapshot
from tandem_cli.rollout.training_predictions import ExpectedDistance, TrainingPredictions, compare_predictions
from tandem_rollout.api.fields import seconds
from tandem_rollout.api.pods import BundleSource
from tandem_rollout.api.spec import RolloutSpec
from tandem_rollout.engine.run import ENDS
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.runner.progress import TRIED


def build_plan(snapshot: RolloutSnapshot, traffic: TrafficAssumptions, *, image: str = "") -> PlanDocument:
    """The plan of a run.

    Args:
        snapshot: The rollout.
        traffic: The assumed traffic.
        image: Image of another bundle; on this machine, its version. Empty for the bundle of the spec.

    Raises:
        AdvisedError: if the strategy has no steps, or the spec is not understood.
    """
    spec, schedule = _spec_and_schedule(snapshot)
    analysis, rps = snapshot.analysis, traffic.rps
    weight = schedule.steps[-1].weight if schedule.steps else 0
    metrics, minutes = estimate_run(schedule, analysis, traffic)
    timeout = schedule.timeout if math.isfinite(schedule.timeout) else None
    tried = not image and snapshot.status.reason == TRIED.reason
    return PlanDocument(
        name=snapshot.name,
        namespace=snapshot.namespace,
        strategy=spec.strategy.name,
        source=analysis.source,
        interval_seconds=seconds(analysis.interval),
        warmup_seconds=seconds(analysis.warmup),
        timeout_seconds=timeout,
        on_timeout="report" if schedule.observes else schedule.on_timeout,
        requests_per_second=rps,
        rate_from=None if rps is None else "given" if traffic.requests_per_second is not None else "measured",
        share=weight / 100.0 if weight else None,
        steps=[_step(step, rps) for step in schedule.steps],
        metrics=metrics,
        minutes=minutes,
        in_time=None if minutes is None or timeout is None else minutes * 60.0 <= timeout,
        warnings=[
            *([Statement(reason=TRIED.reason, message=TRIED.message)] if tried else []),
            *_warnings(snapshot, spec, schedule, metrics, rps),
            *check_decision_time(schedule, analysis, traffic, metrics, minutes),
        ],
        diff=_diff(spec.bundle, image),
    )


def expect_distance(
    snapshot: RolloutSnapshot, predictions: Mapping[str, TrainingPredictions], canary: str
) -> ExpectedDistance | None:
    """The expected distance of the canary to the version that serves; None if it is not known.

    Args:
        snapshot: The rollout.
        predictions: Training predictions by version.
        canary: The version; empty for that of the spec.
    """
    serving = max(snapshot.status.variants, key=lambda variant: variant.weight, default=None)
    bundle = snapshot.spec.bundle if snapshot.spec else None
    version = canary or (bundle.image if bundle else "")
    if serving is None or serving.name == version:
        return None
    return compare_predictions(predictions.get(serving.name), predictions.get(version))


def _spec_and_schedule(snapshot: RolloutSnapshot) -> tuple[RolloutSpec, Schedule]:
    if snapshot.spec is None:
        raise AdvisedError(
            f"this version of the command does not understand the spec of {snapshot.name}: {snapshot.spec_error}",
            advice="use the tandem command of the controller's version",
        )
    schedule = snapshot.schedule
    if schedule is None:
        raise AdvisedError(
            f"{snapshot.name} has the strategy {snapshot.spec.strategy.name}, which has no runs",
            advice="set spec.strategy.canary; see `kubectl explain inferencerollout.spec.strategy`",
        )
    return snapshot.spec, schedule


def _step(step: ScheduledStep, rps: float | None) -> PlannedStep:
    requests = None if rps is None or not step.weight else rps * step.weight / 100.0 * step.min_duration
    return PlannedStep(
        weight=step.weight, min_duration_seconds=step.min_duration, gate=step.gate, canary_requests=requests
    )


def _warnings(
    snapshot: RolloutSnapshot,
    spec: RolloutSpec,
    schedule: Schedule,
    metrics: Sequence[PlannedMetric],
    rps: float | None,
) -> Iterator[Statement]:
    run = snapshot.run
    if run is not None and run.state not in ENDS:
        message = f"run {run.number} is {run.state}: starting another version would end it"
        yield Statement(reason="RunInProgress", message=message)
    yield from _metric_warnings(metrics)
    if rps is None:
        message = "the duration is not known without the rate of requests; use --rps"
        yield Statement(reason="TrafficUnknown", message=message)
    if not (schedule.steps and schedule.steps[-1].weight):
        message = "the estimates assume that the canary gets half of the requests, since the spec has no weight"
        yield Statement(reason="ShareAssumed", message=message)
    yield from _spec_warnings(spec, schedule)


def _metric_warnings(metrics: Sequence[PlannedMetric]) -> Iterator[Statement]:
    for metric in metrics:
        if metric.gate and metric.margin is not None and metric.to_pass is None:
            message = f"{metric.name}: without a floor, a version without events never passes"
            yield Statement(reason="FloorMissing", message=message)
    if any(metric.rate_from == "assumed" for metric in metrics):
        message = f"rates that were not measured are assumed to be {ASSUMED_RATE:.1%}; use --error-rate"
        yield Statement(reason="RateAssumed", message=message)
    for metric in metrics:
        if metric.distance is not None and metric.distance >= (metric.limit or 0.0):
            yield _predictions_apart(metric)


def _predictions_apart(metric: PlannedMetric) -> Statement:
    effect = "such a version is rolled back" if metric.gate else "it is only reported"
    return Statement(
        reason="PredictionsApart",
        message=f"{metric.name}: by the training predictions of both bundles, the expected distance is "
        f"{metric.distance:.3g}, and the limit is {metric.limit:g}: {effect}",
    )


def _spec_warnings(spec: RolloutSpec, schedule: Schedule) -> Iterator[Statement]:
    if not schedule.observes and schedule.on_timeout == "promote":
        message = "onTimeout is promote: a version that is not decided in time is promoted"
        yield Statement(reason="PromotedOnTimeout", message=message)
    for number, step in enumerate(schedule.steps, 1):
        if step.gate:
            yield Statement(reason="StepPauses", message=f"step {number} waits for approval")
    if spec.bundle is None and not schedule.observes:
        message = "the spec has variants: change spec.variants to start another version"
        yield Statement(reason="VariantsNamed", message=message)


def _diff(bundle: BundleSource | None, image: str) -> list[str]:
    """The change of ``spec.bundle`` as a unified diff; empty if there is none."""
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
    return dump_yaml([{"spec": {"bundle": dict(bundle)}}]).splitlines()
