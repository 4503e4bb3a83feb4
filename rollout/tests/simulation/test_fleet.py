"""Many rollouts at once go where the driver and the analyst take each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.reading import CounterReading, Reading, Readings
from tandem_rollout.analysis.record import Record
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.analysis.window import ROUTE_DELAY_S
from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.engine.desired import Desired
from tandem_rollout.engine.inputs import RevisionState, RunInputs
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.runner.analyst import Analyst, Judgement
from tandem_rollout.runner.driver import advance
from tandem_rollout.simulation.fleet import Fleet
from tandem_rollout.simulation.outage import Blackouts, Outage
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, TAKEN_BACK, UNDECIDED
from tandem_rollout.simulation.stream import Counts, TrafficStream
from tandem_rollout.simulation.traffic import EventRates, Traffic
from tandem_rollout.sources import ArmLocation, Arms

EPOCH = 1_700_000_000.0
READY = RevisionState(pods=(1, 1), fit=True)
METRICS = [Metric(type="errors", no_data="hold"), Metric(type="degraded")]
STEPS = Schedule(
    steps=(
        ScheduledStep(weight=5, min_duration=30.0),
        ScheduledStep(weight=20, min_duration=45.0),
        ScheduledStep(weight=50, min_duration=20.0),
    ),
    timeout=1500.0,
    bake=60.0,
)


@dataclass
class World:
    """One rollout in the hands of the driver: counters, a source, a keeper and a backend."""

    totals: dict[str, list[float]]
    trouble: int = 0

    def inputs(self, run: Run | None) -> RunInputs:
        routed = run.weight if run else 0
        return RunInputs(specified="canary", plan="", serving="stable", stable=READY, canary=READY, routed=routed)

    async def arms(self, run: Run) -> Arms:
        return Arms(namespace="models", stable=ArmLocation(service=run.stable), canary=ArmLocation(service=run.canary))

    async def write(self, run: Run, judgement: Judgement) -> None: ...

    async def make(self, run: Run, desired: Desired) -> None: ...

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        return {metric.full_name: self._reading(metric.type) for metric in metrics}

    async def close(self) -> None: ...

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        return [await self.read(metrics, arms)]

    async def load(self, run: int) -> Record | None:
        return None

    async def keep(self, record: Record) -> None: ...

    def _reading(self, key: str) -> Reading:
        if self.trouble:
            return (
                NoData("NoSeries", "no series")
                if self.trouble == 1
                else ProviderError("PrometheusUnreachable", "refused")
            )
        n_c, k_c, n_s, k_s = self.totals[key]
        canary, stable = Counters({"r": n_c}, {"e": k_c}), Counters({"r": n_s}, {"e": k_s})
        return CounterReading(stable={"pod": stable}, canary={"pod": canary})


class Driven:
    """The driver on that world."""

    def __init__(self, schedule: Schedule, warmup: str) -> None:
        self.world = World({"errors": [0.0] * 4, "degraded": [0.0] * 4})
        self.analyst = Analyst(self.world, self.world)
        self.schedule, self.analysis = schedule, Analysis(metrics=METRICS, warmup=warmup)
        self.run: Run | None = None

    async def settle(self, now: float, trouble: int) -> Run:
        self.world.trouble = trouble
        while True:
            after, _ = await advance(self.world, self.analyst, self.schedule, self.analysis, self.run, EPOCH + now)
            assert after is not None
            if after == self.run:
                return after
            self.run = after

    def count(self, counts: Counts, row: int) -> None:
        for key, (ours, theirs) in counts.events.items():
            more = counts.canary[row], ours[row], counts.stable[row], theirs[row]
            self.world.totals[key] = [
                total + increase for total, increase in zip(self.world.totals[key], more, strict=True)
            ]


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("outage", [None, Outage(what="either", share=0.3, lasting=2.0)])
@pytest.mark.parametrize("holdback", [0, 5])
async def test_each_rollout_is_moved_as_the_driver_moves_it(ratio: float, outage: Outage | None, holdback: int) -> None:
    rollouts, schedule = 12, replace(STEPS, holdback=holdback)
    rates = {"errors": EventRates(0.01, 0.01 * ratio), "degraded": EventRates(0.02, 0.02)}
    traffic = Traffic(requests_per_second=30.0, rates=rates)
    random = np.random.default_rng(3)
    stream = TrafficStream(traffic, random, rollouts, 10.0)
    blackouts = Blackouts(outage, random, rollouts) if outage else None
    fleet = Fleet(METRICS, schedule, traffic, rollouts, warmup=15.0)
    driven = [Driven(schedule, "15s") for _ in range(rollouts)]
    now, counts, before = 0.0, None, np.zeros(rollouts)
    changed = before > 0.0
    while fleet.running.any():
        trouble = blackouts.next_sample() if blackouts else np.zeros(rollouts, np.int8)
        for row in np.flatnonzero(fleet.running) if counts is not None else ():
            if counts.early is not None and changed[row]:
                driven[row].count(counts.early, row)
                await driven[row].settle(now - 10.0 + ROUTE_DELAY_S, int(trouble[row]))
                driven[row].count(counts.later, row)
            else:
                driven[row].count(counts, row)
        running = fleet.running.copy()
        fleet.take_sample(now, counts or Counts(np.zeros(0), np.zeros(0), {}), trouble)
        for row in np.flatnonzero(running):
            run = await driven[row].settle(now, int(trouble[row]))
            if fleet.running[row]:
                assert run.weight == round(100.0 * fleet.shares[row]), (now, run)
        now += 10.0
        changed = fleet.shares != before
        counts, before = stream.draw(now, fleet.shares, before=before), fleet.shares
    ends = {"Promoted": {PROMOTED}, "Aborted": {ROLLED_BACK, TAKEN_BACK}, "Paused": {UNDECIDED}}
    for row, rollout in enumerate(driven):
        assert rollout.run is not None
        assert fleet.outcomes.ended[row] in ends[rollout.run.state], rollout.run
    if ratio == 3.0:
        assert fleet.outcomes.count(ROLLED_BACK) > rollouts / 2
    if ratio == 0.5 and outage is None:
        assert fleet.outcomes.count(PROMOTED) > rollouts / 2


def test_only_canaries_are_simulated() -> None:
    for schedule in (Schedule(steps=()), Schedule(steps=(ScheduledStep(weight=0, min_duration=10.0),))):
        with pytest.raises(ValueError, match="only canaries"):
            Fleet(METRICS, schedule, Traffic(rates={"errors": EventRates(0, 0), "degraded": EventRates(0, 0)}), 3)


def test_traffic_must_have_what_the_metrics_count() -> None:
    with pytest.raises(ValueError, match="no rates for the metric degraded"):
        Fleet(METRICS, STEPS, Traffic(rates={"errors": EventRates(0, 0)}), 3)
    with pytest.raises(ValueError, match="no predictions for the metric drift"):
        Fleet([Metric(type="drift")], STEPS, Traffic(), 3)


def test_a_gate_leaves_the_rollout_to_a_person() -> None:
    gated = replace(
        STEPS,
        steps=(ScheduledStep(weight=10, min_duration=10.0, gate=True), ScheduledStep(weight=50, min_duration=10.0)),
    )
    traffic = Traffic(rates={"errors": EventRates(0.01, 0.01), "degraded": EventRates(0.01, 0.01)})
    fleet = Fleet(METRICS, gated, traffic, 3)
    stream = TrafficStream(traffic, np.random.default_rng(1), 3, 10.0)
    fleet.take_sample(0.0, stream.draw(0.0, fleet.shares))
    for now in (10.0, 20.0):
        fleet.take_sample(now, stream.draw(now, fleet.shares))
    assert not fleet.running.any()
    assert fleet.outcomes.count(UNDECIDED) == 3
