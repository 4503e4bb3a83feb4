"""How many pods each component of a variant has: KEDA ScaledObjects on the requests in flight, PodDisruptionBudgets."""

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
    # as its callers see them: what waits in front of a busy predictor is not known to it
    "predictor": f'tandem_stage_seconds_sum{{%s,stage="{PREDICT}"}}',
}


def build_scaled_objects(revision: Revision, platform: Platform, min_pods: tuple[int, int] = (0, 0)) -> list[Object]:
    """ScaledObjects of transformer and predictor.

    Args:
        revision: The revision.
        platform: Defaults of the installation.
        min_pods: Fewest pods of transformer and predictor, where that is more than the spec says.
    """
    autoscaling = revision.rollout.spec.autoscaling
    return [
        _scaled_object(revision, platform, "transformer", autoscaling.transformer, min_pods[0]),
        _scaled_object(revision, platform, "predictor", autoscaling.predictor, min_pods[1]),
    ]


def query(revision: Revision, component: str) -> str:
    """PromQL of the requests, or calls of the predictor, that are in flight on average.

    Seconds spent per second are the average number at a time (Little's law). A gauge would be read between two turns of
    an event loop, when little is in flight. Without the variant's name each variant would scale on the sum of all.
    """
    pods = f'namespace="{revision.rollout.namespace}",inferenceservice="{revision.name}"'
    return f"sum(rate({_DURATIONS[component] % pods}[1m]))"


def _scaled_object(revision: Revision, platform: Platform, component: str, scaling: Scaling, floor: int) -> Object:
    name = f"{revision.name}-{component}"
    fewest = max(scaling.min_replicas, floor)
    trigger = {
        "serverAddress": revision.rollout.spec.autoscaling.prometheus or platform.prometheus,
        "query": query(revision, component),
        "threshold": str(scaling.inflight_per_pod),
        "activationThreshold": "0",
        # KEDA would take "no data" for 0 and scale down in an outage of Prometheus
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
            "minReplicaCount": fewest,
            "maxReplicaCount": max(scaling.max_replicas, fewest),
            # with one pod or more at all times both matter only to those who lower the minimum by hand
            "pollingInterval": 15,
            "cooldownPeriod": 300,
            "fallback": {"failureThreshold": 3, "replicas": fewest, "behavior": "currentReplicasIfHigher"},
            "advanced": {
                "restoreToOriginalReplicaCount": False,
                "horizontalPodAutoscalerConfig": {"name": f"keda-{name}", "behavior": _behaviour(scaling)},
            },
            "triggers": [{"type": "prometheus", "name": "inflight", "metricType": "AverageValue", "metadata": trigger}],
        },
    )


def _behaviour(scaling: Scaling) -> Object:
    """Up at once, twofold or by two pods a minute; down slowly."""
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
    """Budgets of transformer and predictor: a drained node takes one pod of a component at a time.

    They say how many pods may be missing, so that a single pod can be moved too.
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
