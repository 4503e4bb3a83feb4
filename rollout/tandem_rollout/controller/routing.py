"""Applies the routes of a rollout, their policies, and its PodMonitor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tandem_rollout import API_VERSION, KIND
from tandem_rollout.controller.decision import Decision
from tandem_rollout.controller.interface import WriteError
from tandem_rollout.controller.memory import Edges
from tandem_rollout.controller.names import first_error, owner_reference, with_free_names
from tandem_rollout.controller.snapshot import Snapshot, revision_of
from tandem_rollout.render import Object, Placed, render_rollout
from tandem_rollout.render.objects import optional
from tandem_rollout.render.route import CANARY

# a route without its SecurityPolicy is open to everybody; other kinds must not delay the route
_URGENT: Final = {"SecurityPolicy": 0, "HTTPRoute": 1}


async def apply_route(edges: Edges, snapshot: Snapshot, decision: Decision) -> None:
    """Apply routes, policies and PodMonitor. The first error is raised after all objects were tried.

    Routes are read from the cache again, so that a recent write is not taken for an edit.

    Args:
        edges: The cluster, and what is known of it.
        snapshot: The snapshot.
        decision: The decision, which is recorded.

    Raises:
        WriteError: A write failed.
    """
    rollout, applied = snapshot.rollout, edges.memory.applied
    owner = owner_reference(API_VERSION, KIND, rollout.name, rollout.uid)
    objects = render_rollout(
        rollout,
        _placed(snapshot, decision),
        edges.platform,
        owner=owner,
        # sticky assignment depends on the sum of the weights, which therefore must not change
        fine=rollout.spec.strategy.ab_test is not None,
        withheld=snapshot.hosts.withheld,
    )
    objects, errors = await with_free_names(applied, objects, rollout.namespace, owner)
    errors += await _apply_objects(edges, objects, rollout.namespace)
    errors += await _remove_others(edges, snapshot, objects)
    if errors:
        raise first_error(errors)


async def _apply_objects(edges: Edges, objects: Sequence[Object], namespace: str) -> list[WriteError]:
    """Apply objects, the routes after their SecurityPolicies."""
    errors, unprotected = [], False
    for rendered in sorted(objects, key=lambda rendered: _URGENT.get(rendered["kind"], len(_URGENT))):
        try:
            if rendered["kind"] == "HTTPRoute":
                live = edges.cluster.route(namespace, rendered["metadata"]["name"])
                # an existing route still needs its weights; a new one would be open
                if live is not None or not unprotected:
                    await edges.memory.applied.apply_watched(rendered, live)
            else:
                await edges.memory.applied.apply(rendered)
        except WriteError as error:
            errors.append(error)
            unprotected = unprotected or rendered["kind"] == "SecurityPolicy"
    return errors


async def _remove_others(edges: Edges, snapshot: Snapshot, objects: Sequence[Object]) -> list[WriteError]:
    """Delete the objects that the rollout no longer has."""
    rollout, errors = snapshot.rollout, []
    current = {(rendered["kind"], rendered["metadata"]["name"]) for rendered in objects}
    routes = [route["metadata"]["name"] for route in edges.cluster.routes(rollout.namespace, rollout.name)]
    # the main route is kept without weights, unless it has no hostname
    lasting = rollout.name if snapshot.hosts.reachable else ""
    candidates = [*optional(rollout), *(("HTTPRoute", name) for name in routes if name != lasting)]
    for kind, name in candidates:
        if (kind, name) not in current:
            try:
                await edges.memory.applied.remove(kind, rollout.namespace, name, owner=rollout.uid)
            except WriteError as error:
                errors.append(error)
    return errors


def _placed(snapshot: Snapshot, decision: Decision) -> list[Placed]:
    """The backends of the route."""
    rollout, run = snapshot.rollout, decision.run
    variants = {revision.name: revision.variant for revision in snapshot.observed}
    # both are revisions of one variant, whose name chooses stable
    shared = run is not None and variants.get(run.stable) == variants.get(run.canary)
    placed = []
    for name in decision.plan.reachable:
        revision = revision_of(rollout, decision.revisions, name, variants[name])
        pin = CANARY if run and not run.ended and name == run.canary and shared else ""
        weight, since = decision.plan.weights.get(name, 0), decision.arriving.get(name)
        placed.append(Placed(revision, weight, snapshot.version(revision), arriving=since, pin=pin))
    for name, since in decision.leaving.items():
        revision = revision_of(rollout, decision.revisions, name, variants[name])
        placed.append(Placed(revision, 0, leaving=since))
    return placed
