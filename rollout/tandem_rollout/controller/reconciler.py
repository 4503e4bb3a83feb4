"""The reconciler: one pass over one rollout applies its desired state and writes its status."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tandem_rollout import API_VERSION, KIND
from tandem_rollout.api.analysis import Analysis
from tandem_rollout.api.fields import InvalidSpecError, seconds
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import RolloutStatus
from tandem_rollout.api.times import epoch
from tandem_rollout.controller.alias_follower import AliasFollower, Registry
from tandem_rollout.controller.analysts import Sources
from tandem_rollout.controller.apply import RESYNC_S, RETRY_S
from tandem_rollout.controller.convergence import converge, restore_stable
from tandem_rollout.controller.decision import PASSING_S, Decision, decide
from tandem_rollout.controller.describe import build_status, describe_invalid, describe_unresolved
from tandem_rollout.controller.interface import FINALIZER, Cluster
from tandem_rollout.controller.memory import Edges, Memory
from tandem_rollout.controller.names import owner_reference
from tandem_rollout.controller.object_size import estimate_bytes
from tandem_rollout.controller.observing import observe
from tandem_rollout.controller.recording import record
from tandem_rollout.engine.schedule import build_schedule
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.registered import check_registered, with_registered_bundle
from tandem_rollout.sources.mlflow import MlflowRegistry
from tandem_rollout.sources.open import open_source

_RESYNC_AFTER_S: Final = RESYNC_S
"""Seconds until the next pass over a rollout for which nothing else is due. Watches report all changes."""

_MAX_SPEC_BYTES: Final = 1 << 20
"""Maximum bytes of a spec in memory."""

Key = tuple[str, str]


class Reconciler:
    """Reconciles rollouts.

    Args:
        cluster: The cluster.
        platform: Defaults of the installation.
        sources: Sources of metrics.
        registry: Opens a model registry by its address.
    """

    def __init__(
        self,
        cluster: Cluster,
        platform: Platform,
        sources: Sources | None = None,
        registry: Callable[[str], Registry] = MlflowRegistry,
    ) -> None:
        self._cluster = cluster
        self._platform = platform
        self._sources = sources or Sources(platform.prometheus, open_source, platform.allows)
        self._follower = AliasFollower(registry, cluster.now)
        self._memories: dict[Key, Memory] = {}

    def forget(self, namespace: str, name: str) -> None:
        """Forget a deleted rollout. The cluster's garbage collector deletes its objects."""
        self._memories.pop((namespace, name), None)
        self._follower.forget(namespace, name)

    async def close(self) -> None:
        """Close the sources of metrics and the registries."""
        await self._sources.close()
        await self._follower.close()

    async def reconcile(self, manifest: Mapping[str, Any]) -> float:
        """Make one pass over a rollout.

        Args:
            manifest: The rollout, as the API server has it.

        Returns:
            Seconds until the next pass, if nothing changes.

        Raises:
            WriteError: The status cannot be written.
        """
        metadata = manifest["metadata"]
        deleted = bool(metadata.get("deletionTimestamp"))
        key = metadata["namespace"], metadata["name"]
        memory = self._memories[key] = self._memories.get(key) or Memory.of(self._cluster)
        # no run is active, so that no weight has to be given back
        if deleted and FINALIZER not in (metadata.get("finalizers") or ()):
            return _RESYNC_AFTER_S
        try:
            _check_size(manifest)
            rollout = parse(manifest)
            check_registered(rollout)
            self._check_addresses(rollout)
        except InvalidSpecError as error:
            if deleted:
                # an invalid spec must not prevent the deletion of the rollout
                await self._cluster.finalize(manifest, present=False)
            else:
                previous, now = memory.reporter.before(manifest), self._cluster.now()
                status = describe_invalid(previous, str(error), metadata["generation"], now)
                await memory.reporter.report(manifest, status)
            return _RESYNC_AFTER_S
        memory.applied.begin()
        resolved = await self._resolve(manifest, rollout, memory)
        if resolved is not None:
            return await self._run_stages(self._edges(resolved, memory), manifest, resolved)
        if deleted:
            await self._cluster.finalize(manifest, present=False)
        return max(self._follower.due(rollout) - self._cluster.now(), RETRY_S)

    async def _resolve(self, manifest: Mapping[str, Any], rollout: Rollout, memory: Memory) -> Rollout | None:
        """The rollout with the bundle that its registry names; None if no version is known yet."""
        if rollout.spec.registry is None:
            return rollout
        registry = await self._follower.follow(manifest, rollout, memory.reporter)
        if registry.digest:
            return with_registered_bundle(rollout, registry)
        previous = memory.reporter.before(manifest)
        status = describe_unresolved(previous, registry, rollout.generation, self._cluster.now())
        await memory.reporter.report(manifest, status)
        return None

    async def _run_stages(self, edges: Edges, manifest: Mapping[str, Any], rollout: Rollout) -> float:
        """Run the stages of a pass. Each takes the results of the previous ones."""
        snapshot = await observe(edges, manifest, rollout)
        decision = decide(snapshot)
        # before the first write: a controller that is killed after it continues from the record
        await record(edges, snapshot, decision)
        if snapshot.deleted:
            if not await restore_stable(edges, snapshot, decision):
                return RETRY_S
            await self._cluster.finalize(manifest, present=False)
            return _RESYNC_AFTER_S
        errors = await converge(edges, snapshot, decision)
        status = build_status(snapshot, decision, errors)
        await edges.memory.reporter.report(manifest, status)
        if decision.run is None or decision.run.ended:
            await self._cluster.finalize(manifest, present=False)
        # at most one pass per second, whatever is due
        due = min(_due(edges, decision, status, rollout), self._follower.due(rollout))
        return max(due - self._cluster.now(), RETRY_S)

    def _edges(self, rollout: Rollout, memory: Memory) -> Edges:
        analyst = None
        if build_schedule(rollout.spec) is not None:
            owner = owner_reference(API_VERSION, KIND, rollout.name, rollout.uid)
            source = self._sources.of(rollout.spec.analysis or Analysis())
            analyst = memory.analyst_slot.analyst(rollout, source, owner)
        return Edges(self._cluster, self._platform, memory, analyst)

    def _check_addresses(self, rollout: Rollout) -> None:
        """Check the addresses of KEDA's Prometheus and of the registry. The metrics check that of the analysis."""
        address = rollout.spec.autoscaling.prometheus
        if address and not self._platform.allows(address):
            raise InvalidSpecError(
                "spec.autoscaling.prometheus: must be an address that the installation allows, by its prometheus or "
                "allowedPrometheus"
            )
        registry = rollout.spec.registry
        if registry is not None and not self._platform.allows_registry(rollout.namespace, registry.uri):
            raise InvalidSpecError(
                "spec.registry.uri: must be an address that the installation allows for the namespace, by its "
                "allowedRegistries"
            )


def _check_size(manifest: Mapping[str, Any]) -> None:
    """Check the size of a spec, as it is copied several times for each variant."""
    if estimate_bytes(manifest.get("spec")) > _MAX_SPEC_BYTES:
        raise InvalidSpecError(
            f"spec: must not take more than {_MAX_SPEC_BYTES >> 20} MiB in memory; each map takes 100 bytes"
        )


def _due(edges: Edges, decision: Decision, status: RolloutStatus, rollout: Rollout) -> float:
    """Time of the next pass, in seconds since the epoch."""
    delay = seconds(rollout.spec.scale_down_delay)
    times = [edges.memory.applied.due, edges.memory.verifications.due, decision.due]
    times += [epoch(variant.since) + delay for variant in status.variants if variant.retired]
    times += [since + PASSING_S for since in (*decision.arriving.values(), *decision.leaving.values())]
    if edges.analyst is not None and decision.run is not None and not decision.run.ended:
        times.append(edges.analyst.due)
    return min(times)
