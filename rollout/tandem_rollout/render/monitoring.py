"""PodMonitors of the Prometheus operator."""

from __future__ import annotations

from typing import Final

from tandem_rollout.api.analysis import Analysis
from tandem_rollout.api.fields import seconds
from tandem_rollout.api.spec import Rollout, RolloutSpec
from tandem_rollout.engine.schedule import build_schedule
from tandem_rollout.render.metadata import Object, build
from tandem_rollout.render.revision import REVISION_LABEL, ROLLOUT_LABEL, VARIANT_LABEL, rollout_labels

_MAX_INTERVAL_S: Final = 15.0
"""Maximum seconds between scrapes, even with a longer interval of the analysis: autoscaling averages over a minute."""

_POD_LABEL: Final = "__meta_kubernetes_pod_label_"


def build_pod_monitors(rollout: Rollout) -> list[Object]:
    """The PodMonitor of all pods of a rollout. Series get the labels that queries need."""
    monitoring = rollout.spec.monitoring
    if not monitoring.pod_monitors:
        return []
    relabelings = [
        _copied("serving.kserve.io/inferenceservice", "inferenceservice"),
        _copied("component", "component"),
        _copied(ROLLOUT_LABEL, "rollout"),
        _copied(VARIANT_LABEL, "variant"),
        _copied(REVISION_LABEL, "revision"),
    ]
    interval = _interval(rollout.spec)
    return [
        build(
            "monitoring.coreos.com/v1",
            "PodMonitor",
            rollout.name,
            rollout.namespace,
            {**rollout_labels(rollout), **monitoring.labels},
            spec={
                "selector": {"matchLabels": {ROLLOUT_LABEL: rollout.name}},
                "podMetricsEndpoints": [
                    {"port": port, "path": "/metrics", **interval, "relabelings": [*filters, *relabelings]}
                    for port, filters in _ports(rollout)
                ],
            },
        )
    ]


def _interval(spec: RolloutSpec) -> Object:
    """The scrape interval, if an analysis reads Prometheus: pods are scraped at least once per sample."""
    analysis = spec.analysis or Analysis()
    if build_schedule(spec) is None or analysis.source != "prometheus":
        return {}
    every = min(seconds(analysis.interval), _MAX_INTERVAL_S)
    # durations of Prometheus have no fractions
    return {"interval": f"{every:g}s" if every.is_integer() else f"{every * 1000:.0f}ms"}


def _ports(rollout: Rollout) -> list[tuple[str, list[Object]]]:
    """Ports with metrics, with relabelings that keep only pods with metrics: Triton has none at its REST port."""
    if rollout.spec.predictor.runtime != "triton":
        return [("http1", [])]
    transformers = {"action": "keep", "sourceLabels": [f"{_POD_LABEL}component"], "regex": "transformer"}
    return [("http1", [transformers]), ("metrics", [])]


def _copied(pod_label: str, label: str) -> Object:
    # Prometheus replaces all other characters of a label's name by underscores
    source = _POD_LABEL + "".join(char if char.isalnum() else "_" for char in pod_label)
    return {"sourceLabels": [source], "targetLabel": label}
