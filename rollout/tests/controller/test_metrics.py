"""What Prometheus reads of the controller."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from tandem_rollout.controller.metrics import ControllerMetrics
from tandem_rollout.engine.run import State


def manifest(name: str, ready: str, **weights: int) -> dict[str, Any]:
    variants = [{"name": variant, "weight": weight} for variant, weight in weights.items()]
    status = {"conditions": [{"type": "Ready", "status": ready}], "variants": variants}
    return {"metadata": {"namespace": "models", "name": name}, "status": status}


def series(metrics: ControllerMetrics, prefix: str) -> set[str]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {line for line in lines if line.startswith(prefix)}


def test_weights_and_readiness_of_each_rollout() -> None:
    metrics = ControllerMetrics()
    metrics.observe(manifest("a", "True", v1=90, v2=10))
    metrics.observe({"metadata": {"namespace": "models", "name": "b"}})
    assert series(metrics, "tandem_rollout_") == {
        'tandem_rollout_ready{namespace="models",rollout="a"} 1.0',
        'tandem_rollout_ready{namespace="models",rollout="b"} 0.0',
        'tandem_rollout_weight{namespace="models",rollout="a",variant="v1"} 90.0',
        'tandem_rollout_weight{namespace="models",rollout="a",variant="v2"} 10.0',
    }


def test_revisions_of_a_variant_are_one_series() -> None:
    metrics = ControllerMetrics()
    status = manifest("a", "False", v1=100)
    status["status"]["variants"].append({"name": "v1"})
    metrics.observe(status)
    weight = 'tandem_rollout_weight{namespace="models",rollout="a",variant="v1"} 100.0'
    assert series(metrics, "tandem_rollout_weight") == {weight}


def test_variants_and_rollouts_that_are_gone_have_no_series() -> None:
    metrics = ControllerMetrics()
    metrics.observe(manifest("a", "True", v1=90, v2=10))
    metrics.observe(manifest("a", "True", v1=100))
    metrics.observe(manifest("b", "True", v1=50, v2=50))
    assert len(series(metrics, "tandem_rollout_weight")) == 3
    metrics.forget("models", "a")
    metrics.forget("models", "b")
    metrics.forget("models", "never seen")
    metrics.observe({"metadata": {"namespace": "models", "name": "c"}})
    metrics.forget("models", "c")
    assert series(metrics, "tandem_rollout_") == set()


def test_passes_are_timed_and_failures_counted() -> None:
    metrics = ControllerMetrics()
    metrics.seconds.observe(0.02)
    metrics.errors.inc()
    assert "tandem_controller_reconcile_seconds_count 1.0" in series(metrics, "tandem_controller")
    assert "tandem_controller_reconcile_errors_total 1.0" in series(metrics, "tandem_controller")


# runs


def running(number: int = 1, state: str = "Analyzing", **more: Any) -> dict[str, Any]:
    """A rollout with a run; fields of the run, and ``metrics``, ``history`` and ``uid``."""
    resource = manifest("a", "True", main=100)
    resource["metadata"]["uid"] = more.pop("uid", "u-1")
    status = resource["status"]
    for part in ("metrics", "history"):
        if part in more:
            status[part] = more.pop(part)
    status["run"] = {
        "number": number,
        "state": state,
        "stable": "a-main-1",
        "canary": "a-main-2",
        "plan": "1234",
        "started": "2026-01-01T00:00:00Z",
        "since": "2026-01-01T00:01:40Z",
        "weight": 10,
        **more,
    }
    return resource


def past(number: int, outcome: str) -> dict[str, Any]:
    return {"number": number, "outcome": outcome, "stable": "a-main-1", "canary": "a-main-2"}


ERRORS = {"name": "errors", "verdict": "inconclusive", "value": 1.25, "limit": 2.0, "requests": 800, "needed": 2150}


def samples(metrics: ControllerMetrics, name: str) -> dict[tuple[str, ...], float]:
    """Values by the labels that are not about the rollout."""
    matches = (sample for family in metrics.registry.collect() for sample in family.samples if sample.name == name)
    where = ("namespace", "rollout")
    return {
        tuple(value for key, value in sample.labels.items() if key not in where): sample.value for sample in matches
    }


def on(metrics: ControllerMetrics, name: str) -> set[tuple[str, ...]]:
    """Labels of the series that are 1."""
    return {labels for labels, value in samples(metrics, name).items() if value}


def runs(metrics: ControllerMetrics) -> dict[str, float]:
    return {result: value for (result,), value in samples(metrics, "tandem_rollout_runs_total").items()}


def test_where_a_run_stands() -> None:
    metrics = ControllerMetrics()
    metrics.observe(running(measured=9.5))
    assert on(metrics, "tandem_rollout_run_state") == {("Analyzing",)}
    assert len(samples(metrics, "tandem_rollout_run_state")) == len(get_args(State))
    assert samples(metrics, "tandem_rollout_run_state_since_timestamp_seconds") == {(): 1_767_225_700}
    assert samples(metrics, "tandem_rollout_canary_weight_ratio") == {(): 0.1}
    assert samples(metrics, "tandem_rollout_canary_measured_ratio") == {(): 0.095}
    metrics.observe(running(state="Baking", weight=100))
    assert on(metrics, "tandem_rollout_run_state") == {("Baking",)}
    assert samples(metrics, "tandem_rollout_canary_weight_ratio") == {(): 1}
    assert samples(metrics, "tandem_rollout_canary_measured_ratio") == {}


def test_what_the_metrics_of_a_run_say() -> None:
    metrics = ControllerMetrics()
    metrics.observe(running(metrics=[ERRORS, {"name": "latency", "verdict": "provider-error"}]))
    verdicts = "tandem_rollout_metric_verdict"
    assert on(metrics, verdicts) == {("errors", "inconclusive"), ("latency", "provider-error")}
    assert len(samples(metrics, verdicts)) == 10
    # what is not known has no series: 0 would be an answer
    assert samples(metrics, "tandem_rollout_metric_value") == {("errors",): 1.25}
    assert samples(metrics, "tandem_rollout_metric_limit") == {("errors",): 2}
    assert samples(metrics, "tandem_rollout_metric_needed_requests") == {("errors",): 2150}
    assert samples(metrics, "tandem_rollout_metric_canary_requests") == {("errors",): 800, ("latency",): 0}


def test_metrics_that_are_gone_have_no_series() -> None:
    metrics = ControllerMetrics()
    metrics.observe(running(metrics=[ERRORS, {**ERRORS, "name": "latency"}]))
    metrics.observe(running(metrics=[ERRORS]))
    assert not any("latency" in line for line in series(metrics, "tandem_rollout_metric_"))
    assert series(metrics, "tandem_rollout_metric_value")
    metrics.observe(running(metrics=[{**ERRORS, "needed": None}]))
    assert not series(metrics, "tandem_rollout_metric_needed_requests{")


def test_a_run_that_has_ended_keeps_its_state_only() -> None:
    metrics = ControllerMetrics()
    metrics.observe(running(measured=9.5, metrics=[ERRORS]))
    metrics.observe(running(state="Aborted", measured=9.5, metrics=[ERRORS]))
    assert not series(metrics, "tandem_rollout_metric_value{") | series(metrics, "tandem_rollout_metric_verdict{")
    assert not series(metrics, "tandem_rollout_canary_weight_ratio{")
    assert not series(metrics, "tandem_rollout_canary_measured_ratio{")
    assert on(metrics, "tandem_rollout_run_state") == {("Aborted",)}


def test_a_rollout_without_runs_or_that_is_gone_has_no_series_of_them() -> None:
    metrics = ControllerMetrics()
    plain = manifest("a", "True", main=100)
    metrics.observe(plain)
    before = series(metrics, "tandem_rollout_")
    metrics.observe(running(measured=9.5, metrics=[ERRORS], history=[past(1, "Aborted")]))
    metrics.forget("models", "a")
    assert series(metrics, "tandem_rollout_") == set()
    metrics.observe(plain)
    assert series(metrics, "tandem_rollout_") == before
    metrics.observe(running(measured=9.5))
    metrics.observe(plain)  # the strategy is another one now
    assert not series(metrics, "tandem_rollout_run_state{") | series(metrics, "tandem_rollout_canary_weight_ratio{")


def test_each_end_is_counted_once() -> None:
    metrics = ControllerMetrics()
    metrics.observe(running())
    assert runs(metrics) == {"promoted": 0, "aborted": 0, "rolled_back": 0, "completed": 0}
    for _ in range(3):
        metrics.observe(running(state="Promoted", history=[past(1, "Promoted")]))
    metrics.observe(running(2, history=[past(1, "Promoted")]))
    assert runs(metrics) == {"promoted": 1, "aborted": 0, "rolled_back": 0, "completed": 0}
    # a newer version has ended the second run between two looks
    metrics.observe(running(3, history=[past(2, "Aborted"), past(1, "Promoted")]))
    metrics.observe(running(2, history=[past(1, "Promoted")]))  # a cache that is late
    metrics.observe(running(3, history=[past(2, "Aborted"), past(1, "Promoted")]))
    assert runs(metrics) == {"promoted": 1, "aborted": 1, "rolled_back": 0, "completed": 0}


def test_a_promotion_that_is_rolled_back_is_an_end_of_its_own() -> None:
    metrics = ControllerMetrics()
    metrics.observe(running(state="Baking"))
    metrics.observe(running(state="Promoted"))
    metrics.observe(running(state="RollingBack", history=[past(1, "Promoted")]))
    metrics.observe(running(state="RolledBack", history=[past(1, "RolledBack")]))
    metrics.observe(running(2, history=[past(1, "RolledBack")]))
    assert runs(metrics) == {"promoted": 1, "aborted": 0, "rolled_back": 1, "completed": 0}


def test_a_new_process_counts_nothing_that_ended_before_it() -> None:
    metrics = ControllerMetrics()
    metrics.observe(running(4, "Promoted", history=[past(4, "Promoted"), past(3, "Aborted")]))
    assert runs(metrics) == {"promoted": 0, "aborted": 0, "rolled_back": 0, "completed": 0}
    metrics.observe(running(5, "Aborted", history=[past(5, "Aborted"), past(4, "Promoted")]))
    assert runs(metrics) == {"promoted": 0, "aborted": 1, "rolled_back": 0, "completed": 0}


def test_another_rollout_of_the_same_name_counts_anew() -> None:
    metrics = ControllerMetrics()
    metrics.observe(running(7, "Promoted"))
    metrics.observe(running(1, uid="u-2"))
    metrics.observe(running(1, "Promoted", uid="u-2"))
    assert runs(metrics)["promoted"] == 1


def test_a_status_of_another_version_of_this_program_is_no_trouble() -> None:
    metrics = ControllerMetrics()
    metrics.observe(running(metrics=[ERRORS]))
    metrics.observe(running("one"))  # type: ignore[arg-type]
    assert not series(metrics, "tandem_rollout_run_state{")
    assert series(metrics, "tandem_rollout_ready{")
    metrics.observe(running(state="Dreaming", since="soon"))
    assert on(metrics, "tandem_rollout_run_state") == set()


@given(
    st.lists(
        st.tuples(
            st.integers(1, 4),
            st.sampled_from(get_args(State)),
            st.sets(st.sampled_from(["errors", "latency", "drift"])),
        ),
        max_size=12,
    )
)
def test_series_are_those_of_the_last_look_whatever_was_before(looks: list[tuple[int, str, set[str]]]) -> None:
    late = ControllerMetrics()
    for number, state, names in looks:
        late.observe(running(number, state, metrics=[{**ERRORS, "name": name} for name in names]))
    fresh = ControllerMetrics()
    if looks:
        number, state, names = looks[-1]
        fresh.observe(running(number, state, metrics=[{**ERRORS, "name": name} for name in names]))
    counters = ("tandem_rollout_runs_total", "tandem_rollout_runs_created")
    shown = [
        {line for line in series(metrics, "tandem_rollout_") if not line.startswith(counters)}
        for metrics in (late, fresh)
    ]
    assert shown[0] == shown[1]
    assert sum(runs(late).values()) <= 2 * 4
