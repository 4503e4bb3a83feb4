"""Scaling of the components of a variant: KEDA ScaledObjects on the requests in flight, and PodDisruptionBudgets."""

from __future__ import annotations

from typing import Final

from tandem.telemetry import PREDICT
from tandem_rollout.api.fields import seconds
from tandem_rollout.api.spec import Scaling
from tandem_rollout.render.metadata import Object, build
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision

_DURATIONS: Final = {
    "transformer": "tandem_request_seconds_sum{%s}",
    # as measured by its callers: a busy predictor does not see waiting requests
    "predictor": f'tandem_stage_seconds_sum{{%s,stage="{PREDICT}"}}',
}


def build_scaled_objects(revision: Revision, platform: Platform, min_pods: tuple[int, int] = (0, 0)) -> list[Object]:
    """ScaledObjects of transformer and predictor.

    Args:
        revision: The revision.
        platform: Defaults of the installation.
        min_pods: Minimum numbers of transformer and predictor pods, if larger than those of the spec.
    """
    autoscaling = revision.rollout.spec.autoscaling
    return [
        _scaled_object(revision, platform, "transformer", autoscaling.transformer, min_pods[0]),
        _scaled_object(revision, platform, "predictor", autoscaling.predictor, min_pods[1]),
    ]


def query(revision: Revision, component: str) -> str:
    """PromQL of the average number of requests, or calls of the predictor, in flight.

    The seconds spent per second are the average number in flight (Little's law). A gauge would be read between two
    iterations of an event loop, when few are in flight. The selector has the InferenceService, so that each revision
    scales on its own requests.
    """
    pods = f'namespace="{revision.rollout.namespace}",inferenceservice="{revision.name}"'
    return f"sum(rate({_DURATIONS[component] % pods}[1m]))"


def _scaled_object(revision: Revision, platform: Platform, component: str, scaling: Scaling, minimum: int) -> Object:
    name = f"{revision.name}-{component}"
    replicas = max(scaling.min_replicas, minimum)
    trigger = {
        "serverAddress": revision.rollout.spec.autoscaling.prometheus or platform.prometheus,
        "query": query(revision, component),
        "threshold": str(scaling.inflight_per_pod),
        "activationThreshold": "0",
        # otherwise KEDA takes missing data for 0 and scales down during an outage of Prometheus
        "ignoreNullValues": "false",
        "timeout": "3000",
    }
    return build(
        "keda.sh/v1alpha1",
        "ScaledObject",
        name,
        revision.rollout.namespace,
        revision.labels,
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicaCount": replicas,
            "maxReplicaCount": max(scaling.max_replicas, replicas),
            # both apply only if the minimum is set to 0 by hand
            "pollingInterval": 15,
            "cooldownPeriod": 300,
            # without Prometheus the present pods stay, and never fewer than the minimum
            "fallback": {"failureThreshold": 3, "replicas": replicas, "behavior": "currentReplicasIfHigher"},
            "advanced": {
                "restoreToOriginalReplicaCount": False,
                "horizontalPodAutoscalerConfig": {"name": f"keda-{name}", "behavior": _behavior(scaling)},
            },
            "triggers": [{"type": "prometheus", "name": "inflight", "metricType": "AverageValue", "metadata": trigger}],
        },
    )


def _behavior(scaling: Scaling) -> Object:
    """Scale up at once, by 100 % or two pods per minute; scale down slowly."""
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 60},
                {"type": "Pods", "value": 2, "periodSeconds": 60},
            ],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": int(seconds(scaling.scale_down_after)),
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": 20, "periodSeconds": 60},
                {"type": "Pods", "value": 1, "periodSeconds": 60},
            ],
        },
    }


def build_disruption_budgets(revision: Revision) -> list[Object]:
    """PodDisruptionBudgets of transformer and predictor: a drained node evicts one pod of a component at a time.

    They have maxUnavailable, so that a single pod can also be evicted.
    """
    return [
        build(
            "policy/v1",
            "PodDisruptionBudget",
            name,
            revision.rollout.namespace,
            revision.labels,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": {"app": f"isvc.{name}"}}},
        )
        for name in (revision.transformer, revision.predictor)
    ]
