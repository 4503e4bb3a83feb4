"""One pass over one rollout: from what is wanted and seen to objects in the cluster and a status."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from tandem_rollout import API_VERSION, EVIDENCE_KIND, KIND
from tandem_rollout.analyst import Judgement
from tandem_rollout.cause import Cause
from tandem_rollout.controller import guide, observe
from tandem_rollout.controller.analysts import Seat, Sources
from tandem_rollout.controller.applied import RESYNC_S, RETRY_S, Applied
from tandem_rollout.controller.backend import ClusterBackend
from tandem_rollout.controller.describe import describe, describe_hosts, describe_invalid, describe_run
from tandem_rollout.controller.frozen import freeze
from tandem_rollout.controller.hosts import Hosts, settle
from tandem_rollout.controller.interface import FINALIZER, Cluster, WriteError
from tandem_rollout.controller.names import first_error, with_free_names
from tandem_rollout.controller.proofs import Proofs
from tandem_rollout.controller.records import name_of
from tandem_rollout.controller.report import Reporter
from tandem_rollout.controller.weight import weight
from tandem_rollout.driver import advance
from tandem_rollout.engine.due import due
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule, schedule
from tandem_rollout.engine.written import COMMAND, command, read
from tandem_rollout.fields import InvalidSpecError, seconds
from tandem_rollout.gates import Analysis
from tandem_rollout.manifest import parse
from tandem_rollout.observation import Observed
from tandem_rollout.plan import Plan, plan, plan_run, verdicts
from tandem_rollout.platform import Platform
from tandem_rollout.progress import history
from tandem_rollout.render import Object, Placed, render_revision, render_rollout
from tandem_rollout.render.inferenceservice import inference_service
from tandem_rollout.render.objects import optional
from tandem_rollout.render.pin import pin, pinned, takes
from tandem_rollout.render.route import CANARY
from tandem_rollout.render.scaling import scaled_objects
from tandem_rollout.revision import VARIANT_LABEL, Revision
from tandem_rollout.sources.open import open_source
from tandem_rollout.spec import Rollout
from tandem_rollout.status import PastRun, RolloutStatus, RunStatus
from tandem_rollout.times import epoch

LATER_S: Final = RESYNC_S
"""When to look again at a rollout about which nothing else is to be done: watches tell of all changes."""

PASSING_S: Final = 5.0
"""How long a backend that comes or goes has next to no weight: longer than the gateway takes to hear of it."""

HALVES: Final = ("transformer", "predictor")

_URGENT: Final = {"SecurityPolicy": 0, "HTTPRoute": 1}

_LARGEST: Final = 1 << 20
"""Bytes of a spec in memory."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Memory:
    """What is known of a rollout beyond the cluster's own objects; all of it can be found out again."""

    applied: Applied
    proofs: Proofs
    reporter: Reporter
    seat: Seat

    @classmethod
    def of(cls, cluster: Cluster) -> _Memory:
        """Nothing is known yet."""
        return cls(Applied(cluster), Proofs(cluster), Reporter(cluster), Seat(cluster))


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one pass is about.

    Attributes:
        rollout: The rollout.
        asked: The revisions that its spec asks for.
        wanted: The revisions that must be there.
        before: Its status until now.
        memory: What is known of it.
        services: Its InferenceServices, by name.
        route: The HTTPRoute with the weights.
        hosts: Its hosts, and what is to be said about them.
    """

    rollout: Rollout
    asked: Sequence[Revision]
    wanted: Sequence[Revision]
    before: RolloutStatus
    memory: _Memory
    services: Mapping[str, dict[str, Any]]
    route: dict[str, Any] | None
    hosts: Hosts

    def during(self, planned: Schedule | None, run: Run | None) -> _Pass:
        """The same, with what must be there while a run stands as it does."""
        ruling = run if guide.rules(planned, run) else None
        return replace(self, wanted=guide.effective(self.asked, ruling, self._earlier))

    def revision(self, name: str, variant: str) -> Revision:
        """The revision of an InferenceService, of the present or of an earlier spec."""
        return next((each for each in self.wanted if each.name == name), None) or _earlier(self.rollout, name, variant)

    def version(self, revision: Revision) -> str:
        """Version of its bundle, as far as it is known."""
        proof = self.memory.proofs.get(revision.name)
        return proof.version if proof else self.before.version_of(revision.name) or revision.variant.bundle.version

    def retired_at(self, name: str) -> float | None:
        """When an InferenceService lost its place, None if it has not."""
        since = (each.since for each in self.before.variants if each.inference_service == name and each.retired)
        return next(map(epoch, since), None)

    def _earlier(self, name: str) -> Revision | None:
        service = self.services.get(name)
        return _earlier(self.rollout, name, _variant(service)) if service else None


@dataclass(frozen=True, slots=True)
class _Course:
    """What was decided.

    Attributes:
        found: Weights, and what may go.
        past: The runs that have ended.
        run: The run; None where there is none, or nothing is decided.
        judgement: What its metrics say.
        due: When it has to be looked at again, in seconds since the epoch.
        arriving: What is about to get its first weight, and since when.
        leaving: What has lost its weight and is still in the route, and since when.
    """

    found: Plan
    past: list[PastRun]
    run: Run | None = None
    judgement: Judgement = field(default_factory=Judgement)
    due: float = float("inf")
    arriving: Mapping[str, float] = field(default_factory=dict)
    leaving: Mapping[str, float] = field(default_factory=dict)


class Reconciler:
    """Brings rollouts about.

    Args:
        cluster: The cluster.
        platform: Defaults of the installation.
        sources: Sources of metrics.
    """

    def __init__(self, cluster: Cluster, platform: Platform, sources: Sources | None = None) -> None:
        self._cluster = cluster
        self._platform = platform
        self._sources = sources or Sources(platform.prometheus, open_source, platform.allows)
        self._memories: dict[Key, _Memory] = {}

    def forget(self, namespace: str, name: str) -> None:
        """A rollout is gone; the cluster's garbage collector takes what it owned."""
        self._memories.pop((namespace, name), None)

    async def close(self) -> None:
        """Close what metrics are read from."""
        await self._sources.close()

    async def reconcile(self, manifest: Mapping[str, Any]) -> float:
        """One pass.

        Args:
            manifest: The rollout, as the API server has it.

        Returns:
            Seconds after which to look again, if nothing changes.

        Raises:
            WriteError: if the status cannot be written.
        """
        metadata = manifest["metadata"]
        key = metadata["namespace"], metadata["name"]
        memory = self._memories.get(key) or _Memory.of(self._cluster)
        self._memories[key] = memory
        before = memory.reporter.before(manifest)
        now = self._cluster.now()
        deleted = bool(metadata.get("deletionTimestamp"))
        if deleted and FINALIZER not in (metadata.get("finalizers") or ()):
            return LATER_S
        try:
            _check_size(manifest)
            rollout = parse(manifest)
            self._check_addresses(rollout)
        except InvalidSpecError as error:
            if deleted:
                await self._cluster.finalize(manifest, present=False)
                return LATER_S
            await memory.reporter.report(manifest, describe_invalid(before, str(error), metadata["generation"], now))
            return LATER_S
        memory.applied.begin()
        planned = schedule(rollout.spec)
        run = read(before.run) if planned else None
        current = self._pass(rollout, before, memory).during(planned, run)
        observed = await self._observe(current)
        if planned is None:
            course = _Course(plan(rollout, current.wanted, observed, now), _given_up(current, float(int(now))))
        else:
            course = await self._decide(manifest, current, observed, planned, run, now)
            current = current.during(planned, course.run)
        if arriving := _arriving(current, observed, course.found, now):
            found = _as_routed(course.found, arriving, observe.route_weights(current.route))
            course = replace(course, found=found, arriving=arriving)
        course = replace(course, leaving=_leaving(current, observed, course.found, now))
        if deleted:
            return await self._let_go(manifest, current, observed, course)
        errors = await self._converge(current, observed, course)
        url = f"http://{current.hosts.left[0]}" if current.hosts.left else ""
        status = describe(rollout, current.wanted, observed, course.found, errors, current.route, url, before, now)
        status = describe_hosts(status, before, rollout, current.hosts, now)
        status = msgspec.structs.replace(status, history=course.past)
        if planned is not None:
            known = msgspec.structs.replace(before, history=course.past)
            status = describe_run(status, known, rollout, planned, course.run, course.judgement, now)
        await memory.reporter.report(manifest, status)
        if course.run is None or course.run.ended:
            await self._cluster.finalize(manifest, present=False)
        ends = [epoch(each.since) + seconds(rollout.spec.keep_old_for) for each in status.variants if each.retired]
        ends += [since + PASSING_S for since in (*course.arriving.values(), *course.leaving.values())]
        return max(min(memory.applied.due, memory.proofs.due, course.due, *ends) - self._cluster.now(), RETRY_S)

    def _check_addresses(self, rollout: Rollout) -> None:
        """KEDA asks whatever address it is given, from where it runs. That of an analysis is its metrics' to report."""
        address = rollout.spec.autoscaling.prometheus
        if address and not self._platform.allows(address):
            raise InvalidSpecError(
                "spec.autoscaling.prometheus: must be an address that the installation allows, by its prometheus or "
                "allowedPrometheus"
            )

    def _pass(self, rollout: Rollout, before: RolloutStatus, memory: _Memory) -> _Pass:
        key = rollout.namespace, rollout.name
        services = {
            each["metadata"]["name"]: each
            for each in self._cluster.services(*key)
            if not each["metadata"].get("deletionTimestamp") and observe.owned(each, rollout.uid)
        }
        route = self._cluster.route(*key)
        if route is not None and not observe.owned(route, rollout.uid):
            route = None
        asked = [Revision.of(rollout, variant) for variant in rollout.spec.all_variants]
        hosts = settle(rollout, self._platform, *self._cluster.claims(*key))
        return _Pass(rollout, asked, asked, before, memory, services, route, hosts)

    async def _decide(
        self,
        manifest: Mapping[str, Any],
        current: _Pass,
        observed: Sequence[Observed],
        planned: Schedule,
        run: Run | None,
        now: float,
    ) -> _Course:
        """Move the run, and write it down before anything is done about it."""
        rollout, memory, before = current.rollout, current.memory, current.before
        analysis = rollout.spec.analysis or Analysis()
        against = verdicts(rollout, current.wanted, observed)
        owner = _owner(API_VERSION, KIND, rollout.name, rollout.uid)
        analyst = memory.seat.analyst(rollout, self._sources.of(analysis), owner)
        past = _past(current, run, before.history)

        async def say(written: RunStatus) -> None:
            await memory.reporter.report(manifest, msgspec.structs.replace(before, run=written, history=past))

        backend = ClusterBackend(
            self._cluster, manifest, rollout, current.asked, observed, current.route, planned, against, say
        )
        annotations = manifest["metadata"].get("annotations") or {}
        begins = run or guide.counted(before.history, command(annotations.get(COMMAND)))
        after, judgement = await advance(backend, analyst, planned, analysis, begins, float(int(now)))
        if run is not None and run.state == "Observing" and after is not run and not planned.observes:
            # in the same pass: until the next run begins nobody would say that weights stay what they are
            past = _past(current, after, past)
            after, judgement = await advance(backend, analyst, planned, analysis, after, float(int(now)))
        run = None if after is begins and run is None else after
        await self._forget_evidence(current, run)
        wanted = current.during(planned, run).wanted
        if backend.desired is not None and guide.rules(planned, run):
            found = plan_run(rollout, wanted, observed, backend.desired, against, now)
        else:
            found = plan(rollout, wanted, observed, now)
        if run is None or run.ended:
            return _Course(found, past, run, judgement)
        return _Course(found, past, run, judgement, min(due(planned, run, now), analyst.due))

    async def _forget_evidence(self, current: _Pass, run: Run | None) -> None:
        """Delete the evidence of the run that the history has no place for any more."""
        rollout = current.rollout
        oldest = run.number - max(rollout.spec.history_limit, 1) if run else 0
        if oldest > 0:
            name = name_of(rollout.name, oldest)
            with contextlib.suppress(WriteError):
                await current.memory.applied.remove(EVIDENCE_KIND, rollout.namespace, name, owner=rollout.uid)

    async def _let_go(
        self,
        manifest: Mapping[str, Any],
        current: _Pass,
        observed: Sequence[Observed],
        course: _Course,
    ) -> float:
        """A rollout is being deleted in the middle of a run: nothing but its route is still brought about."""
        run = course.run
        there = any(each.running for each in observed if run and each.name == run.stable)
        if current.route is not None and there:
            await self._apply_route(current, observed, course)
            if run is not None and not run.ended:
                return RETRY_S
        await self._cluster.finalize(manifest, present=False)
        return LATER_S

    # what there is

    async def _observe(self, current: _Pass) -> list[Observed]:
        current.memory.proofs.keep(current.services)
        weights = observe.route_weights(current.route)
        reached = observe.reached(self._cluster.routes(current.rollout.namespace, current.rollout.name))
        # at the same time, or one transformer that does not answer holds up the weights of all
        return list(
            await asyncio.gather(*(self._see(current, name, weights, name in reached) for name in current.services))
        )

    async def _see(self, current: _Pass, name: str, weights: Mapping[str, int], reached: bool) -> Observed:
        service, proofs = current.services[name], current.memory.proofs
        pods = self._cluster.pods(current.rollout.namespace, name)
        variant = _variant(service)
        transformers, predictors = (observe.ready_pods(pods, half) for half in HALVES)
        weight = weights.get(name, 0)
        if (digest := pinned(service)) and not weight:
            # the pods of before it was known serve on until these take their place
            pods = [pod for pod in pods if takes(pod, digest)]
            transformers, predictors = (observe.ready_pods(pods, half) for half in HALVES)
        is_wanted = any(each.name == name for each in current.wanted)
        problem, fatal = observe.problem(service, pods)
        if transformers and predictors:
            problem, fatal = None, False
            # of an earlier revision only the contract is of interest, as long as clients meet it
            if weight or is_wanted:
                refutation = await proofs.ask(current.revision(name, variant), observe.ready(pods), digest or "")
                if refutation is not None:
                    problem, fatal = refutation, refutation.final
        else:
            proofs.stop(name)
        proof = proofs.get(name)
        if proof and not weight and self._awaits_pin(current, name):
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
            retired_at=None if is_wanted else current.retired_at(name),
        )

    # what should be

    async def _converge(self, current: _Pass, observed: Sequence[Observed], course: _Course) -> dict[str, WriteError]:
        """Make it so: first the pods, then the route, last the end of what nobody needs.

        Returns:
            What the API server did not take, by the name of the InferenceService or of the rollout.
        """
        errors: dict[str, WriteError] = {}
        for revision in current.wanted:
            try:
                await self._apply_revision(current, revision, course.found.floors.get(revision.name, (0, 0)))
            except WriteError as error:
                errors[revision.name] = error
        try:
            await self._apply_route(current, observed, course)
        except WriteError as error:
            errors[current.rollout.name] = error
        rollout, applied = current.rollout, current.memory.applied
        for name in course.found.obsolete:
            if name in course.leaving or name in observe.leaving(current.route):
                continue
            try:
                await applied.remove("InferenceService", rollout.namespace, name, owner=rollout.uid)
            except WriteError as error:
                errors.setdefault(rollout.name, error)
        return errors

    async def _apply_revision(self, current: _Pass, revision: Revision, floors: tuple[int, int]) -> None:
        """Apply what a variant consists of; the first error is raised when all has been tried."""
        rollout, applied = current.rollout, current.memory.applied
        if revision not in current.asked:
            await self._scale_earlier(current, revision, floors)
            return
        objects = render_revision(revision, self._platform, floors=floors)
        (service,) = (each for each in objects if each["kind"] == "InferenceService")
        service["metadata"]["ownerReferences"] = [_owner(API_VERSION, KIND, rollout.name, rollout.uid)]
        live = current.services.get(revision.name)
        if freeze(service, live):
            self._pin(current, revision, service, live)
            live = await applied.apply_watched(service, live) or live
        if live is None:
            return
        uid = live["metadata"]["uid"]
        part_of = _owner(service["apiVersion"], "InferenceService", revision.name, uid)
        others = [made for made in objects if made is not service]
        for made in others:
            made["metadata"]["ownerReferences"] = [part_of]
        errors = await applied.apply_all(others)
        if not rollout.spec.network.policies:
            for name in (revision.transformer, revision.predictor):
                await applied.remove("NetworkPolicy", rollout.namespace, name, owner=uid)
        if errors:
            raise first_error(errors)

    def _pin(self, current: _Pass, revision: Revision, service: Object, live: Mapping[str, Any] | None) -> None:
        """Pin an InferenceService to the digest that its pods had when they were verified first."""
        before = pinned(live)
        if revision.variant.bundle.digest or (live is not None and before is None):
            return  # by its spec; or its pods serve already, and would start again
        if live is None and revision.rollout.spec.predictor.gpu:
            return  # a second pod might find no GPU to start on
        proof = current.memory.proofs.get(revision.name)
        pin(service, before or (proof.digest if proof else ""))

    def _awaits_pin(self, current: _Pass, name: str) -> bool:
        """Whether an InferenceService is going to be pinned to the digest that is known by now."""
        live, revision = current.services[name], next((each for each in current.asked if each.name == name), None)
        return pinned(live) == "" and revision is not None and freeze(inference_service(revision, self._platform), live)

    async def _scale_earlier(self, current: _Pass, revision: Revision, floors: tuple[int, int]) -> None:
        """A revision of an earlier spec stays what it is; only how many pods it has is still to be said."""
        live = current.services.get(revision.name)
        if live is None:
            return
        owner = _owner(live["apiVersion"], "InferenceService", revision.name, live["metadata"]["uid"])
        for made in scaled_objects(revision, self._platform, floors):
            made["metadata"]["ownerReferences"] = [owner]
            await current.memory.applied.apply(made)

    async def _apply_route(self, current: _Pass, observed: Sequence[Observed], course: _Course) -> None:
        """Apply what clients and Prometheus meet; the first error is raised when all has been tried."""
        rollout, applied = current.rollout, current.memory.applied
        found, run = course.found, course.run
        variants = {each.name: each.variant for each in observed}
        placed = []
        for name in found.reachable:
            revision = current.revision(name, variants[name])
            pin = CANARY if run and not run.ended and name == run.canary and _shared(run, variants) else ""
            weight, since = found.weights.get(name, 0), course.arriving.get(name)
            placed.append(Placed(revision, weight, current.version(revision), arriving=since, pin=pin))
        placed += [
            Placed(current.revision(name, variants[name]), 0, leaving=since) for name, since in course.leaving.items()
        ]
        owner = _owner(API_VERSION, KIND, rollout.name, rollout.uid)
        sticky = rollout.spec.strategy.ab_test is not None
        withheld = current.hosts.withheld
        objects = render_rollout(rollout, placed, self._platform, owner=owner, fine=sticky, withheld=withheld)
        objects, errors = await with_free_names(applied, objects, rollout.namespace, owner)
        open_to_all = False
        # the routes as soon as it is settled who may use them
        for made in sorted(objects, key=lambda each: _URGENT.get(each["kind"], len(_URGENT))):
            try:
                if made["kind"] == "HTTPRoute":
                    live = self._cluster.route(rollout.namespace, made["metadata"]["name"])
                    if live is not None or not open_to_all:
                        await applied.apply_watched(made, live)
                else:
                    await applied.apply(made)
            except WriteError as error:
                errors.append(error)
                open_to_all = open_to_all or made["kind"] == "SecurityPolicy"
        there = {(each["kind"], each["metadata"]["name"]) for each in objects}
        routes = [each["metadata"]["name"] for each in self._cluster.routes(rollout.namespace, rollout.name)]
        # weights that nobody has at the moment keep their route, unless it has lost its last host
        kept = rollout.name if current.hosts.left else ""
        others = [("HTTPRoute", name) for name in routes if name != kept]
        for kind, name in [*optional(rollout), *others]:
            if (kind, name) not in there:
                try:
                    await applied.remove(kind, rollout.namespace, name, owner=rollout.uid)
                except WriteError as error:
                    errors.append(error)
        if errors:
            raise first_error(errors)


def _check_size(manifest: Mapping[str, Any]) -> None:
    """A spec is parsed, hashed and merged into what each variant consists of: all of that is a multiple of it."""
    if weight(manifest.get("spec")) > _LARGEST:
        raise InvalidSpecError(
            f"spec: must take {_LARGEST >> 20} MiB in memory at most; each map in it takes 100 bytes"
        )


def _past(current: _Pass, run: Run | None, known: Sequence[PastRun]) -> list[PastRun]:
    """The runs that have ended, the latest first."""
    version = current.before.version_of(run.canary) if run else ""
    return history(known, run, version, limit=current.rollout.spec.history_limit)


def _given_up(current: _Pass, now: float) -> list[PastRun]:
    """The same, where the spec decides nothing any more and a run was on its way."""
    before = current.before
    ended = guide.given_up(read(before.run), current.rollout, current.asked, now)
    return _past(current, ended, before.history)


def _shared(run: Run, variants: Mapping[str, str]) -> bool:
    """Whether both revisions of a run are of one variant, whose name is then stable's."""
    return variants.get(run.stable) == variants.get(run.canary)


def _arriving(current: _Pass, observed: Sequence[Observed], found: Plan, now: float) -> dict[str, float]:
    """What is to get its first weight, and since when; until the gateway has heard of it others keep all there is.

    Nothing where no other could answer.
    """
    known, leaving = observe.arriving(current.route), observe.leaving(current.route)
    there = {each.name for each in observed if each.weight}
    new = [name for name, weight in found.weights.items() if weight and name not in there and name not in leaving]
    since = {name: known.get(name, now) for name in new}
    waits = any(now < at + PASSING_S for at in since.values())
    return since if waits and any(each.weight and each.running for each in observed) else {}


def _as_routed(found: Plan, arriving: Mapping[str, float], weights: dict[str, int]) -> Plan:
    """The same plan, with the weights that the route has."""
    return replace(
        found,
        weights=weights,
        waits=found.waits | dict.fromkeys(arriving, Cause("GatewayNotReady", "waits until the gateway knows it")),
        reachable=tuple(dict.fromkeys([*weights, *found.reachable])),
        retired=tuple(name for name in found.retired if name not in weights),
        obsolete=tuple(name for name in found.obsolete if name not in weights),
    )


def _leaving(current: _Pass, observed: Sequence[Observed], found: Plan, now: float) -> dict[str, float]:
    """What has just lost its weight and runs, and since when; it stays in the route for a moment."""
    known = observe.leaving(current.route)
    candidates = [each.name for each in observed if each.running and (each.weight or each.name in known)]
    since = {name: known.get(name, now) for name in candidates if not found.weights.get(name)}
    return {name: at for name, at in since.items() if now < at + PASSING_S}


def _variant(service: Mapping[str, Any] | None) -> str:
    return str((service["metadata"].get("labels") or {}).get(VARIANT_LABEL, "")) if service else ""


def _owner(api_version: str, kind: str, name: str, uid: str) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _earlier(rollout: Rollout, name: str, variant: str) -> Revision:
    """A revision of an earlier spec: only its name matters, which says what it was."""
    base = next((own for own in rollout.spec.all_variants if own.name == variant), rollout.spec.all_variants[0])
    bundle = msgspec.structs.replace(base.bundle, version="", digest="")
    return Revision(rollout, msgspec.structs.replace(base, name=variant, bundle=bundle), name.rpartition("-")[2])
