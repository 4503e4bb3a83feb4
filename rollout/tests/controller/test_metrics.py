"""What Prometheus reads of the controller."""

from __future__ import annotations

from typing import Any

from prometheus_client import generate_latest

from tandem_rollout.controller.metrics import Metrics


def manifest(name: str, ready: str, **weights: int) -> dict[str, Any]:
    variants = [{"name": variant, "weight": weight} for variant, weight in weights.items()]
    status = {"conditions": [{"type": "Ready", "status": ready}], "variants": variants}
    return {"metadata": {"namespace": "models", "name": name}, "status": status}


def series(metrics: Metrics, prefix: str) -> set[str]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {line for line in lines if line.startswith(prefix)}


def test_weights_and_readiness_of_each_rollout() -> None:
    metrics = Metrics()
    metrics.observe(manifest("a", "True", v1=90, v2=10))
    metrics.observe({"metadata": {"namespace": "models", "name": "b"}})
    assert series(metrics, "tandem_rollout_") == {
        'tandem_rollout_ready{namespace="models",rollout="a"} 1.0',
        'tandem_rollout_ready{namespace="models",rollout="b"} 0.0',
        'tandem_rollout_weight{namespace="models",rollout="a",variant="v1"} 90.0',
        'tandem_rollout_weight{namespace="models",rollout="a",variant="v2"} 10.0',
    }


def test_revisions_of_a_variant_are_one_series() -> None:
    metrics = Metrics()
    status = manifest("a", "False", v1=100)
    status["status"]["variants"].append({"name": "v1"})
    metrics.observe(status)
    weight = 'tandem_rollout_weight{namespace="models",rollout="a",variant="v1"} 100.0'
    assert series(metrics, "tandem_rollout_weight") == {weight}


def test_variants_and_rollouts_that_are_gone_have_no_series() -> None:
    metrics = Metrics()
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
    metrics = Metrics()
    metrics.seconds.observe(0.02)
    metrics.errors.inc()
    assert "tandem_controller_reconcile_seconds_count 1.0" in series(metrics, "tandem_controller")
    assert "tandem_controller_reconcile_errors_total 1.0" in series(metrics, "tandem_controller")
