"""Simulates rollouts from their first weight to their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from tandem_rollout.analysis.dispersion import MIN_SAMPLES
from tandem_rollout.analysis.priors import Floats
from tandem_rollout.api.analysis import Metric
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.simulation.evidence import Bools
from tandem_rollout.simulation.fleet import Fleet
from tandem_rollout.simulation.lies import Liars, Lies
from tandem_rollout.simulation.outage import SEEN, Blackouts, Codes, Outage
from tandem_rollout.simulation.outcome import Outcomes, joined
from tandem_rollout.simulation.stream import Counts, TrafficStream
from tandem_rollout.simulation.traffic import Traffic

BATCH: Final = 5000
"""Number of rollouts that are simulated at once, with a separate seed."""
_HISTORY_S: Final = 1800.0
"""Seconds before the run for which the dispersion of stable is measured, as by an analyst."""
_SHRINK: Final = 0.8
"""Ended rollouts are removed when the share of running rollouts is not larger."""


class RivalRule(Protocol):
    """Another rule on the same traffic, with a constant weight."""

    outcomes: Outcomes

    @property
    def running(self) -> Bools:
        """Rollouts that have not ended."""
        ...

    def take_sample(self, now: float, canary: Floats, events: Floats, trouble: Codes) -> None:
        """Take a sample: requests and events of the canary, and codes of missing data."""
        ...

    def keep(self, kept: Bools) -> None:
        """Keep only some rollouts."""
        ...

    def give_up(self, now: float) -> None:
        """End the simulation."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The simulated case.

    Attributes:
        metrics: The metrics.
        schedule: The schedule; its timeout is the horizon.
        traffic: The traffic.
        interval: Seconds between samples.
        warmup: Seconds after the first sample in which latency is not judged.
        outage: Outages of the metrics.
        lies: Frequency of wrong counters.
        dispersion: Dispersion of the events; None to measure it before the run on stable's pods, as by an analyst.
        pods: Number of stable's pods for that measurement. It needs two.
    """

    metrics: Sequence[Metric]
    schedule: Schedule
    traffic: Traffic
    interval: float = 10.0
    warmup: float = 0.0
    outage: Outage | None = None
    lies: Lies | None = None
    dispersion: float | None = 1.0
    pods: int = 1


RivalRules = Callable[[int], Sequence[RivalRule]]
"""Creates other rules for a number of rollouts."""


def simulate(case: Case, *, rollouts: int, seed: int, tell: Callable[[int], None] | None = None) -> Outcomes:
    """Simulate rollouts.

    Args:
        case: The simulated case.
        rollouts: Number of rollouts.
        seed: Seed of the random numbers; the same seed gives the same outcomes.
        tell: Called with the number of newly simulated rollouts.
    """
    parts = []
    for number, size in enumerate(batches(rollouts)):
        parts.append(simulate_batch(case, size, seed=seed, number=number)[0])
        if tell is not None:
            tell(size)
    return joined(parts)


def batches(rollouts: int) -> list[int]:
    """Sizes of the batches of a number of rollouts."""
    return [min(BATCH, rollouts - start) for start in range(0, rollouts, BATCH)]


def simulate_batch(
    case: Case, rollouts: int, *, seed: int, number: int, rules: RivalRules | None = None
) -> tuple[Outcomes, list[Outcomes]]:
    """Simulate one batch, with other rules on the same traffic.

    Args:
        case: The simulated case.
        rollouts: Number of rollouts.
        seed: Seed of the random numbers.
        number: Number of the batch.
        rules: Other rules. They see the events of the first metric, at the weight of the first step.

    Returns:
        Outcomes of the engine and of each rule.
    """
    # by batch, so that the outcomes do not depend on the process that simulates it;
    # by part, so that outages do not change the traffic of a seed
    sources = [np.random.default_rng(sequence) for sequence in np.random.SeedSequence([seed, number]).spawn(4)]
    stream = TrafficStream(case.traffic, sources[0], rollouts, case.interval)
    phi = _dispersion(case, sources[1], rollouts)
    fleet = Fleet(case.metrics, case.schedule, case.traffic, rollouts, warmup=case.warmup, phi=phi)
    rivals = list(rules(rollouts)) if rules is not None else []
    scrapes = _Scrapes(case, sources[2], rollouts)
    parts: list[_Shrinkable] = [stream, fleet, scrapes, *rivals]
    key = case.traffic.key(case.metrics[0]) if rivals else ""
    fixed = case.schedule.steps[0].weight / 100.0 if rivals else None
    # two samples more, so that the last decisions are not cut off
    horizon = case.schedule.timeout + case.schedule.bake + 2.0 * case.interval
    fleet.take_sample(0.0, _NOTHING, scrapes.trouble(rollouts))
    now, before = 0.0, np.zeros(rollouts)
    while now < horizon:
        now += case.interval
        running = np.logical_or.reduce([fleet.running, *(rule.running for rule in rivals)])
        if not running.any():
            break
        # not at each end, as all arrays are copied
        if running.mean() <= _SHRINK:
            for part in parts:
                part.keep(running)
            before = before[running]
        shares = fleet.shares
        common, counts = _draw(stream, fleet, now, before, fixed, first=now <= case.interval)
        before = shares
        counts, trouble = scrapes.scrape(counts)
        fleet.take_sample(now, counts, trouble)
        for rule in rivals:
            if rule.running.any():
                rule.take_sample(now, common.canary, common.events[key][0], trouble)
    fleet.give_up(now)
    for rule in rivals:
        rule.give_up(now)
    return fleet.outcomes, [rule.outcomes for rule in rivals]


def _draw(
    stream: TrafficStream, fleet: Fleet, now: float, before: Floats, fixed: float | None, *, first: bool
) -> tuple[Counts, Counts]:
    """The sample that ends now, for the other rules and for the engine.

    Args:
        stream: The traffic.
        fleet: The rollouts that the engine decides.
        now: Seconds since the first weight.
        before: The canary's share in the previous sample, by rollout.
        fixed: The canary's constant share under the other rules; None if there are none.
        first: Whether this is the first sample, without a weight before it.
    """
    shares = fleet.shares
    if fixed is None:
        counts = stream.draw(now, shares, before=before)
        return counts, counts
    weight = np.full(len(shares), fixed)
    # with equal weights the engine and the other rules see the same requests
    common = stream.draw(now, weight, before=np.zeros(len(shares)) if first else weight)
    at = np.flatnonzero(fleet.running & (shares != fixed))
    if not len(at):
        return common, common
    return common, common.replaced(at, stream.draw(now, shares[at], before=before[at], at=at))


class _Shrinkable(Protocol):
    def keep(self, kept: Bools) -> None: ...


class _Scrapes:
    """The scrapes of the traffic, with outages and wrong counters."""

    def __init__(self, case: Case, random: np.random.Generator, rollouts: int) -> None:
        self._blackouts = Blackouts(case.outage, random, rollouts) if case.outage else None
        self._liars = (
            {key: Liars(case.lies, random, rollouts) for key in case.traffic.rates} if case.lies is not None else {}
        )

    def trouble(self, rollouts: int) -> Codes:
        """Codes of missing data in this sample."""
        return self._blackouts.next_sample() if self._blackouts else np.zeros(rollouts, np.int8)

    def scrape(self, counts: Counts) -> tuple[Counts, Codes]:
        """The counts of a sample, and the codes of missing data."""
        trouble = self.trouble(len(counts.canary))
        for key, liars in self._liars.items():
            ours, theirs = counts.events[key]
            (canary, canary_events, stable, stable_events), lost = liars.scrape(
                (counts.canary, ours, counts.stable, theirs)
            )
            # wrong counters are read once per sample
            counts = replace(
                counts,
                canary=canary,
                stable=stable,
                events=counts.events | {key: (canary_events, stable_events)},
                early=None,
            )
            trouble = np.where(trouble == SEEN, lost, trouble).astype(np.int8)
        return counts, trouble

    def keep(self, kept: Bools) -> None:
        """Keep only some rollouts."""
        for part in (self._blackouts, *self._liars.values()):
            if part is not None:
                part.keep(kept)


_NOTHING: Final = Counts(np.zeros(0), np.zeros(0), {})


def _dispersion(case: Case, random: np.random.Generator, rollouts: int) -> dict[str, Floats]:
    """Dispersion by metric and rollout: given, or measured by comparing stable with itself before the start."""
    if case.dispersion is not None:
        return {metric.full_name: np.full(rollouts, case.dispersion) for metric in case.metrics}
    names = {metric.full_name: metric for metric in case.metrics if metric.type not in ("drift", "assignment")}
    if case.pods < 2:
        return {name: np.ones(rollouts) for name in names}
    keys = {case.traffic.key(metric) for metric in names.values()}
    total = {key: np.zeros(rollouts) for key in keys}
    samples = {key: np.zeros(rollouts) for key in keys}
    stream = TrafficStream(case.traffic, random, rollouts, case.interval)
    # one pod in the canary's place, as in prepare
    share = np.full(rollouts, 1.0 / case.pods)
    for number in range(int(_HISTORY_S // case.interval)):
        # negative times, as the daily wave continues into the run
        counts = stream.draw((number + 1) * case.interval - _HISTORY_S, share, alike=True)
        for key in keys:
            deviation, tells = _deviation(counts.canary, counts.stable, *counts.events[key])
            total[key] += deviation
            samples[key] += tells
    dispersions = {}
    for name, metric in names.items():
        key = case.traffic.key(metric)
        phi = np.maximum(total[key] / np.maximum(samples[key], 1.0), 1.0)
        # with fewer samples it counts as not measured, as in estimate_dispersion
        dispersions[name] = np.where(samples[key] >= MIN_SAMPLES, phi, 1.0)
    return dispersions


def _deviation(first: Floats, second: Floats, events: Floats, others: Floats) -> tuple[Floats, Bools]:
    """Squared deviation of a sample of stable compared with itself, over its variance, and where it is defined."""
    all_events = events + others
    tells = (first > 0.0) & (second > 0.0) & (all_events > 0.0)
    theta = np.where(tells, first / np.maximum(first + second, 1.0), 0.5)
    expected = all_events * theta
    squared = (events - expected) ** 2 / np.where(tells, expected * (1.0 - theta), 1.0)
    return np.where(tells, squared, 0.0), tells
