"""Verdicts of metrics, and what they mean together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis import drift, sequential
from tandem_rollout.analysis.counts import Increments, NoData
from tandem_rollout.analysis.sequential import RatioTest
from tandem_rollout.analysis.verdict import (
    GatedVerdict,
    MetricsDecision,
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


def after(*ticks: Increments) -> sequential.RatioEvidence:
    evidence = sequential.start(TEST)
    for tick in ticks:
        evidence = sequential.update(TEST, evidence, tick)
    return evidence


GOOD = after(Increments(10_000, 50, 90_000, 450))
BAD = after(Increments(1000, 100, 9000, 45))


def test_a_good_canary_passes_and_a_bad_one_fails() -> None:
    assert judge_ratio(TEST, GOOD) is PASS
    assert judge_ratio(TEST, BAD) is FAIL
    assert judge_ratio(TEST, after(Increments(10, 0, 90, 1))) is INCONCLUSIVE


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
    assert judge_ratio(TEST, after(Increments(0, 0, 10**6, 10**3))) is NO_DATA


def drifted(ours: list[float], theirs: list[float], ticks: int = 10) -> drift.DriftEvidence:
    evidence = drift.start(len(ours))
    for _ in range(ticks):
        evidence = drift.update(evidence, [count / ticks for count in ours], [count / ticks for count in theirs])
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
    assert judge_drift(NEAR, min_rows=1001) is INCONCLUSIVE
    assert judge_drift(FAR, min_rows=1001) is INCONCLUSIVE
    assert judge_drift(FAR, min_rows=1000, dispersion=2.0) is INCONCLUSIVE
    assert judge_drift(drifted([9.0, 1.0], [45.0, 45.0]), min_rows=0) is INCONCLUSIVE


@TROUBLES
def test_drift_that_cannot_be_seen_is_no_pass(trouble: Trouble, verdict: Verdict) -> None:
    assert judge_drift(NEAR, trouble=trouble) is verdict
    assert judge_drift(FAR, trouble=trouble) is FAIL


def test_all_metrics_have_to_pass_and_one_is_enough_to_fail() -> None:
    assert combine({"errors": GatedVerdict(PASS), "latency": GatedVerdict(PASS)}) == MetricsDecision(
        PASS, ("errors", "latency")
    )
    assert combine({"errors": GatedVerdict(PASS), "latency": GatedVerdict(INCONCLUSIVE)}) == MetricsDecision(
        INCONCLUSIVE, ("latency",)
    )
    assert combine({"errors": GatedVerdict(FAIL), "latency": GatedVerdict(PROVIDER_ERROR)}) == MetricsDecision(
        FAIL, ("errors",)
    )


def test_the_reason_to_hold_is_the_gravest() -> None:
    judged = {"a": GatedVerdict(INCONCLUSIVE), "b": GatedVerdict(NO_DATA), "c": GatedVerdict(PROVIDER_ERROR)}
    assert combine(judged) == MetricsDecision(PROVIDER_ERROR, ("c",))
    del judged["c"]
    assert combine(judged) == MetricsDecision(NO_DATA, ("b",))


def test_policies_say_what_missing_data_means() -> None:
    verdicts = {"errors": GatedVerdict(PASS)}
    assert combine(verdicts | {"drift": GatedVerdict(NO_DATA, Policy(no_data="fail"))}) == MetricsDecision(
        FAIL, ("drift",)
    )
    assert combine(verdicts | {"drift": GatedVerdict(NO_DATA, Policy(no_data="ignore"))}) == MetricsDecision(
        PASS, ("errors",), ("drift",)
    )
    assert combine(verdicts | {"drift": GatedVerdict(FAIL, Policy(gate=False))}) == MetricsDecision(PASS, ("errors",))


def test_arms_that_are_not_comparable_pass_nothing() -> None:
    assert combine({"errors": GatedVerdict(PASS)}, mismatched=True) == MetricsDecision(INCONCLUSIVE, ("errors",))
    assert combine({"errors": GatedVerdict(FAIL)}, mismatched=True) == MetricsDecision(FAIL, ("errors",))


POLICIES = st.builds(
    Policy,
    no_data=st.sampled_from(["hold", "fail", "ignore"]),
    provider_error=st.sampled_from(["hold", "ignore"]),
    inconclusive=st.sampled_from(["hold", "ignore"]),
    gate=st.booleans(),
)
JUDGED = st.dictionaries(st.sampled_from("abcd"), st.builds(GatedVerdict, st.sampled_from(Verdict), POLICIES))


@given(JUDGED)
def test_a_pass_needs_a_metric_that_passed_and_a_failure_one_that_failed(judged: dict[str, GatedVerdict]) -> None:
    decision = combine(judged)
    if decision.verdict is PASS:
        assert decision.metrics
        assert all(judged[name].verdict is PASS and judged[name].policy.gate for name in decision.metrics)
        assert not any(result.verdict is FAIL and result.policy.gate for result in judged.values())
    if decision.verdict is FAIL:
        assert decision.metrics
        assert all(judged[name].verdict in (FAIL, NO_DATA) for name in decision.metrics)


@given(st.dictionaries(st.sampled_from("abcd"), st.builds(GatedVerdict, st.just(PROVIDER_ERROR), POLICIES)))
def test_an_outage_of_the_source_alone_never_decides(judged: dict[str, GatedVerdict]) -> None:
    assert combine(judged).verdict not in (PASS, FAIL)
