"""Last stage of a pass: applies the decision to the cluster."""

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
    """Apply a decision: first the revisions, then the route, last the deletion of obsolete revisions.

    Args:
        edges: The cluster, and what is known of it.
        snapshot: The snapshot.
        decision: The decision, which is recorded.

    Returns:
        The errors of failed writes, by the name of the InferenceService or of the rollout.
    """
    errors: dict[str, WriteError] = {}
    for revision in decision.revisions:
        try:
            await _apply_revision(edges, snapshot, revision, decision.plan.min_pods.get(revision.name, (0, 0)))
        except WriteError as error:
            # clients do not wait for this revision: the route is applied all the same
            errors[revision.name] = error
    rollout = snapshot.rollout
    try:
        await apply_route(edges, snapshot, decision)
    except WriteError as error:
        errors[rollout.name] = error
    for name in decision.plan.obsolete:
        # pods outlive the route: Envoy may send requests until a pass has seen the route without them
        if name in decision.leaving or name in objects.leaving(snapshot.route):
            continue
        try:
            await edges.memory.applied.remove("InferenceService", rollout.namespace, name, owner=rollout.uid)
        except WriteError as error:
            errors.setdefault(rollout.name, error)
    return errors


async def restore_stable(edges: Edges, snapshot: Snapshot, decision: Decision) -> bool:
    """Give stable all requests of a rollout that is deleted during a run. Only the route is applied.

    Args:
        edges: The cluster, and what is known of it.
        snapshot: The snapshot.
        decision: The decision, which is recorded.

    Returns:
        Whether the rollout may be deleted: stable has its requests back, or cannot serve them.

    Raises:
        WriteError: The route cannot be written.
    """
    run = decision.run
    running = any(revision.running for revision in snapshot.observed if run and revision.name == run.stable)
    if snapshot.route is None or not running:
        return True
    await apply_route(edges, snapshot, decision)
    return run is None or run.ended


async def _apply_revision(edges: Edges, snapshot: Snapshot, revision: Revision, min_pods: tuple[int, int]) -> None:
    """Apply the objects of a variant. The first error is raised after all objects were tried."""
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
    # the parts have an owner reference, which needs the uid
    if live is None:
        return
    uid = live["metadata"]["uid"]
    owner = owner_reference(service["apiVersion"], "InferenceService", revision.name, uid)
    parts = [rendered for rendered in rendered_objects if rendered is not service]
    for part in parts:
        part["metadata"]["ownerReferences"] = [owner]
    errors = await applied.apply_all(parts)
    # the policies of an earlier spec would go on denying traffic
    if not rollout.spec.network.policies:
        for name in (revision.transformer, revision.predictor):
            await applied.remove("NetworkPolicy", rollout.namespace, name, owner=uid)
    if errors:
        raise first_error(errors)


def _pin(snapshot: Snapshot, revision: Revision, service: Object, live: Mapping[str, Any] | None) -> None:
    """Pin an InferenceService to the digest of the bundle at its first verification."""
    before = pinned_digest(live)
    if revision.variant.bundle.digest or (live is not None and before is None):
        return  # pinned by the spec; or already serving, and the pods would restart
    if live is None and revision.rollout.spec.predictor.gpu:
        return  # a second pod may not get a GPU
    verification = snapshot.verifications.get(revision.name)
    pin_bundle(service, before or (verification.digest if verification else ""))


async def _scale_earlier(edges: Edges, snapshot: Snapshot, revision: Revision, min_pods: tuple[int, int]) -> None:
    """Scale a revision of an earlier spec. Its other objects are not changed."""
    live = snapshot.services.get(revision.name)
    if live is None:
        return
    owner = owner_reference(live["apiVersion"], "InferenceService", revision.name, live["metadata"]["uid"])
    for scaled in build_scaled_objects(revision, edges.platform, min_pods):
        scaled["metadata"]["ownerReferences"] = [owner]
        await edges.memory.applied.apply(scaled)
