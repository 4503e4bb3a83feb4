"""Last stage of a pass: the objects of the cluster become what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tandem_rollout import API_VERSION, KIND
from tandem_rollout.controller import objects
from tandem_rollout.controller.decision import Decision
from tandem_rollout.controller.interface import WriteError
from tandem_rollout.controller.memory import Edges
from tandem_rollout.controller.names import first_error, owner_reference
from tandem_rollout.controller.revision_spec import freeze
from tandem_rollout.controller.routing import apply_route
from tandem_rollout.controller.snapshot import Snapshot
from tandem_rollout.render import Object, render_revision
from tandem_rollout.render.pin import pin_bundle, pinned_digest
from tandem_rollout.render.revision import Revision
from tandem_rollout.render.scaling import build_scaled_objects


async def converge(edges: Edges, snapshot: Snapshot, decision: Decision) -> dict[str, WriteError]:
    """Make it so: first the pods, then the route, last the end of what nobody needs.

    Args:
        edges: What is written to.
        snapshot: What there is.
        decision: What was decided, and written down.

    Returns:
        What the API server did not take, by the name of the InferenceService or of the rollout.
    """
    errors: dict[str, WriteError] = {}
    for revision in decision.revisions:
        try:
            await _apply_revision(edges, snapshot, revision, decision.plan.min_pods.get(revision.name, (0, 0)))
        except WriteError as error:
            errors[revision.name] = error
    rollout = snapshot.rollout
    try:
        await apply_route(edges, snapshot, decision)
    except WriteError as error:
        errors[rollout.name] = error
    for name in decision.plan.obsolete:
        if name in decision.leaving or name in objects.leaving(snapshot.route):
            continue
        try:
            await edges.memory.applied.remove("InferenceService", rollout.namespace, name, owner=rollout.uid)
        except WriteError as error:
            errors.setdefault(rollout.name, error)
    return errors


async def restore_stable(edges: Edges, snapshot: Snapshot, decision: Decision) -> bool:
    """Bring about nothing but the route of a rollout that is being deleted in the middle of a run.

    Args:
        edges: What is written to.
        snapshot: What there is.
        decision: What was decided, and written down.

    Returns:
        Whether stable has its requests back, or cannot have them, so that the rollout may go.

    Raises:
        WriteError: if the API server does not take the route.
    """
    run = decision.run
    running = any(revision.running for revision in snapshot.observed if run and revision.name == run.stable)
    if snapshot.route is None or not running:
        return True
    await apply_route(edges, snapshot, decision)
    return run is None or run.ended


async def _apply_revision(edges: Edges, snapshot: Snapshot, revision: Revision, min_pods: tuple[int, int]) -> None:
    """Apply what a variant consists of; the first error is raised when all has been tried."""
    rollout, applied = snapshot.rollout, edges.memory.applied
    if revision not in snapshot.specified:
        await _scale_earlier(edges, snapshot, revision, min_pods)
        return
    rendered_objects = render_revision(revision, edges.platform, min_pods=min_pods)
    (service,) = (rendered for rendered in rendered_objects if rendered["kind"] == "InferenceService")
    service["metadata"]["ownerReferences"] = [owner_reference(API_VERSION, KIND, rollout.name, rollout.uid)]
    live = snapshot.services.get(revision.name)
    if freeze(service, live):
        _pin(snapshot, revision, service, live)
        live = await applied.apply_watched(service, live) or live
    if live is None:
        return
    uid = live["metadata"]["uid"]
    owner = owner_reference(service["apiVersion"], "InferenceService", revision.name, uid)
    parts = [rendered for rendered in rendered_objects if rendered is not service]
    for part in parts:
        part["metadata"]["ownerReferences"] = [owner]
    errors = await applied.apply_all(parts)
    if not rollout.spec.network.policies:
        for name in (revision.transformer, revision.predictor):
            await applied.remove("NetworkPolicy", rollout.namespace, name, owner=uid)
    if errors:
        raise first_error(errors)


def _pin(snapshot: Snapshot, revision: Revision, service: Object, live: Mapping[str, Any] | None) -> None:
    """Pin an InferenceService to the digest that its pods had when they were verified first."""
    before = pinned_digest(live)
    if revision.variant.bundle.digest or (live is not None and before is None):
        return  # by its spec; or its pods serve already, and would start again
    if live is None and revision.rollout.spec.predictor.gpu:
        return  # a second pod might find no GPU to start on
    verification = snapshot.verifications.get(revision.name)
    pin_bundle(service, before or (verification.digest if verification else ""))


async def _scale_earlier(edges: Edges, snapshot: Snapshot, revision: Revision, min_pods: tuple[int, int]) -> None:
    """A revision of an earlier spec stays what it is; only how many pods it has is still to be said."""
    live = snapshot.services.get(revision.name)
    if live is None:
        return
    owner = owner_reference(live["apiVersion"], "InferenceService", revision.name, live["metadata"]["uid"])
    for scaled in build_scaled_objects(revision, edges.platform, min_pods):
        scaled["metadata"]["ownerReferences"] = [owner]
        await edges.memory.applied.apply(scaled)
