"""First stage of a pass: observes the cluster. It writes no objects."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import RolloutStatus
from tandem_rollout.api.times import epoch
from tandem_rollout.controller import arm_locations, objects
from tandem_rollout.controller.contracts import judge_contracts
from tandem_rollout.controller.host_claims import settle
from tandem_rollout.controller.interface import Cluster
from tandem_rollout.controller.memory import Edges
from tandem_rollout.controller.observation import Observed
from tandem_rollout.controller.resources import HTTPRoute, InferenceService, Pod
from tandem_rollout.controller.revision_spec import freeze
from tandem_rollout.controller.snapshot import Snapshot, revision_of, variant_of
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import build_schedule
from tandem_rollout.engine.serialization import from_status
from tandem_rollout.render.inferenceservice import build_inference_service
from tandem_rollout.render.pin import is_pinned_to, pinned_digest
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision
from tandem_rollout.runner.driver import Locate, sample
from tandem_rollout.sources import Arms

COMPONENTS: Final = ("transformer", "predictor")


async def observe(edges: Edges, manifest: Mapping[str, Any], rollout: Rollout) -> Snapshot:
    """Observe a rollout: its objects, verifications, and the metrics of its run.

    Args:
        edges: The cluster, and what is known of it.
        manifest: The rollout, as the API server has it.
        rollout: The parsed rollout.

    Raises:
        WriteError: The evidence of the run cannot be read.
    """
    snapshot = _read_caches(edges, manifest, rollout)
    observed = await _observe_revisions(edges, snapshot)
    verifications = {
        name: verification
        for name in snapshot.services
        if (verification := edges.memory.verifications.get(name)) is not None
    }
    snapshot = replace(snapshot, observed=observed, verifications=verifications)
    if edges.analyst is None:
        return snapshot
    snapshot = replace(snapshot, verdicts=judge_contracts(rollout, snapshot.revisions(snapshot.run), observed))
    run, locate = snapshot.current, locator(edges.cluster, snapshot)
    sampled = await sample(edges.analyst, snapshot.analysis, run, snapshot.inputs(run), locate, snapshot.whole_now)
    return replace(snapshot, sampled=sampled)


def locator(cluster: Cluster, snapshot: Snapshot) -> Locate:
    """A function that locates the counters of the two revisions of a run.

    Args:
        cluster: The cluster.
        snapshot: The snapshot of a rollout with a schedule.
    """

    async def locate(run: Run) -> Arms:
        rollout, planned = snapshot.rollout, snapshot.schedule
        if planned is None:
            raise ValueError("the rollout has no schedule")
        gateway: tuple[tuple[str, str], ...] = ()
        # Prometheus has the counters of the gateway; without it the proxies are read directly
        if rollout.spec.analysis is not None and rollout.spec.analysis.source == "pods":
            gateway = await cluster.proxies(rollout.spec.route.gateway)
        weights = objects.route_weights(snapshot.route)
        return arm_locations.locate_arms(rollout, planned, run, partial(_pods, cluster, rollout), weights, gateway)

    return locate


def _pods(cluster: Cluster, rollout: Rollout, name: str) -> list[Pod]:
    return [Pod.of(pod) for pod in cluster.pods(rollout.namespace, name)]


def _read_caches(edges: Edges, manifest: Mapping[str, Any], rollout: Rollout) -> Snapshot:
    cluster, previous = edges.cluster, edges.memory.reporter.before(manifest)
    key = rollout.namespace, rollout.name
    services = {
        service["metadata"]["name"]: service
        for service in cluster.services(*key)
        # KServe deletes the pods of an InferenceService that is being deleted
        if not service["metadata"].get("deletionTimestamp") and objects.owned(service, rollout.uid)
    }
    route = cluster.route(*key)
    if route is not None and not objects.owned(route, rollout.uid):
        route = None
    planned = build_schedule(rollout.spec)
    return Snapshot(
        manifest=manifest,
        rollout=rollout,
        now=cluster.now(),
        previous=previous,
        schedule=planned,
        run=from_status(previous.run) if planned else None,
        specified=[Revision.of(rollout, variant) for variant in rollout.spec.all_variants],
        services=services,
        route=HTTPRoute.of(route) if route is not None else None,
        hosts=settle(rollout, edges.platform, *cluster.claims(*key)),
    )


async def _observe_revisions(edges: Edges, snapshot: Snapshot) -> list[Observed]:
    edges.memory.verifications.keep(snapshot.services)
    revisions, weights = snapshot.revisions(snapshot.run), objects.route_weights(snapshot.route)
    routes = edges.cluster.routes(snapshot.rollout.namespace, snapshot.rollout.name)
    reached = objects.reached(map(HTTPRoute.of, routes))
    # concurrently, so that one transformer that does not respond does not delay the others
    observations = (
        _observe_revision(edges, snapshot, revisions, name, weight=weights.get(name, 0), reached=name in reached)
        for name in snapshot.services
    )
    return list(await asyncio.gather(*observations))


async def _observe_revision(
    edges: Edges, snapshot: Snapshot, revisions: Sequence[Revision], name: str, *, weight: int, reached: bool
) -> Observed:
    verifications = edges.memory.verifications
    service, variant = snapshot.services[name], variant_of(snapshot.services[name])
    plain = edges.cluster.pods(snapshot.rollout.namespace, name)
    if (digest := pinned_digest(service)) and not weight:
        # pods without the pin are ignored: they are being replaced
        plain = [pod for pod in plain if is_pinned_to(pod, digest)]
    pods = [Pod.of(pod) for pod in plain]
    transformers, predictors = (objects.ready_pods(pods, component) for component in COMPONENTS)
    required = any(revision.name == name for revision in revisions)
    problem, fatal = objects.problem(InferenceService.of(service), pods)
    if transformers and predictors:
        # one pod with a problem does not matter while others are ready
        problem, fatal = None, False
        # an earlier revision is verified only for its contract, while it has weight
        if weight or required:
            revision = revision_of(snapshot.rollout, revisions, name, variant)
            failure = await verifications.ask(revision, objects.ready(pods), digest or "")
            if failure is not None:
                problem, fatal = failure, failure.final
    else:
        verifications.stop(name)
    verification = verifications.get(name)
    # the pin restarts the pods, so that it must precede the first weight
    if verification and not weight and _awaits_pin(edges.platform, snapshot, name):
        verification = None
    return Observed(
        variant=variant,
        name=name,
        transformers=transformers,
        predictors=predictors,
        weight=weight,
        reached=reached,
        verification=verification,
        problem=problem,
        fatal=fatal,
        retired_at=None if required else _retired_at(snapshot.previous, name),
    )


def _retired_at(previous: RolloutStatus, name: str) -> float | None:
    """Time at which an InferenceService was retired; None if it is not."""
    times = (variant.since for variant in previous.variants if variant.inference_service == name and variant.retired)
    return next(map(epoch, times), None)


def _awaits_pin(platform: Platform, snapshot: Snapshot, name: str) -> bool:
    """Whether an InferenceService is about to be pinned to its digest."""
    live = snapshot.services[name]
    revision = next((revision for revision in snapshot.specified if revision.name == name), None)
    return (
        pinned_digest(live) == "" and revision is not None and freeze(build_inference_service(revision, platform), live)
    )
