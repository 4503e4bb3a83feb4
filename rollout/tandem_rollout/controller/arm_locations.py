"""Where the two revisions of a run are counted: clusters of the gateway, and addresses of pods. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from tandem.telemetry import PREVIEW, WEIGHTED
from tandem_rollout.api.spec import Rollout
from tandem_rollout.controller.resources import Pod
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.render.inferenceservice import HTTP_PORT
from tandem_rollout.render.route import preview_route
from tandem_rollout.sources import ArmLocation, Arms

_RULES: Final = (0, 1)
"""Indexes of the rules of REST and gRPC in a route."""


def locate_arms(
    rollout: Rollout,
    schedule: Schedule,
    run: Run,
    pods: Callable[[str], Iterable[Pod]],
    weights: Mapping[str, int],
    gateway: tuple[tuple[str, str], ...] = (),
) -> Arms:
    """Where the two revisions of a run are counted.

    Args:
        rollout: The rollout.
        schedule: The schedule of the spec.
        run: The run.
        pods: Pods of an InferenceService.
        weights: Weights of InferenceServices, in the order of the route.
        gateway: Addresses of the statistics of the gateway's proxies.
    """
    own = [f"httproute/{rollout.namespace}/{rollout.name}/rule/{rule}" for rule in _RULES]
    traffic = WEIGHTED
    if schedule.observes and rollout.spec.strategy.shadow:
        # Envoy Gateway counts copied requests in separate clusters
        clusters = tuple(f"{rule}-mirror-0" for rule in own)
    # before its first weight, a version is judged by the requests at its preview host
    elif not schedule.observes and run.weight == 0:
        preview = f"httproute/{rollout.namespace}/{preview_route(rollout)}"
        clusters = tuple(f"{preview}/rule/{rule}/backend/0" for rule in _RULES)
        traffic = PREVIEW
    else:
        clusters = _clusters(own, run.canary, weights)
    return Arms(
        namespace=rollout.namespace,
        stable=ArmLocation(
            service=run.stable,
            clusters=_clusters(own, run.stable, weights),
            pods=_addresses(pods(run.stable)),
        ),
        canary=ArmLocation(service=run.canary, clusters=clusters, pods=_addresses(pods(run.canary)), traffic=traffic),
        gateway=gateway,
        share=_share(rollout, run, weights) if schedule.observes else None,
    )


def _clusters(rules: Iterable[str], service: str, weights: Mapping[str, int]) -> tuple[str, ...]:
    """Envoy Gateway's names of the clusters of a backend, which contain its position in the rule."""
    if service not in weights:
        return ()
    at = list(weights).index(service)
    return tuple(f"{rule}/backend/{at}" for rule in rules)


def _share(rollout: Rollout, run: Run, weights: Mapping[str, int]) -> float:
    """The canary's share of the requests of both revisions, by the weights of the spec."""
    stable, canary = weights.get(run.stable, 0), float(weights.get(run.canary, 0))
    if shadow := rollout.spec.strategy.shadow:
        # the requests of all variants are copied
        canary = sum(weights.values()) * shadow.percent / 100
    return canary / (stable + canary) if stable + canary else 0.0


def _addresses(pods: Iterable[Pod]) -> tuple[tuple[str, str], ...]:
    """Names and addresses of the metrics of running transformers."""
    return tuple(
        (pod.metadata.name, f"http://{pod.status.pod_ip}:{HTTP_PORT}/metrics")
        for pod in pods
        if pod.component == "transformer" and pod.status.pod_ip
    )
