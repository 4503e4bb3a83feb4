"""Whole rollouts: what evidence makes of good and bad canaries, and what outages do not."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from tandem_rollout.analysis.counts import Increments
from tandem_rollout.analysis.dispersion import Dispersion, estimate_dispersion
from tandem_rollout.api.analysis import Metric
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.simulation import rollouts as module
from tandem_rollout.simulation.forecast import forecast, predicted_requests, steady, worse
from tandem_rollout.simulation.lies import Lies
from tandem_rollout.simulation.outage import Outage
from tandem_rollout.simulation.outcome import (
    PROMOTED,
    ROLLED_BACK,
    TAKEN_BACK,
    UNDECIDED,
    Outcomes,
    blank,
    joined,
    spread,
)
from tandem_rollout.simulation.rollouts import Case, simulate, simulate_batch
from tandem_rollout.simulation.stream import TrafficStream
from tandem_rollout.simulation.traffic import Bins, ChangeEffect, EventRates, Incidents, Traffic

SCHEDULE = Schedule(steps=(ScheduledStep(weight=10, min_duration=10.0),), timeout=4 * 3600.0, bake=60.0)


def case(ratio: float = 1.0, rate: float = 0.02) -> Case:
    return Case(
        metrics=[Metric(type="errors")],
        schedule=SCHEDULE,
        traffic=Traffic(rates={"errors": EventRates(rate, rate * ratio)}),
    )


def same(outcomes: Outcomes, other_outcomes: Outcomes) -> bool:
    return all(
        np.array_equal(getattr(outcomes, field.name), getattr(other_outcomes, field.name)) for field in fields(Outcomes)
    )


def test_good_canaries_are_promoted_and_bad_ones_rolled_back() -> None:
    good, bad = (simulate(case(ratio), rollouts=500, seed=1) for ratio in (1.0, 5.0))
    assert good.share(PROMOTED) > 0.98
    assert bad.share(ROLLED_BACK) == 1.0
    assert bad.requests.mean() < good.requests.mean() / 5.0


def test_the_same_seed_gives_the_same_outcomes() -> None:
    outcomes, rerun, other_seed = (simulate(case(), rollouts=200, seed=seed) for seed in (1, 1, 2))
    assert same(outcomes, rerun)
    assert not same(outcomes, other_seed)


def test_outcomes_do_not_depend_on_who_simulates_which_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 100)
    whole = simulate(case(), rollouts=250, seed=1)
    parts = [simulate_batch(case(), size, seed=1, number=at)[0] for at, size in reversed([*enumerate((100, 100, 50))])]
    assert same(whole, joined(parts[::-1]))


class Recorder:
    """Writes down the canary's requests so far, and never decides."""

    def __init__(self, rollouts: int) -> None:
        self.outcomes = blank(rollouts)
        self.running = np.ones(rollouts, np.bool_)
        self.totals: dict[float, np.ndarray] = {}
        self._requests = np.zeros(rollouts)

    def take_sample(self, now: float, canary: np.ndarray, events: np.ndarray, trouble: np.ndarray) -> None:
        self._requests = self._requests + canary
        self.totals[now] = self._requests

    def keep(self, mask: np.ndarray) -> None:
        self.running, self._requests = self.running[mask], self._requests[mask]

    def give_up(self, now: float) -> None:
        """It has decided nothing."""


def test_other_rules_see_the_traffic_that_the_engine_sees() -> None:
    recorder = Recorder(50)
    short = replace(case(), schedule=replace(SCHEDULE, timeout=1800.0))
    engine, _ = simulate_batch(short, 50, seed=1, number=0, rules=lambda rollouts: [recorder])
    assert engine.count(PROMOTED) > 25
    for row in range(50):
        assert engine.requests[row] == recorder.totals[engine.seconds[row]][row]


@pytest.mark.parametrize("kind", ["absent", "unreadable"])
@pytest.mark.parametrize("ratio", [1.0, 5.0])
def test_metrics_that_are_never_there_decide_nothing(kind: Any, ratio: float) -> None:
    dark = replace(case(ratio), outage=Outage(what=kind))
    outcomes = simulate(dark, rollouts=50, seed=1)
    assert outcomes.count(UNDECIDED) == 50
    assert (outcomes.samples == 0.0).all()
    assert (outcomes.seconds == SCHEDULE.timeout).all()


@pytest.mark.parametrize("kind", ["absent", "unreadable", "either"])
def test_flaky_metrics_delay_decisions_and_make_none(kind: Any) -> None:
    """What was counted in an outage is counted when it is over: only its end is waited for."""
    flaky = replace(case(), outage=Outage(what=kind, share=0.3, lasting=3.0))
    outcomes, plain = simulate(flaky, rollouts=500, seed=1), simulate(case(), rollouts=500, seed=1)
    assert outcomes.share(PROMOTED) > 0.98
    assert not outcomes.unseen.any()
    assert plain.seconds.mean() < outcomes.seconds.mean() < plain.seconds.mean() + 60.0
    assert outcomes.samples.mean() == pytest.approx(plain.samples.mean(), rel=0.1)


def test_a_policy_that_fails_without_data_is_seen_to_roll_back_unseen() -> None:
    strict = replace(case(), metrics=[Metric(type="errors", no_data="fail")], outage=Outage(what="absent", share=0.3))
    outcomes = simulate(strict, rollouts=100, seed=1)
    assert outcomes.share(ROLLED_BACK) > 0.95
    assert outcomes.unseen.mean() > 0.95


def test_lying_counters_roll_back_no_more_good_canaries() -> None:
    outcomes = simulate(replace(case(), lies=Lies(0.1)), rollouts=500, seed=1)
    assert outcomes.share(PROMOTED) > 0.98
    bad = simulate(replace(case(5.0), lies=Lies(0.1)), rollouts=200, seed=1)
    assert bad.share(ROLLED_BACK) == 1.0


def test_what_the_time_does_not_suffice_for_stays_undecided_or_goes_as_the_spec_says() -> None:
    ends: dict[Any, int] = {"pause": UNDECIDED, "abort": ROLLED_BACK, "promote": PROMOTED}
    for on_timeout, ended in ends.items():
        short = replace(SCHEDULE, timeout=60.0, on_timeout=on_timeout, bake=0.0)
        outcomes = simulate(replace(case(rate=0.001), schedule=short), rollouts=50, seed=1)
        assert outcomes.count(ended) == 50


def test_a_canary_that_falls_ill_while_it_bakes_is_taken_back() -> None:
    for holdback in (0, 10):
        good = replace(case(), schedule=replace(SCHEDULE, bake=600.0, holdback=holdback))
        assert simulate(good, rollouts=100, seed=1).count(TAKEN_BACK) == 0
        ill = replace(good, traffic=replace(good.traffic, burden=20.0))
        outcomes = simulate(ill, rollouts=100, seed=1)
        assert outcomes.count(TAKEN_BACK) + outcomes.count(ROLLED_BACK) == 100
        assert outcomes.count(TAKEN_BACK) > 95


def test_an_incident_that_hits_both_takes_nobody_back_who_is_held_against_what_is_held_back() -> None:
    incidents = Incidents(factor=10.0, every=600.0, lasting=60.0)
    both = replace(case(), traffic=replace(case().traffic, incidents=incidents))
    counts = {
        holdback: simulate(
            replace(both, schedule=replace(SCHEDULE, bake=300.0, holdback=holdback)), rollouts=500, seed=1
        ).count(TAKEN_BACK)
        for holdback in (0, 5)
    }
    assert counts[0] > 50
    assert counts[5] < 3


def test_latencies_of_the_warm_up_are_not_judged() -> None:
    slow = Traffic(rates={"latency": EventRates(0.05, 0.5)})
    warm = Case(metrics=[Metric(type="latency")], schedule=SCHEDULE, traffic=slow, warmup=60.0)
    outcomes = simulate(warm, rollouts=200, seed=1)
    assert outcomes.share(ROLLED_BACK) == 1.0
    assert (outcomes.requests - outcomes.samples).mean() == pytest.approx(120.0, rel=0.05)
    assert outcomes.seconds.min() > 60.0


def test_errors_of_the_warm_up_count() -> None:
    plain, warm = (simulate(replace(case(5.0), warmup=seconds), rollouts=200, seed=1) for seconds in (0.0, 60.0))
    assert (warm.samples == plain.samples).all()
    assert (warm.samples == warm.requests).all()


STEPS = replace(
    SCHEDULE, holdback=5, steps=tuple(ScheduledStep(weight=weight, min_duration=60.0) for weight in (5, 25, 50))
)


def test_what_only_fails_while_the_weight_changes_is_seen() -> None:
    failing = replace(case().traffic, change=ChangeEffect(rate=1.0, arms="canary"))
    outcomes = simulate(replace(case(), schedule=STEPS, traffic=failing), rollouts=500, seed=1)
    assert outcomes.share(ROLLED_BACK, TAKEN_BACK) > 0.98


def test_a_burst_in_both_arms_at_each_step_aborts_nothing() -> None:
    shared = replace(case().traffic, change=ChangeEffect(rate=0.3, arms="both"))
    outcomes = simulate(replace(case(), schedule=STEPS, traffic=shared), rollouts=500, seed=1)
    assert outcomes.count(ROLLED_BACK, TAKEN_BACK) <= 5
    assert outcomes.share(PROMOTED) > 0.95


def test_drift_is_found_and_its_absence_promoted() -> None:
    even, tilted = (0.25,) * 4, (0.4, 0.3, 0.2, 0.1)
    for canary, ended in ((even, PROMOTED), (tilted, ROLLED_BACK)):
        drifting = Case(metrics=[Metric(type="drift")], schedule=SCHEDULE, traffic=Traffic(bins=Bins(even, canary)))
        assert simulate(drifting, rollouts=100, seed=1).share(ended) > 0.95


def test_steps_rise_and_end_with_the_decision() -> None:
    steps = tuple(ScheduledStep(weight=weight, min_duration=60.0) for weight in (5, 25, 50))
    outcomes = simulate(replace(case(), schedule=replace(SCHEDULE, steps=steps)), rollouts=200, seed=1)
    assert outcomes.share(PROMOTED) > 0.97
    assert outcomes.seconds[outcomes.ended == PROMOTED].min() >= 180.0


def test_dispersion_is_measured_as_the_analysis_does() -> None:
    bursty = replace(case(), dispersion=None, pods=4)
    bursty = replace(bursty, traffic=replace(bursty.traffic, correlation=0.02))
    measured = module._dispersion(bursty, np.random.default_rng(5), 3)["errors"]
    stream = TrafficStream(bursty.traffic, np.random.default_rng(5), 3, 10.0)
    ticks = [stream.draw(-1800.0 + 10.0 * (at + 1), np.full(3, 0.25), alike=True) for at in range(180)]
    for row in range(3):
        estimate = estimate_dispersion(
            Increments(tick.canary[row], tick.events["errors"][0][row], tick.stable[row], tick.events["errors"][1][row])
            for tick in ticks
        )
        assert isinstance(estimate, Dispersion)
        assert measured[row] == pytest.approx(estimate.phi)
        assert measured[row] > 1.2


def test_one_pod_or_few_events_measure_nothing() -> None:
    for few in (replace(case(), dispersion=None, pods=1), replace(case(rate=1e-5), dispersion=None, pods=4)):
        assert (module._dispersion(few, np.random.default_rng(1), 5)["errors"] == 1.0).all()
    fixed_dispersion = replace(case(), dispersion=3.0)
    assert (
        simulate(fixed_dispersion, rollouts=100, seed=1).samples.mean()
        > 2.0 * simulate(case(), rollouts=100, seed=1).samples.mean()
    )


def test_forecast_tells_good_canaries_from_bad_ones() -> None:
    progress: list[int] = []
    own = replace(case(), traffic=steady(50.0, {"errors": 0.01, "latency": 0.05}))
    forecasts = forecast(own, own.metrics[0], rollouts=200, tell=progress.append)
    assert [point.ratio for point in forecasts] == [1.0, 1.5, 2.0, 5.0]
    assert forecasts[0].outcomes.share(PROMOTED) > 0.97
    assert forecasts[3].outcomes.share(ROLLED_BACK) == 1.0
    assert forecasts[3].minutes is not None
    assert forecasts[0].minutes is not None
    assert forecasts[3].minutes.median < forecasts[0].minutes.median
    assert sum(progress) == 800


def test_worse_leaves_stable_and_other_metrics_alone() -> None:
    traffic = steady(50.0, {"errors": 0.3, "latency": 0.05})
    bad = worse(traffic, Metric(type="errors"), 5.0)
    assert bad.rates["errors"] == EventRates(0.3, 0.95)
    assert bad.rates["latency"] == traffic.rates["latency"]


def test_predicted_requests_are_those_until_rollback() -> None:
    traffic = worse(steady(100.0, {"errors": 0.001}), Metric(type="errors"), 50.0)
    requests = predicted_requests([Metric(type="errors")], traffic, weight=10, rollouts=300)
    assert requests is not None
    assert requests.median <= requests.p90 <= requests.p99
    # five errors of a hundred requests are enough, and the warm-up is counted
    assert 50.0 <= requests.median <= 600.0
    good = steady(100.0, {"errors": 0.0})
    assert predicted_requests([Metric(type="errors")], good, weight=10, rollouts=20) is None


def test_nothing_spreads_nowhere() -> None:
    assert spread(np.zeros(0)) is None
