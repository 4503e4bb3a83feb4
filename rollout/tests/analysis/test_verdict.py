"""Verdicts of metrics, and what they mean together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis import drift, sequential
from tandem_rollout.analysis.counts import NoData, Tick
from tandem_rollout.analysis.sequential import RatioTest
from tandem_rollout.analysis.verdict import (
    Decision,
    Judged,
    Policy,
    ProviderError,
    Trouble,
    Verdict,
    combine,
    judge_drift,
    judge_ratio,
)

PASS, FAIL, INCONCLUSIVE, NO_DATA, PROVIDER_ERROR = Verdict
TEST = RatioTest(floor=0.002)
TROUBLES = pytest.mark.parametrize(
    ("trouble", "verdict"),
    [(NoData("NoSeries", "no series"), NO_DATA), (ProviderError("PrometheusUnreachable", "refused"), PROVIDER_ERROR)],
)


def after(*ticks: Tick) -> sequential.Evidence:
    evidence = sequential.start(TEST)
    for tick in ticks:
        evidence = sequential.update(TEST, evidence, tick)
    return evidence


GOOD = after(Tick(10_000, 50, 90_000, 450))
BAD = after(Tick(1000, 100, 9000, 45))


def test_a_good_canary_passes_and_a_bad_one_fails() -> None:
    assert judge_ratio(TEST, GOOD) is PASS
    assert judge_ratio(TEST, BAD) is FAIL
    assert judge_ratio(TEST, after(Tick(10, 0, 90, 1))) is INCONCLUSIVE


def test_the_least_sample_holds_back_a_pass_only() -> None:
    assert judge_ratio(TEST, GOOD, min_requests=10_001) is INCONCLUSIVE
    assert judge_ratio(TEST, BAD, min_requests=10_001) is FAIL


@TROUBLES
def test_what_cannot_be_seen_is_no_pass_and_no_acquittal(trouble: Trouble, verdict: Verdict) -> None:
    assert judge_ratio(TEST, GOOD, trouble=trouble) is verdict
    assert judge_ratio(TEST, sequential.start(TEST), trouble=trouble) is verdict
    assert judge_ratio(TEST, BAD, trouble=trouble) is FAIL


def test_a_canary_without_requests_is_no_data() -> None:
    assert judge_ratio(TEST, sequential.start(TEST)) is NO_DATA
    assert judge_ratio(TEST, after(Tick(0, 0, 10**6, 10**3))) is NO_DATA


def drifted(ours: list[float], theirs: list[float], ticks: int = 10) -> drift.Evidence:
    evidence = drift.start(len(ours))
    for _ in range(ticks):
        evidence = drift.update(evidence, [each / ticks for each in ours], [each / ticks for each in theirs])
    return evidence


FAR, NEAR = drifted([800.0, 200.0], [4500.0, 4500.0]), drifted([500.0, 500.0], [4500.0, 4500.0])


def test_drift_fails_above_the_limit_and_passes_below_it() -> None:
    assert judge_drift(FAR) is FAIL
    assert judge_drift(FAR, limit=1.0) is PASS
    assert judge_drift(NEAR) is PASS
    certain_and_small = drifted([53_000.0, 47_000.0], [450_000.0, 450_000.0])
    assert judge_drift(certain_and_small) is PASS
    at_the_limit = drifted([65_600.0, 34_400.0], [450_000.0, 450_000.0])
    assert drift.estimate(at_the_limit) == pytest.approx(0.1, abs=0.003)
    assert judge_drift(at_the_limit) is INCONCLUSIVE


def test_drift_says_nothing_before_the_least_rows() -> None:
    assert judge_drift(drift.start(4)) is NO_DATA
    assert judge_drift(NEAR, least_rows=1001) is INCONCLUSIVE
    assert judge_drift(FAR, least_rows=1001) is INCONCLUSIVE
    assert judge_drift(FAR, least_rows=1000, dispersion=2.0) is INCONCLUSIVE
    assert judge_drift(drifted([9.0, 1.0], [45.0, 45.0]), least_rows=0) is INCONCLUSIVE


@TROUBLES
def test_drift_that_cannot_be_seen_is_no_pass(trouble: Trouble, verdict: Verdict) -> None:
    assert judge_drift(NEAR, trouble=trouble) is verdict
    assert judge_drift(FAR, trouble=trouble) is FAIL


def test_all_metrics_have_to_pass_and_one_is_enough_to_fail() -> None:
    assert combine({"errors": Judged(PASS), "latency": Judged(PASS)}) == Decision(PASS, ("errors", "latency"))
    assert combine({"errors": Judged(PASS), "latency": Judged(INCONCLUSIVE)}) == Decision(INCONCLUSIVE, ("latency",))
    assert combine({"errors": Judged(FAIL), "latency": Judged(PROVIDER_ERROR)}) == Decision(FAIL, ("errors",))


def test_the_reason_to_hold_is_the_gravest() -> None:
    judged = {"a": Judged(INCONCLUSIVE), "b": Judged(NO_DATA), "c": Judged(PROVIDER_ERROR)}
    assert combine(judged) == Decision(PROVIDER_ERROR, ("c",))
    del judged["c"]
    assert combine(judged) == Decision(NO_DATA, ("b",))


def test_policies_say_what_missing_data_means() -> None:
    seen = {"errors": Judged(PASS)}
    assert combine(seen | {"drift": Judged(NO_DATA, Policy(no_data="fail"))}) == Decision(FAIL, ("drift",))
    assert combine(seen | {"drift": Judged(NO_DATA, Policy(no_data="ignore"))}) == Decision(
        PASS, ("errors",), ("drift",)
    )
    assert combine(seen | {"drift": Judged(FAIL, Policy(gate=False))}) == Decision(PASS, ("errors",))


def test_arms_that_are_not_comparable_pass_nothing() -> None:
    assert combine({"errors": Judged(PASS)}, mismatched=True) == Decision(INCONCLUSIVE, ("errors",))
    assert combine({"errors": Judged(FAIL)}, mismatched=True) == Decision(FAIL, ("errors",))


POLICIES = st.builds(
    Policy,
    no_data=st.sampled_from(["hold", "fail", "ignore"]),
    provider_error=st.sampled_from(["hold", "ignore"]),
    inconclusive=st.sampled_from(["hold", "ignore"]),
    gate=st.booleans(),
)
JUDGED = st.dictionaries(st.sampled_from("abcd"), st.builds(Judged, st.sampled_from(Verdict), POLICIES))


@given(JUDGED)
def test_a_pass_needs_a_metric_that_passed_and_a_failure_one_that_failed(judged: dict[str, Judged]) -> None:
    decision = combine(judged)
    if decision.verdict is PASS:
        assert decision.metrics
        assert all(judged[name].verdict is PASS and judged[name].policy.gate for name in decision.metrics)
        assert not any(each.verdict is FAIL and each.policy.gate for each in judged.values())
    if decision.verdict is FAIL:
        assert decision.metrics
        assert all(judged[name].verdict in (FAIL, NO_DATA) for name in decision.metrics)


@given(st.dictionaries(st.sampled_from("abcd"), st.builds(Judged, st.just(PROVIDER_ERROR), POLICIES)))
def test_an_outage_of_the_source_alone_never_decides(judged: dict[str, Judged]) -> None:
    assert combine(judged).verdict not in (PASS, FAIL)
