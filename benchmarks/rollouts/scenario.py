"""What is simulated."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict, Unpack

from benchmarks.rollouts.argo import Argo
from benchmarks.rollouts.flagger import Flagger
from benchmarks.rollouts.sprt import Sprt
from tandem_rollout.api.analysis import DEFAULT_METRICS, Metric
from tandem_rollout.api.fields import seconds
from tandem_rollout.api.strategy import Canary
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.simulation.lies import Lies
from tandem_rollout.simulation.outage import Outage
from tandem_rollout.simulation.rollouts import Case, RivalRule
from tandem_rollout.simulation.traffic import Bins, ChangeEffect, EventRates, Incidents, Times, Traffic, tilted

Truth = Literal["good", "between", "bad"]

QUANTILE = "quantile"
"""Our engine, with requests above the true quantile as a ratio of its own."""

HOURS = 3600.0
HORIZON = 48 * HOURS
PER_SECOND = 20.0
BAKE = seconds(Canary().bake)
HOLDBACK = Canary().holdback
INTERVAL = 10.0
DRIFTED = "drifted"
"""Group of the scenarios about predictions."""
_EVEN = (0.1,) * 10
RULES = ("flagger-1", "flagger-5", "argo", "argo-unclear", "argo-early")
"""Other rules, beside the SPRT: Flagger with threshold 1 and 5; Argo with one condition, and with two and a gap between
them; Argo's background run that its rollout ends before the first measurement."""


@dataclass(frozen=True)
class Scenario:
    """One cell.

    Attributes:
        group: Name of its group.
        title: Its name in the group.
        truth: ``good``: it should be promoted; ``bad``: rolled back; ``between``: worse than stable, by less than the
            margin.
        case: What is simulated.
        ratio: The canary's rate over stable's; of drift the distance over the limit.
        main: Whether it counts for the last line.
        plain: Whether the SPRT, which knows both rates, is a fair measure: rates that stay.
        margin: Whether the canary is just at the margin.
        dark: Whether nothing can be seen at all: it should be held for ever.
        outage: Whether metrics are missing at times.
        against: Another case whose requests are those to measure by: of latency with the true quantile as its limit.
    """

    group: str
    title: str
    truth: Truth
    case: Case
    ratio: float
    main: bool = True
    plain: bool = False
    margin: bool = False
    dark: bool = False
    outage: bool = False
    against: Case | None = None

    @property
    def name(self) -> str:
        """Group and title."""
        return f"{self.group}: {self.title}"

    @property
    def seed(self) -> int:
        """Seed of its chance."""
        return zlib.crc32(self.name.encode())

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the other rules that decide about the same traffic."""
        if self.against is not None:
            return (QUANTILE,)
        if "errors" not in self.case.traffic.rates or len(self.case.schedule.steps) > 1:
            return ()
        return ("sprt", *RULES) if self.plain else RULES

    def make(self, rollouts: int) -> list[RivalRule]:
        """The rules for a number of rollouts."""
        rules: list[RivalRule] = []
        if not self.rules or self.against is not None:
            return rules
        rates = self.case.traffic.rates["errors"]
        if self.plain:
            bad = rates.canary if self.ratio > 1.0 else 2.0 * rates.stable
            rules.append(Sprt(rollouts, good=rates.stable, bad=bad))
        return [
            *rules,
            Flagger(rollouts, threshold=1),
            Flagger(rollouts, threshold=5),
            Argo(rollouts),
            Argo(rollouts, failure=0.95),
            Argo(rollouts, count=0),
        ]


def scenarios() -> list[Scenario]:
    """All of them."""
    return [
        *_errors(),
        *_latency(),
        *_loads(),
        *_drift(),
        *_quiet(),
        *_bursts(),
        *_day(),
        *_outages(),
        *_lies(),
        *_together(),
        *_steps(),
        *_changes(),
        *_burdened(),
    ]


class _Given(TypedDict, total=False):
    """What differs from the plain case: arguments of :func:`_case`."""

    timeout: float
    per_second: float
    incidents: Incidents | None
    correlation: float
    lies: Lies | None
    dispersion: float | None
    pods: int
    holdback: int
    burden: float


def _case(
    rate: float,
    ratio: float,
    weight: int = 10,
    *,
    timeout: float = HORIZON,
    per_second: float = PER_SECOND,
    incidents: Incidents | None = None,
    correlation: float = 0.0,
    day: float = 0.0,
    outage: Outage | None = None,
    lies: Lies | None = None,
    dispersion: float | None = 1.0,
    pods: int = 1,
    holdback: int = HOLDBACK,
    burden: float = 1.0,
) -> Case:
    """Errors at one weight, judged by the metric ``errors`` with its defaults."""
    traffic = Traffic(
        requests_per_second=per_second,
        rates={"errors": EventRates(rate, rate * ratio)},
        incidents=incidents,
        correlation=correlation,
        burden=burden,
        day=day,
    )
    return Case(
        metrics=(Metric(type="errors"),),
        schedule=_at(weight, timeout, holdback),
        traffic=traffic,
        interval=INTERVAL,
        outage=outage,
        lies=lies,
        dispersion=dispersion,
        pods=pods,
    )


def _at(weight: int, timeout: float = HORIZON, holdback: int = HOLDBACK) -> Schedule:
    steps = (ScheduledStep(weight=weight, min_duration=INTERVAL),)
    return Schedule(steps=steps, timeout=timeout, bake=BAKE, holdback=holdback)


def _truth(ratio: float) -> Truth:
    return "good" if ratio <= 1.0 else "bad" if ratio >= 2.0 else "between"


def _each(
    group: str, ratios: Sequence[float], prefix: str, main: bool = True, **options: Unpack[_Given]
) -> Iterator[Scenario]:
    """One scenario for each ratio, at 0.5 % errors and weight 10."""
    for ratio in ratios:
        case = _case(0.005, ratio, **options)
        title = f"{prefix}, errors ×{ratio:g}" if prefix else f"errors ×{ratio:g}"
        yield Scenario(group, title, _truth(ratio), case, ratio, main and ratio != 1.5, margin=ratio == 2.0)


def _errors() -> Iterator[Scenario]:
    for rate in (0.001, 0.005, 0.02):
        for weight in (5, 10, 20, 50):
            for ratio in (1.0, 1.5, 2.0, 5.0):
                yield Scenario(
                    "errors",
                    f"{rate:.1%} at {weight} %, ×{ratio:g}",
                    _truth(ratio),
                    _case(rate, ratio, weight),
                    ratio,
                    main=weight <= 10 and ratio != 1.5,
                    plain=ratio != 1.5,
                    margin=ratio == 2.0,
                )


def _latency() -> Iterator[Scenario]:
    """Log-normal latencies with σ = 0.5; limits: stable's q95, for the canary 1.25 times that, as by default."""
    metric = Metric(type="latency")
    for slower in (1.0, 1.25, 1.5, 3.0):
        beyond = 0.5 * math.erfc((1.6448536269514722 - math.log(slower / metric.slowdown) / 0.5) / math.sqrt(2.0))
        traffic = Traffic(requests_per_second=PER_SECOND, rates={"latency": EventRates(0.05, beyond)})
        case = Case(metrics=(metric,), schedule=_at(10), traffic=traffic, interval=INTERVAL)
        ratio = beyond / 0.05  # at ×1.25 it is 1, at ×1.5 it is 2
        truth: Truth = "good" if slower <= metric.slowdown else "bad"
        yield Scenario("slow", f"×{slower:g}", truth, case, ratio, margin=slower == 1.5)


_EDGES = tuple(round(10.0 ** (at / 10.0), 4) / 1000.0 for at in range(31))
"""Ten to a decade, from 1 ms to 1 s, as transformers have them."""
_Z95 = 1.6448536269514722
_SIGMA = 0.5
_MEDIAN = _EDGES[20] * math.exp(-_Z95 * _SIGMA)
"""Of latencies whose quantile 0.95 is an edge."""


def _above(median: float, edge: float) -> float:
    """Share of log-normal latencies above an edge."""
    return 0.5 * math.erfc(math.log(edge / median) / (_SIGMA * math.sqrt(2.0)))


def _buckets(median: float) -> tuple[float, ...]:
    beyond = [1.0, *(_above(median, edge) for edge in _EDGES), 0.0]
    return tuple(upper - lower for upper, lower in itertools.pairwise(beyond))


def _loads() -> Iterator[Scenario]:
    """Load before the run that made stable's latencies others than they are in the run.

    The canary is slower by factors that the next edge makes 1, 2 and many times as many slow requests of: those are
    what the true quantile would count.
    """
    metric, counted = Metric(type="latency"), Metric(type="ratio", name=QUANTILE, floor=0.0)
    step = _EDGES[21] / _EDGES[20]
    margin = step * math.exp((_Z95 - 1.2815515655446004) * _SIGMA)
    loads = (("too long ×3", 3.0), ("too long ×1.6", 1.6), ("right", 1.0), ("too short ×4", 0.25))
    for weight, factors in ((10, loads), (50, (loads[0], loads[-1]))):
        for title, load in factors:
            for slower in (1.0, step, margin, 3.0):
                share = _above(_MEDIAN * slower, _EDGES[21])
                times = Times(_EDGES, _buckets(_MEDIAN), _buckets(_MEDIAN * slower), _buckets(_MEDIAN * load))
                case, profile = (
                    Case(metrics=(of,), schedule=_at(weight), traffic=traffic, interval=INTERVAL)
                    for of, traffic in (
                        (metric, Traffic(requests_per_second=PER_SECOND, times=times)),
                        (counted, Traffic(requests_per_second=PER_SECOND, rates={QUANTILE: EventRates(0.05, share)})),
                    )
                )
                truth: Truth = "good" if slower <= step else "bad"
                yield Scenario(
                    "limit before the run",
                    f"{title}, at {weight} %, ×{slower:.2f}",
                    truth,
                    case,
                    share / 0.05,
                    main=weight <= 10,
                    margin=slower == margin,
                    against=profile,
                )


def _drift() -> Iterator[Scenario]:
    """Ten bins; the canary's predictions are somewhat higher. What counts is the distance over the limit."""
    for limit, together, far in (
        (0.1, 1, (0.0, 0.6, 1.0, 2.0, 5.0)),
        (0.25, 1, (0.6, 2.0)),
        (0.1, 8, (0.6, 2.0)),
    ):
        for times in far:
            timeout = 2 * HOURS if times == 1.0 else HORIZON  # at the limit nothing is ever decided
            traffic = Traffic(requests_per_second=PER_SECOND, bins=tilted(_EVEN, times * limit, together=together))
            case = Case(
                metrics=(Metric(type="drift", limit=limit),),
                schedule=_at(10, timeout),
                traffic=traffic,
                interval=INTERVAL,
            )
            truth: Truth = "good" if times < 1.0 else "bad" if times > 1.0 else "between"
            rows = f", {together} rows a request" if together > 1 else ""
            title = f"PSI ×{times:g} of {limit:g}{rows}"
            yield Scenario(DRIFTED, title, truth, case, times, truth != "between")


def _quiet() -> Iterator[Scenario]:
    yield from _each("low traffic", (1.0, 2.0, 5.0), "2/s for a week", per_second=2.0, timeout=7 * 24 * HOURS)
    yield from _each("low traffic", (1.0, 2.0, 5.0), "2/s for an hour", False, per_second=2.0, timeout=HOURS)


def _bursts() -> Iterator[Scenario]:
    shared = Incidents(factor=10.0, every=600.0, lasting=30.0)
    yield from _each("shared bursts", (1.0, 2.0, 5.0), "×10 for 30 s in 10 min", incidents=shared)
    yield from _each("shared bursts", (1.0, 2.0), "the same, nothing held back", False, incidents=shared, holdback=0)
    measured: _Given = {"correlation": 0.01, "dispersion": None, "pods": 10}
    yield from _each("one-arm bursts", (1.0, 2.0, 5.0), "φ measured", **measured)
    yield from _each("one-arm bursts", (1.0, 2.0), "φ of halves", False, correlation=0.01, dispersion=None, pods=2)
    yield from _each("one-arm bursts", (1.0, 2.0), "φ not measured", False, correlation=0.01)
    yield from _each("no bursts", (1.0, 2.0), "φ measured", False, dispersion=None, pods=10)
    incidents = Incidents(factor=10.0, every=1800.0, lasting=60.0, arms="one")
    yield from _each("one-arm incidents", (1.0, 2.0), "×10 for 60 s in 30 min", False, incidents=incidents)


def _day() -> Iterator[Scenario]:
    for ratio in (1.0, 2.0, 5.0):
        case = _case(0.001, ratio, day=0.8)
        yield Scenario("diurnal", f"0.1% and load ±80 %, ×{ratio:g}", _truth(ratio), case, ratio, margin=ratio == 2.0)


def _outages() -> Iterator[Scenario]:
    kinds = (
        ("flaky", Outage(what="either", share=0.2, lasting=3.0), False),
        ("down for 5 min at a time, half of the time", Outage(what="unreadable", share=0.5, lasting=30.0), False),
        ("no series, every third sample", Outage(what="absent", share=0.33), False),
        ("never a series", Outage(what="absent"), True),
        ("never readable", Outage(what="unreadable"), True),
    )
    for name, outage, dark in kinds:
        for ratio in (1.0,) if dark else (1.0, 2.0, 5.0):
            case = _case(0.005, ratio, outage=outage, timeout=2 * HOURS if dark else HORIZON)
            title = f"{name}, errors ×{ratio:g}"
            yield Scenario("metrics", title, _truth(ratio), case, ratio, margin=ratio == 2.0, dark=dark, outage=True)


def _lies() -> Iterator[Scenario]:
    yield from _each("lying counters", (1.0, 2.0, 5.0), "5 % of the scrapes", lies=Lies(0.05))


def _together() -> Iterator[Scenario]:
    """All default metrics; what is worse is errors."""
    for ratio in (1.0, 2.0, 5.0):
        rates = {
            "errors": EventRates(0.005, 0.005 * ratio),
            "latency": EventRates(0.05, 0.05),
            "degraded": EventRates(0.01, 0.01),
        }
        traffic = Traffic(requests_per_second=PER_SECOND, rates=rates, bins=Bins(_EVEN, _EVEN))
        case = Case(metrics=DEFAULT_METRICS, schedule=_at(10), traffic=traffic, interval=INTERVAL)
        yield Scenario("all metrics", f"errors ×{ratio:g}", _truth(ratio), case, ratio, margin=ratio == 2.0)


def _steps() -> Iterator[Scenario]:
    """Steps of 1, 5, 20 and 50 %, five minutes each at least."""
    steps = tuple(ScheduledStep(weight=weight, min_duration=300.0) for weight in (1, 5, 20, 50))
    for ratio in (1.0, 2.0, 5.0):
        plain = _case(0.005, ratio)
        case = Case(
            metrics=plain.metrics,
            schedule=Schedule(steps=steps, timeout=HORIZON, bake=BAKE, holdback=HOLDBACK),
            traffic=plain.traffic,
            interval=INTERVAL,
            warmup=15.0,
        )
        yield Scenario("steps", f"1, 5, 20, 50 %, errors ×{ratio:g}", _truth(ratio), case, ratio, main=False)


def _changes() -> Iterator[Scenario]:
    """What happens in the three seconds after a change of the weight, and at no other time; steps of a minute."""
    steps = tuple(ScheduledStep(weight=weight, min_duration=60.0) for weight in (5, 20, 50))
    schedule = Schedule(steps=steps, timeout=HORIZON, bake=BAKE, holdback=HOLDBACK)
    kinds: tuple[tuple[str, Truth, ChangeEffect], ...] = (
        ("the canary fails for 3 s", "bad", ChangeEffect(rate=1.0, arms="canary")),
        ("a shared burst of 30 % for 3 s", "good", ChangeEffect(rate=0.3, arms="both")),
        ("a shared burst of 5 % for 3 s", "good", ChangeEffect(rate=0.05, arms="both")),
    )
    for title, truth, change in kinds:
        for per_second in (PER_SECOND, 10 * PER_SECOND):
            plain = _case(0.005, 1.0, per_second=per_second)
            case = replace(plain, schedule=schedule, traffic=replace(plain.traffic, change=change), warmup=15.0)
            yield Scenario("at each step", f"{title}, {per_second:g}/s", truth, case, 1.0)


def _burdened() -> Iterator[Scenario]:
    """As good as stable until it has nearly all: what the bake time is for."""
    for per_second, burden, holdback in (
        *((PER_SECOND, burden, holdback) for burden in (5.0, 20.0, 100.0) for holdback in (0, HOLDBACK, 20)),
        (10 * PER_SECOND, 5.0, HOLDBACK),
    ):
        title = f"errors ×{burden:g} with all of {per_second:g}/s, {holdback} % held back"
        case = _case(0.005, 1.0, burden=burden, holdback=holdback, per_second=per_second)
        yield Scenario("burden", title, "between", case, 1.0, False)
