"""Other rules do what their documentation says, and how many more requests the engine takes than the best of them."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.rollouts.argo import Argo
from benchmarks.rollouts.flagger import Flagger
from benchmarks.rollouts.sprt import Sprt

from tandem_rollout.api.analysis import Metric
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, UNDECIDED
from tandem_rollout.simulation.rollouts import Case, RivalRule, simulate_batch
from tandem_rollout.simulation.traffic import EventRates, Traffic

OK, BAD, QUIET, ABSENT, DOWN = "ok", "bad", "quiet", "absent", "down"
MEANS = {
    OK: (100.0, 0.0, 0),
    BAD: (100.0, 20.0, 0),
    QUIET: (0.0, 0.0, 0),
    ABSENT: (100.0, 0.0, 1),
    DOWN: (100.0, 0.0, 2),
}
SOSO = (100.0, 3.0, 0)


def follow(
    rule: RivalRule, checks: list[str | tuple[float, float, int]], every: float = 60.0
) -> tuple[int, float, bool]:
    """How one rollout ends, when, and whether it still goes on."""
    for number, check in enumerate(checks):
        requests, events, trouble = MEANS[check] if isinstance(check, str) else check
        rule.take_sample(every * (number + 1), np.array([requests]), np.array([events]), np.array([trouble], np.int8))
        if not rule.running.any():
            break
    return int(rule.outcomes.ended[0]), float(rule.outcomes.seconds[0]), bool(rule.running[0])


@pytest.mark.parametrize("check", [BAD, QUIET, ABSENT, DOWN])
def test_flagger_rolls_back_at_the_first_check_that_does_not_pass(check: str) -> None:
    assert follow(Flagger(1), [OK, OK, check]) == (ROLLED_BACK, 180.0, False)


def test_flagger_never_forgets_a_failed_check() -> None:
    checks = [BAD, OK, OK, BAD, OK, BAD, OK, BAD, OK, BAD, OK]
    assert follow(Flagger(1, threshold=5), checks) == (ROLLED_BACK, 600.0, False)


def test_flagger_promotes_after_so_many_checks_that_passed() -> None:
    assert follow(Flagger(1, threshold=5, checks=4), [OK, BAD, OK, OK, OK]) == (PROMOTED, 300.0, False)


def test_flagger_looks_at_all_requests_since_the_last_check() -> None:
    looks: list[str | tuple[float, float, int]] = [(100.0, 5.0, 0), (900.0, 0.0, 0)] + [(0.0, 0.0, 0)] * 4
    assert follow(Flagger(1, checks=1), looks, every=10.0) == (PROMOTED, 60.0, False)


def test_argo_aborts_at_the_first_failure_and_promotes_after_its_count() -> None:
    assert follow(Argo(1), [OK, OK, BAD]) == (ROLLED_BACK, 180.0, False)
    assert follow(Argo(1, count=3), [OK, OK, OK]) == (PROMOTED, 180.0, False)


def test_argo_leaves_what_is_inconclusive_to_a_person() -> None:
    assert follow(Argo(1, failure=0.95), [OK, SOSO, OK]) == (UNDECIDED, 120.0, False)
    assert follow(Argo(1), [OK, SOSO, OK]) == (ROLLED_BACK, 120.0, False)


@pytest.mark.parametrize("check", [ABSENT, DOWN])
def test_argo_aborts_at_the_fifth_error_in_a_row(check: str) -> None:
    assert follow(Argo(1), [*[OK] * 5, *[check] * 20], every=10.0) == (ROLLED_BACK, 100.0, False)
    assert follow(Argo(1), [*[OK] * 5, *[check] * 4, OK], every=10.0)[2]


def test_no_requests_are_an_error_to_argo() -> None:
    assert follow(Argo(1), [QUIET] * 20, every=10.0) == (ROLLED_BACK, 100.0, False)


def test_argo_succeeds_with_no_measurement_at_all() -> None:
    assert follow(Argo(1, count=0), [BAD]) == (PROMOTED, 60.0, False)


@pytest.mark.parametrize(("rate", "wrong"), [(0.01, ROLLED_BACK), (0.03, PROMOTED)])
def test_the_sprt_is_wrong_about_as_often_as_it_may(rate: float, wrong: int) -> None:
    random, rule = np.random.default_rng(1), Sprt(4000, good=0.01, bad=0.03, alpha=0.05, beta=0.05)
    for number in range(2000):
        requests = random.poisson(20, len(rule.running))
        rule.take_sample(
            float(number), requests * 1.0, random.binomial(requests, rate) * 1.0, np.zeros(len(requests), np.int8)
        )
        rule.keep(rule.running)
        if not len(rule.running):
            break
    assert rule.outcomes.share(UNDECIDED) == 0.0
    assert 0.02 < rule.outcomes.share(wrong) < 0.06


def test_what_is_not_decided_at_the_end_stays_so() -> None:
    rule = Flagger(2)
    rule.take_sample(10.0, np.full(2, 7.0), np.zeros(2), np.zeros(2, np.int8))
    rule.give_up(10.0)
    assert rule.outcomes.count(UNDECIDED) == 2
    assert (rule.outcomes.requests == 7.0).all()


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_decisions_take_little_more_than_those_of_one_who_knows_both_rates(ratio: float) -> None:
    case = Case(
        metrics=[Metric(type="errors")],
        schedule=Schedule(steps=(ScheduledStep(weight=10, min_duration=10.0),), timeout=4 * 3600.0, bake=60.0),
        traffic=Traffic(rates={"errors": EventRates(0.02, 0.02 * ratio)}),
    )

    def rivals(rollouts: int) -> list[Sprt]:
        return [Sprt(rollouts, good=0.02, bad=0.02 * max(ratio, 2.0))]

    ours, (theirs,) = simulate_batch(case, 1000, seed=1, number=0, rules=rivals)
    assert 1.1 < ours.samples.mean() / theirs.samples.mean() < 1.6
