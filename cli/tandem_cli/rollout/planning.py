"""``tandem rollout plan``: what would happen, before anything is written."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tandem_cli.errors import AdvisedError
from tandem_cli.render import dump
from tandem_cli.rollout.current import Current
from tandem_cli.rollout.forms import Plan, PlannedMetric, PlannedStep
from tandem_rollout.analysis import eta
from tandem_rollout.analysis.gather import ratio_test
from tandem_rollout.analysis.record import Gathered, Record
from tandem_rollout.engine.run import ENDS
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.schedule import schedule as schedule_of
from tandem_rollout.fields import seconds
from tandem_rollout.gates import Analysis, Metric
from tandem_rollout.spec import Bundle, RolloutSpec

_ASSUMED_RATE: Final = 0.001
_ASSUMED_SHARE: Final = 0.5
_LEAST_ROWS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the numbers of a plan are for.

    Attributes:
        requests_per_second: Of both arms, where it was given.
        error_rate: Rate of stable's errors, where it was given.
        record: Evidence of an earlier run, to take what was not given from.
    """

    requests_per_second: float | None = None
    error_rate: float | None = None
    record: Record | None = None

    @property
    def measured(self) -> float | None:
        """Requests per second in the earlier run."""
        samples = self.record.samples if self.record else ()
        totals = [
            (before.at, now.at, counted)
            for before, now in itertools.pairwise(samples)
            if (counted := _requests(now.counts, self.record)) is not None and now.at > before.at
        ]
        spent = math.fsum(now - before for before, now, _ in totals)
        return math.fsum(counted for _, _, counted in totals) / spent if spent > 0 else None

    def rate(self, metric: Metric) -> tuple[float, str] | None:
        """Stable's rate of a metric, and where it comes from; None for metrics without rates."""
        if metric.type in ("drift", "assignment"):
            return None
        limit = self._gathered(metric).limit
        if metric.type == "latency":
            return (limit.share, "measured") if limit is not None else (1.0 - metric.quantile, "quantile")
        if metric.type == "errors" and self.error_rate is not None:
            return self.error_rate, "given"
        evidence = self._gathered(metric).ratio
        if evidence is not None and evidence.stable_requests:
            return min(evidence.stable_events / evidence.stable_requests, 0.999), "measured"
        return _ASSUMED_RATE, "assumed"

    def dispersion(self, metric: Metric, analysis: Analysis) -> float:
        """How bursty the events of a metric are."""
        return analysis.dispersion if analysis.dispersion is not None else self._gathered(metric).phi

    def _gathered(self, metric: Metric) -> Gathered:
        found = self.record.metrics.get(metric.called) if self.record else None
        return found or Gathered()


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
    rps = traffic.requests_per_second if traffic.requests_per_second is not None else traffic.measured
    weight = schedule.steps[-1].weight if schedule.steps else 0
    share = weight / 100.0 if weight else None
    metrics = _metrics(analysis, traffic, rps, share or _ASSUMED_SHARE)
    minutes = _minutes(schedule, analysis, metrics, rps) if share else None
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
        steps=[
            PlannedStep(
                weight=step.weight,
                hold_seconds=step.hold,
                gate=step.gate,
                canary_requests=None if rps is None or not step.weight else rps * step.weight / 100.0 * step.hold,
            )
            for step in schedule.steps
        ],
        metrics=metrics,
        minutes=minutes,
        in_time=None if minutes is None or timeout is None else minutes * 60.0 <= timeout,
        warnings=_warnings(current, spec, schedule, metrics, rps, minutes, timeout),
        diff=diff,
    )


def _metrics(analysis: Analysis, traffic: Traffic, rps: float | None, share: float) -> list[PlannedMetric]:
    gates = max(sum(metric.gate and metric.type != "assignment" for metric in analysis.all_metrics), 1)
    return [_metric(metric, analysis, traffic, rps, share, gates) for metric in analysis.all_metrics]


def _metric(
    metric: Metric, analysis: Analysis, traffic: Traffic, rps: float | None, share: float, gates: int
) -> PlannedMetric:
    known = traffic.rate(metric)
    to_pass, to_fail = math.inf, math.inf
    if metric.type == "drift":
        to_pass = metric.least_requests or _LEAST_ROWS
    if known is not None:
        test = ratio_test(metric, traffic.dispersion(metric, analysis))
        rate = known[0]
        to_pass = max(eta.to_promotion(test, rate=rate, share=share), metric.least_requests)
        to_fail = eta.to_rollback(test, rate=rate, share=share, ratio=metric.margin, metrics=gates)
    return PlannedMetric(
        name=metric.called,
        type=metric.type,
        gate=metric.gate and metric.type != "assignment",
        margin=metric.margin if known is not None else None,
        floor=metric.tolerated if known is not None else None,
        limit=metric.limit if metric.type == "drift" else None,
        alpha=metric.alpha,
        beta=metric.beta,
        rate=known[0] if known else None,
        rate_from=known[1] if known else None,
        to_pass=_whole(to_pass),
        to_pass_minutes=_time(to_pass, rps, share),
        to_fail=_whole(to_fail),
        to_fail_minutes=_time(to_fail, rps, share),
    )


def _minutes(
    schedule: Schedule, analysis: Analysis, metrics: Sequence[PlannedMetric], rps: float | None
) -> float | None:
    """About how long a good version takes. Evidence of earlier steps counts in the last one."""
    needed = [each.to_pass for each in metrics if each.gate]
    if rps is None or rps <= 0 or not schedule.steps or None in needed:
        return None
    most = max((each for each in needed if each is not None), default=0)
    spent, gathered = seconds(analysis.warmup), 0.0
    for index, step in enumerate(schedule.steps):
        per_second = rps * step.weight / 100.0
        stay = max(step.hold, seconds(analysis.interval))
        if index == len(schedule.steps) - 1 and per_second > 0:
            stay = max(stay, (most - gathered) / per_second)
        spent, gathered = spent + stay, gathered + stay * per_second
    return spent / 60.0


def _warnings(
    current: Current,
    spec: RolloutSpec,
    schedule: Schedule,
    metrics: Sequence[PlannedMetric],
    rps: float | None,
    minutes: float | None,
    timeout: float | None,
) -> list[str]:
    said = []
    run = current.run
    if run is not None and run.state not in ENDS:
        said.append(f"run {run.number} is {run.state}: another version would end it")
    said += [
        f"{each.name}: a version without events never passes without a floor"
        for each in metrics
        if each.gate and each.margin is not None and each.to_pass is None
    ]
    if any(each.rate_from == "assumed" for each in metrics):
        said.append(f"rates are assumed to be {_ASSUMED_RATE:.1%} where nothing was measured; give --error-rate")
    if rps is None:
        said.append("how long it takes is not known without the rate of requests: give --rps")
    if not (schedule.steps and schedule.steps[-1].weight):
        said.append("the numbers are for a canary with half of the requests, as its share is not in the spec")
    if minutes is not None and timeout is not None and minutes * 60.0 > timeout:
        said.append(f"a good version takes longer than the time-out; then: {schedule.on_timeout}")
    if not schedule.observes and schedule.on_timeout == "promote":
        said.append("onTimeout promote: what is not decided in time is promoted")
    said += [f"step {number} waits for a person" for number, step in enumerate(schedule.steps, 1) if step.gate]
    if spec.bundle is None and not schedule.observes:
        said.append("what follows is said in spec.variants")
    return said


def _diff(bundle: Bundle | None, image: str) -> list[str]:
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


def _requests(counts: Mapping[str, tuple[float, float, float, float]], record: Record | None) -> float | None:
    """Requests of a tick, by the metric that counts most of them."""
    drifts = {name for name, each in record.metrics.items() if each.drift or each.assignment} if record else set()
    totals = [canary + stable for name, (canary, _, stable, _) in counts.items() if name not in drifts]
    return max(totals, default=None)


def _whole(value: float) -> int | None:
    return math.ceil(value) if math.isfinite(value) else None


def _time(requests: float, rps: float | None, share: float) -> float | None:
    if rps is None:
        return None
    found = eta.minutes(requests, requests_per_second=rps, share=share)
    return found if math.isfinite(found) else None
