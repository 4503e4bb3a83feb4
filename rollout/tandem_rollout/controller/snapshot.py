"""First stage of a pass: what the spec asks for and what there is, as one value. Nothing is changed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from tandem_rollout.controller import guide, observe
from tandem_rollout.controller.frozen import freeze
from tandem_rollout.controller.hosts import Hosts, settle
from tandem_rollout.controller.interface import Cluster
from tandem_rollout.controller.memory import Edges
from tandem_rollout.driver import Locate, Sampled, sample
from tandem_rollout.engine.run import Command, Run
from tandem_rollout.engine.schedule import Schedule, schedule
from tandem_rollout.engine.seen import Seen
from tandem_rollout.engine.written import COMMAND, command, read
from tandem_rollout.gates import Analysis
from tandem_rollout.observation import Observed, Proof
from tandem_rollout.plan import Verdicts, verdicts
from tandem_rollout.platform import Platform
from tandem_rollout.render.inferenceservice import inference_service
from tandem_rollout.render.pin import pinned, takes
from tandem_rollout.revision import VARIANT_LABEL, Revision
from tandem_rollout.sources import Arms
from tandem_rollout.spec import Rollout
from tandem_rollout.status import RolloutStatus
from tandem_rollout.times import epoch

COMPONENTS: Final = ("transformer", "predictor")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one pass is about.

    Attributes:
        manifest: The rollout, as the API server has it.
        rollout: The same, parsed.
        now: When the pass began, in seconds since the epoch.
        previous: Its status until now.
        schedule: What is planned; None where nothing is decided.
        run: The run, as it was written down; None before the first, and where nothing is decided.
        specified: The revisions that its spec asks for.
        services: Its InferenceServices, by name.
        route: The HTTPRoute with the weights; None where there is none.
        hosts: Its hosts, and what is to be said about them.
        observed: All revisions that there are.
        proofs: What revisions have proved, by name.
        verdicts: What contracts say against revisions, where something is decided.
        sampled: What the run is decided by; None where nothing is decided.
    """

    manifest: Mapping[str, Any]
    rollout: Rollout
    now: float
    previous: RolloutStatus
    schedule: Schedule | None
    run: Run | None
    specified: Sequence[Revision]
    services: Mapping[str, dict[str, Any]]
    route: dict[str, Any] | None
    hosts: Hosts
    observed: Sequence[Observed] = ()
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=lambda: Verdicts({}, {}))
    sampled: Sampled | None = None

    @property
    def whole_now(self) -> float:
        """When the pass began, in whole seconds: what a status can hold."""
        return float(int(self.now))

    @property
    def analysis(self) -> Analysis:
        """What is looked at."""
        return self.rollout.spec.analysis or Analysis()

    @property
    def deleted(self) -> bool:
        """Whether the rollout is being deleted."""
        return bool(self.manifest["metadata"].get("deletionTimestamp"))

    @property
    def command(self) -> Command | None:
        """What a person asks for."""
        return command((self.manifest["metadata"].get("annotations") or {}).get(COMMAND))

    @property
    def current(self) -> Run | None:
        """The run, or where there is none what says which number comes next."""
        return self.run or guide.counted(self.previous.history, self.command)

    def revisions(self, run: Run | None) -> list[Revision]:
        """The revisions that must be there while a run stands as it does."""
        ruling = run if guide.rules(self.schedule, run) else None
        return guide.effective(self.specified, ruling, self._earlier)

    def version(self, revision: Revision) -> str:
        """Version of a revision's bundle, as far as it is known."""
        proof = self.proofs.get(revision.name)
        return proof.version if proof else self.previous.version_of(revision.name) or revision.variant.bundle.version

    def seen(self, run: Run | None) -> Seen:
        """What there is, as far as it matters to a run; of the metrics it says nothing.

        Raises:
            ValueError: if nothing is decided.
        """
        if self.schedule is None:
            raise ValueError("nothing is decided")
        return guide.see(
            self.rollout,
            self.schedule,
            self.specified,
            self.observed,
            run,
            self.verdicts,
            route=self.route,
            command=self.command,
            deleted=self.deleted,
        )

    def _earlier(self, name: str) -> Revision | None:
        service = self.services.get(name)
        return earlier_revision(self.rollout, name, variant_of(service)) if service else None


async def observe_rollout(edges: Edges, manifest: Mapping[str, Any], rollout: Rollout) -> Snapshot:
    """Read what there is of a rollout: objects, proofs, and the metrics of its run.

    Args:
        edges: What is read from.
        manifest: The rollout, as the API server has it.
        rollout: The same, parsed.

    Raises:
        WriteError: if the evidence of the run cannot be read.
    """
    snapshot = _read_caches(edges, manifest, rollout)
    observed = await _observe_revisions(edges, snapshot)
    proofs = {name: proof for name in snapshot.services if (proof := edges.memory.proofs.get(name)) is not None}
    snapshot = replace(snapshot, observed=observed, proofs=proofs)
    if edges.analyst is None:
        return snapshot
    snapshot = replace(snapshot, verdicts=verdicts(rollout, snapshot.revisions(snapshot.run), observed))
    run, locate = snapshot.current, locator(edges.cluster, snapshot)
    sampled = await sample(edges.analyst, snapshot.analysis, run, snapshot.seen(run), locate, snapshot.whole_now)
    return replace(snapshot, sampled=sampled)


def locator(cluster: Cluster, snapshot: Snapshot) -> Locate:
    """Finds where the two revisions of a run are counted.

    Args:
        cluster: The cluster.
        snapshot: What there is; something is decided.
    """

    async def locate(run: Run) -> Arms:
        rollout, planned = snapshot.rollout, snapshot.schedule
        if planned is None:
            raise ValueError("nothing is decided")
        gateway: tuple[tuple[str, str], ...] = ()
        if rollout.spec.analysis is not None and rollout.spec.analysis.source == "pods":
            gateway = await cluster.proxies(rollout.spec.route.gateway)
        weights = observe.route_weights(snapshot.route)
        return guide.arms(rollout, planned, run, lambda name: cluster.pods(rollout.namespace, name), weights, gateway)

    return locate


def revision_of(rollout: Rollout, revisions: Sequence[Revision], name: str, variant: str) -> Revision:
    """The revision of an InferenceService, of the present or of an earlier spec.

    Args:
        rollout: The rollout.
        revisions: The revisions that must be there.
        name: The InferenceService.
        variant: Its variant.
    """
    own = (revision for revision in revisions if revision.name == name)
    return next(own, None) or earlier_revision(rollout, name, variant)


def earlier_revision(rollout: Rollout, name: str, variant: str) -> Revision:
    """A revision of an earlier spec: only its name matters, which says what it was."""
    variants = rollout.spec.all_variants
    base = next((own for own in variants if own.name == variant), variants[0])
    bundle = msgspec.structs.replace(base.bundle, version="", digest="")
    return Revision(rollout, msgspec.structs.replace(base, name=variant, bundle=bundle), name.rpartition("-")[2])


def variant_of(service: Mapping[str, Any]) -> str:
    """The variant of an InferenceService."""
    return str((service["metadata"].get("labels") or {}).get(VARIANT_LABEL, ""))


def _read_caches(edges: Edges, manifest: Mapping[str, Any], rollout: Rollout) -> Snapshot:
    cluster, previous = edges.cluster, edges.memory.reporter.before(manifest)
    key = rollout.namespace, rollout.name
    services = {
        service["metadata"]["name"]: service
        for service in cluster.services(*key)
        if not service["metadata"].get("deletionTimestamp") and observe.owned(service, rollout.uid)
    }
    route = cluster.route(*key)
    if route is not None and not observe.owned(route, rollout.uid):
        route = None
    planned = schedule(rollout.spec)
    return Snapshot(
        manifest=manifest,
        rollout=rollout,
        now=cluster.now(),
        previous=previous,
        schedule=planned,
        run=read(previous.run) if planned else None,
        specified=[Revision.of(rollout, variant) for variant in rollout.spec.all_variants],
        services=services,
        route=route,
        hosts=settle(rollout, edges.platform, *cluster.claims(*key)),
    )


async def _observe_revisions(edges: Edges, snapshot: Snapshot) -> list[Observed]:
    edges.memory.proofs.keep(snapshot.services)
    revisions = snapshot.revisions(snapshot.run)
    reached = observe.reached(edges.cluster.routes(snapshot.rollout.namespace, snapshot.rollout.name))
    # at the same time, or one transformer that does not answer holds up the weights of all
    names = snapshot.services
    return list(
        await asyncio.gather(*(_observe_revision(edges, snapshot, revisions, name, name in reached) for name in names))
    )


async def _observe_revision(
    edges: Edges, snapshot: Snapshot, revisions: Sequence[Revision], name: str, reached: bool
) -> Observed:
    proofs = edges.memory.proofs
    service, variant = snapshot.services[name], variant_of(snapshot.services[name])
    pods = edges.cluster.pods(snapshot.rollout.namespace, name)
    weight = observe.route_weights(snapshot.route).get(name, 0)
    if (digest := pinned(service)) and not weight:
        # the pods of before it was known serve on until these take their place
        pods = [pod for pod in pods if takes(pod, digest)]
    transformers, predictors = (observe.ready_pods(pods, component) for component in COMPONENTS)
    required = any(revision.name == name for revision in revisions)
    problem, fatal = observe.problem(service, pods)
    if transformers and predictors:
        problem, fatal = None, False
        # of an earlier revision only the contract is of interest, as long as clients meet it
        if weight or required:
            revision = revision_of(snapshot.rollout, revisions, name, variant)
            refutation = await proofs.ask(revision, observe.ready(pods), digest or "")
            if refutation is not None:
                problem, fatal = refutation, refutation.final
    else:
        proofs.stop(name)
    proof = proofs.get(name)
    if proof and not weight and _awaits_pin(edges.platform, snapshot, name):
        proof = None
    return Observed(
        variant=variant,
        name=name,
        transformers=transformers,
        predictors=predictors,
        weight=weight,
        reached=reached,
        proof=proof,
        problem=problem,
        fatal=fatal,
        retired_at=None if required else _retired_at(snapshot.previous, name),
    )


def _retired_at(previous: RolloutStatus, name: str) -> float | None:
    """When an InferenceService lost its place, None if it has not."""
    times = (variant.since for variant in previous.variants if variant.inference_service == name and variant.retired)
    return next(map(epoch, times), None)


def _awaits_pin(platform: Platform, snapshot: Snapshot, name: str) -> bool:
    """Whether an InferenceService is going to be pinned to the digest that is known by now."""
    live = snapshot.services[name]
    revision = next((revision for revision in snapshot.specified if revision.name == name), None)
    return pinned(live) == "" and revision is not None and freeze(inference_service(revision, platform), live)
