"""One pass over one rollout: from what is wanted and seen to objects in the cluster and a status."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from tandem_rollout import API_VERSION, KIND
from tandem_rollout.controller import observe
from tandem_rollout.controller.describe import describe, describe_invalid
from tandem_rollout.controller.prober import Refutation
from tandem_rollout.observation import Observed, Proof
from tandem_rollout.plan import Plan, plan
from tandem_rollout.platform import Platform
from tandem_rollout.render import Object, Placed, render_revision, render_rollout
from tandem_rollout.render.objects import optional
from tandem_rollout.render.route import hostnames
from tandem_rollout.revision import VARIANT_LABEL, Revision
from tandem_rollout.spec import InvalidSpecError, Rollout, parse
from tandem_rollout.status import RolloutStatus

logger = logging.getLogger(__name__)

SOON_S: Final = 2.0
"""When to look again at a rollout that waits for something that no watch tells."""

LATER_S: Final = 600.0
"""When to apply everything again, whatever has been seen: somebody may have edited an object that is not watched."""

_PROVEN_S: Final = 5.0


class Cluster(Protocol):
    """What the reconciler needs of the cluster."""

    def services(self, namespace: str, rollout: str) -> list[dict[str, Any]]:
        """InferenceServices of a rollout."""
        ...

    def pods(self, namespace: str, service: str) -> list[dict[str, Any]]:
        """Pods of an InferenceService."""
        ...

    def route(self, namespace: str, name: str) -> dict[str, Any] | None:
        """An HTTPRoute."""
        ...

    async def apply(self, made: Object) -> dict[str, Any]:
        """Make an object as rendered.

        Raises:
            ApplyError: if the API server refuses.
        """
        ...

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, if it is there."""
        ...

    async def set_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Replace the status of a rollout."""
        ...

    async def tell(self, manifest: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None:
        """Record an event about a rollout."""
        ...

    async def prove(self, revision: Revision) -> Proof | Refutation:
        """Ask a revision for its proof."""
        ...

    def now(self) -> float:
        """Seconds since the epoch."""
        ...


class ApplyError(Exception):
    """The API server refuses an object; the message says which and why."""


@dataclass(slots=True)
class _Memory:
    """What is known of a rollout beyond the cluster's own objects; all of it can be found out again."""

    applied: dict[str, str] = field(default_factory=dict)
    applied_at: float = 0.0
    proofs: dict[str, Proof] = field(default_factory=dict)
    refutations: dict[str, tuple[Refutation, float]] = field(default_factory=dict)


class Reconciler:
    """Brings rollouts about.

    Args:
        cluster: The cluster.
        platform: Defaults of the installation.
    """

    def __init__(self, cluster: Cluster, platform: Platform) -> None:
        self._cluster = cluster
        self._platform = platform
        self._memories: dict[tuple[str, str], _Memory] = {}

    def forget(self, namespace: str, name: str) -> None:
        """A rollout is gone; the cluster's garbage collector takes what it owned."""
        self._memories.pop((namespace, name), None)

    async def reconcile(self, manifest: Mapping[str, Any]) -> float:
        """One pass.

        Args:
            manifest: The rollout, as the API server has it.

        Returns:
            Seconds after which to look again, if nothing changes.
        """
        metadata = manifest["metadata"]
        if metadata.get("deletionTimestamp"):
            return LATER_S
        before = _status(manifest)
        try:
            rollout = parse(manifest)
        except InvalidSpecError as error:
            await self._invalid(manifest, before, str(error))
            return LATER_S
        memory = self._memories.setdefault((rollout.namespace, rollout.name), _Memory())
        now = self._cluster.now()
        if now - memory.applied_at > LATER_S:
            memory.applied.clear()
            memory.applied_at = now
        wanted = [Revision.of(rollout, variant) for variant in rollout.spec.all_variants]
        observed = await self._observe(rollout, wanted, before, memory)
        found = plan(rollout, wanted, observed, now)
        errors = await self._converge(rollout, wanted, observed, found, memory)
        route = self._cluster.route(rollout.namespace, rollout.name)
        url = f"http://{hostnames(rollout, self._platform)[0]}"
        status = describe(rollout, wanted, observed, found, errors, route, url, before, now)
        await self._report(manifest, before, status)
        settled = status.conditions[0].status == "True" and not found.retired
        return LATER_S if settled else SOON_S

    # what there is

    async def _observe(
        self, rollout: Rollout, wanted: Sequence[Revision], before: RolloutStatus, memory: _Memory
    ) -> list[Observed]:
        services = {each["metadata"]["name"]: each for each in self._cluster.services(rollout.namespace, rollout.name)}
        weights = observe.route_weights(self._cluster.route(rollout.namespace, rollout.name))
        retired = {each.inference_service: each for each in before.variants if each.phase == "Retired"}
        names = {revision.name: revision for revision in wanted}
        observed = []
        for name, service in services.items():
            if service["metadata"].get("deletionTimestamp"):
                continue
            pods = self._cluster.pods(rollout.namespace, name)
            labels = service["metadata"]["labels"]
            transformers, predictors = (
                observe.ready_pods(pods, component) for component in ("transformer", "predictor")
            )
            problem, fatal = observe.problem(service, pods)
            proof = memory.proofs.get(name)
            running = transformers > 0 and predictors > 0
            if running:
                problem, fatal = "", False
                if proof is None and (revision := names.get(name)):
                    proof, problem, fatal = await self._prove(revision, memory)
            observed.append(
                Observed(
                    variant=labels.get(VARIANT_LABEL, ""),
                    name=name,
                    transformers=transformers,
                    predictors=predictors,
                    weight=weights.get(name, 0),
                    proof=proof,
                    problem=problem,
                    fatal=fatal,
                    retired_at=_epoch(retired[name].since) if name in retired else None,
                )
            )
        return observed

    async def _prove(self, revision: Revision, memory: _Memory) -> tuple[Proof | None, str, bool]:
        now = self._cluster.now()
        known = memory.refutations.get(revision.name)
        if known and now - known[1] < (LATER_S if known[0].final else _PROVEN_S):
            return None, known[0].reason, known[0].final
        answer = await self._cluster.prove(revision)
        if isinstance(answer, Refutation):
            memory.refutations[revision.name] = (answer, now)
            return None, answer.reason, answer.final
        memory.refutations.pop(revision.name, None)
        memory.proofs[revision.name] = answer
        return answer, "", False

    # what should be

    async def _converge(
        self,
        rollout: Rollout,
        wanted: Sequence[Revision],
        observed: Sequence[Observed],
        found: Plan,
        memory: _Memory,
    ) -> dict[str, str]:
        """Make it so: first the pods, then the route, last the end of what nobody needs. Returns refusals, by name."""
        errors: dict[str, str] = {}
        there = {each.name for each in observed}
        owner = _owner(API_VERSION, KIND, rollout.name, rollout.uid)
        for revision in wanted:
            if revision.name not in there:
                memory.applied = {key: each for key, each in memory.applied.items() if revision.name not in key}
            try:
                await self._apply_revision(revision, found.floors.get(revision.name, (0, 0)), owner, memory)
            except ApplyError as error:
                errors[revision.name] = str(error)
        try:
            await self._apply_route(rollout, wanted, observed, found, owner, memory)
        except ApplyError as error:
            errors[rollout.name] = str(error)
        for name in found.obsolete:
            await self._cluster.delete("InferenceService", rollout.namespace, name)
        return errors

    async def _apply_revision(
        self, revision: Revision, floors: tuple[int, int], owner: dict[str, Any], memory: _Memory
    ) -> None:
        objects = render_revision(revision, self._platform, floors=floors)
        (service,) = (each for each in objects if each["kind"] == "InferenceService")
        service["metadata"]["ownerReferences"] = [owner]
        live = next(
            (
                each
                for each in self._cluster.services(revision.rollout.namespace, revision.rollout.name)
                if each["metadata"]["name"] == revision.name
            ),
            None,
        )
        if live is not None:
            _freeze_images(service, live)
        live = await self._apply(service, memory) or live
        if live is None:
            return
        metadata = live["metadata"]
        part_of = _owner(service["apiVersion"], "InferenceService", revision.name, metadata["uid"])
        for made in objects:
            if made is not service:
                made["metadata"]["ownerReferences"] = [part_of]
                await self._apply(made, memory)

    async def _apply_route(
        self,
        rollout: Rollout,
        wanted: Sequence[Revision],
        observed: Sequence[Observed],
        found: Plan,
        owner: dict[str, Any],
        memory: _Memory,
    ) -> None:
        named = {revision.name: revision for revision in wanted}
        seen = {each.name: each for each in observed}
        placed = []
        for name in found.reachable:
            revision = named.get(name) or _earlier(rollout, seen[name])
            proof = memory.proofs.get(name)
            version = proof.version if proof else revision.variant.bundle.version
            placed.append(Placed(revision, found.weights.get(name, 0), version))
        live = observe.route_weights(self._cluster.route(rollout.namespace, rollout.name))
        if live != {name: weight for name, weight in found.weights.items() if weight}:
            memory.applied.pop(f"HTTPRoute/{rollout.name}", None)
        objects = render_rollout(rollout, placed, self._platform, owner=owner)
        for made in objects:
            await self._apply(made, memory)
        kinds = {(each["kind"], each["metadata"]["name"]) for each in objects}
        for kind, name in optional(rollout):
            if (kind, name) not in kinds and memory.applied.pop(f"{kind}/{name}", "") != "absent":
                await self._cluster.delete(kind, rollout.namespace, name)
                memory.applied[f"{kind}/{name}"] = "absent"

    async def _apply(self, made: Object, memory: _Memory) -> dict[str, Any] | None:
        """Apply an object unless it was applied just so before."""
        key = f"{made['kind']}/{made['metadata']['name']}"
        digest = hashlib.sha256(msgspec.json.encode(made, order="sorted")).hexdigest()
        if memory.applied.get(key) == digest:
            return None
        applied = await self._cluster.apply(made)
        memory.applied[key] = digest
        return applied

    # what is said about it

    async def _invalid(self, manifest: Mapping[str, Any], before: RolloutStatus, message: str) -> None:
        """The spec makes no sense: say so, and leave everything as it is."""
        metadata = manifest["metadata"]
        generation, now = metadata.get("generation", 0), self._cluster.now()
        status = describe_invalid(before, message, generation, now)
        await self._report(manifest, before, status)

    async def _report(self, manifest: Mapping[str, Any], before: RolloutStatus, status: RolloutStatus) -> None:
        if status == before:
            return
        metadata = manifest["metadata"]
        await self._cluster.set_status(metadata["namespace"], metadata["name"], msgspec.to_builtins(status))
        if status.weights != before.weights:
            await self._cluster.tell(manifest, "WeightsSet", f"weights are {status.weights or 'none'}", warning=False)
        told = {(each.inference_service, each.phase, each.message) for each in before.variants}
        for each in status.variants:
            if (each.inference_service, each.phase, each.message) not in told:
                message = f"{each.inference_service}: {each.message or each.phase.lower()}"
                await self._cluster.tell(manifest, each.phase, message, warning=each.phase == "Refused")
        if status.message and status.message != before.message and not status.variants:
            await self._cluster.tell(manifest, "Invalid", status.message, warning=True)


def _status(manifest: Mapping[str, Any]) -> RolloutStatus:
    try:
        return msgspec.convert(manifest.get("status") or {}, RolloutStatus)
    except msgspec.ValidationError:  # of another version of this program
        return RolloutStatus()


def _owner(api_version: str, kind: str, name: str, uid: str) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _earlier(rollout: Rollout, each: Observed) -> Revision:
    """A revision of an earlier spec: only its name matters, which says what it was."""
    hash_ = each.name.rpartition("-")[2]
    variant = next((own for own in rollout.spec.all_variants if own.name == each.variant), None)
    base = variant or msgspec.structs.replace(rollout.spec.all_variants[0], name=each.variant)
    return Revision(rollout, base, hash_)


def _freeze_images(service: Object, live: Mapping[str, Any]) -> None:
    """Keep the images that a revision began with: a newer controller's defaults are for new revisions."""
    for component in ("transformer", "predictor"):
        images = {each["name"]: each["image"] for each in _containers(live["spec"].get(component) or {})}
        for container in _containers(service["spec"][component]):
            container["image"] = images.get(container["name"], container["image"])


def _containers(component: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*(component.get("initContainers") or ()), *(component.get("containers") or ())]


def _epoch(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
