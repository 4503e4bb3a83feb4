"""The status of a rollout. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.conditions import set_condition
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import Condition, RegistryStatus, RolloutStatus, RunStatus, VariantStatus
from tandem_rollout.controller import objects
from tandem_rollout.controller.decision import Decision
from tandem_rollout.controller.describe_variants import variant_statuses, worst_variant
from tandem_rollout.controller.host_claims import Hosts
from tandem_rollout.controller.interface import NameConflictError, WriteError
from tandem_rollout.controller.observation import Observed
from tandem_rollout.controller.resources import HTTPRoute
from tandem_rollout.controller.run_inputs import candidate
from tandem_rollout.controller.snapshot import Snapshot
from tandem_rollout.controller.weights import WeightPlan
from tandem_rollout.engine.begin import was_tried
from tandem_rollout.engine.run import RETURNS, Run
from tandem_rollout.engine.schedule import Schedule, plan_hash
from tandem_rollout.render.revision import Revision
from tandem_rollout.runner.analyst import Judgement
from tandem_rollout.runner.progress import TRIED
from tandem_rollout.runner.status_parts import add_run, build_conditions


def build_status(snapshot: Snapshot, decision: Decision, errors: Mapping[str, WriteError]) -> RolloutStatus:
    """The status of a rollout after a pass.

    Args:
        snapshot: The snapshot of the pass.
        decision: The decision of the pass.
        errors: Failed writes, by the name of the InferenceService or of the rollout.
    """
    rollout, previous, hosts, now = snapshot.rollout, snapshot.previous, snapshot.hosts, snapshot.now
    revisions, observed, route = decision.revisions, snapshot.observed, snapshot.route
    url = f"http://{hosts.reachable[0]}" if hosts.reachable else ""
    status = describe(rollout, revisions, observed, decision.plan, errors, route, url, previous, now)
    status = describe_hosts(status, previous, rollout, hosts, now)
    registry = previous.registry if rollout.spec.registry is not None else None
    status = msgspec.structs.replace(status, history=decision.history, registry=registry)
    if snapshot.schedule is not None:
        previous = msgspec.structs.replace(previous, history=decision.history)
        status = describe_run(status, previous, rollout, snapshot.schedule, decision.run, decision.judgement, now)
    # last, as the version that is specified is served all the same
    if registry is None or not registry.reason or status.reason:
        return status
    return msgspec.structs.replace(status, reason=registry.reason, message=registry.message)


def describe(
    rollout: Rollout,
    revisions: Sequence[Revision],
    observed: Sequence[Observed],
    plan: WeightPlan,
    errors: Mapping[str, WriteError],
    route: HTTPRoute | None,
    url: str,
    before: RolloutStatus,
    now: float,
) -> RolloutStatus:
    """The status of variants, weights and route.

    Args:
        rollout: The rollout.
        revisions: The revisions of the spec.
        observed: All revisions that exist.
        plan: The decided weights.
        errors: Failed writes, by the name of the InferenceService or of the rollout.
        route: The HTTPRoute, with its status.
        url: URL of the model.
        before: The previous status.
        now: Seconds since the epoch.
    """
    variants = variant_statuses(revisions, observed, plan, errors, before, now)
    ready = sum(variant.phase == "Ready" for variant in variants[: len(revisions)])
    error = errors.get(rollout.name)
    cause = error.cause if error is not None else objects.route_problem(route)
    reason, message = (cause.reason, cause.message) if cause is not None else worst_variant(variants)
    complete = ready == len(revisions) and not reason
    summary = _incomplete_reason(variants, errors)
    conditions = build_conditions(
        before, complete=complete, reason=summary, message=message, generation=rollout.generation, now=now
    )
    names = {revision.name: revision.variant for revision in observed}
    # the previous weights apply if the route could not be written
    routed = (
        {revision.name: revision.weight for revision in observed if revision.weight}
        if rollout.name in errors
        else plan.weights
    )
    weights = _weights({name: weight for name, weight in routed.items() if name in names}, names, before.run)
    return RolloutStatus(
        observed_generation=rollout.generation,
        ready=f"{ready}/{len(revisions)}",
        weights=" ".join(f"{variant}={weight}" for variant, weight in weights.items()),
        url=url,
        reason=reason,
        message=message,
        variants=variants,
        conditions=conditions,
    )


def describe_run(
    status: RolloutStatus,
    before: RolloutStatus,
    rollout: Rollout,
    schedule: Schedule,
    run: Run | None,
    judgement: Judgement,
    now: float,
) -> RolloutStatus:
    """The status with that of the run.

    Args:
        status: The status without the run.
        before: The previous status.
        rollout: The rollout.
        schedule: The schedule of the spec.
        run: The run; None before the first.
        judgement: Judgement of the metrics.
        now: Seconds since the epoch.
    """
    if run is None:
        return status
    words = f"run {run.number}: {run.state}{f': {run.message}' if run.message else ''}"
    reason = run.reason
    if run.state in RETURNS.values() and _asked_for(rollout, run):
        reason, words = TRIED.reason, f"{words}; {TRIED.message}"
    moves = set_condition(
        before, "Progressing", not run.ended, reason=run.state, message=words, generation=rollout.generation, now=now
    )
    if not status.reason and run.state in ("AwaitingApproval", "Paused", *RETURNS, *RETURNS.values()):
        status = msgspec.structs.replace(status, reason=reason, message=words)
    status = msgspec.structs.replace(status, conditions=[*status.conditions, moves])
    return add_run(status, before, run, schedule, judgement, history_limit=rollout.spec.history_limit)


def _asked_for(rollout: Rollout, run: Run) -> bool:
    """Whether the spec specifies the version and the plan of a run."""
    revisions = [Revision.of(rollout, variant) for variant in rollout.spec.all_variants]
    return was_tried(run, candidate(rollout, revisions).name, plan_hash(rollout.spec, run.canary))


def describe_hosts(
    status: RolloutStatus, before: RolloutStatus, rollout: Rollout, hosts: Hosts, now: float
) -> RolloutStatus:
    """The status with conflicts about hostnames, and with hostnames that are not allowed."""
    if hosts.conflict is None and hosts.forbidden is None:
        return status

    def untrue(kind: str, cause: Cause) -> Condition:
        return set_condition(
            before,
            kind,
            False,
            reason=cause.reason,
            message=cause.message,
            generation=rollout.generation,
            now=now,
        )

    conditions = list(status.conditions)
    if hosts.conflict is not None:
        conditions.append(untrue("HostnamesUnique", hosts.conflict))
    cause = hosts.forbidden or hosts.conflict
    if not hosts.withheld or cause is None:
        return msgspec.structs.replace(status, conditions=conditions)
    # a model that clients cannot reach is not ready
    conditions = [untrue("Ready", cause) if entry.type == "Ready" else entry for entry in conditions]
    status = msgspec.structs.replace(status, conditions=conditions)
    return status if status.reason else msgspec.structs.replace(status, reason=cause.reason, message=cause.message)


def describe_invalid(before: RolloutStatus, message: str, generation: int, now: float) -> RolloutStatus:
    """The status of a rollout whose spec is invalid. The rest of the status is kept."""
    valid = set_condition(before, "Valid", False, reason="Invalid", message=message, generation=generation, now=now)
    conditions = [entry for entry in before.conditions if entry.type != "Valid"]
    return msgspec.structs.replace(
        before, observed_generation=generation, reason=valid.reason, message=message, conditions=[*conditions, valid]
    )


def describe_unresolved(before: RolloutStatus, registry: RegistryStatus, generation: int, now: float) -> RolloutStatus:
    """The status of a rollout that follows an alias and knows no version of it yet. The rest of the status is kept."""
    message = registry.message or f"waiting for models:/{registry.model}@{registry.alias}"
    ready = set_condition(before, "Ready", False, reason="Waiting", message=message, generation=generation, now=now)
    conditions = [entry for entry in before.conditions if entry.type != "Ready"]
    return msgspec.structs.replace(
        before,
        observed_generation=generation,
        reason=registry.reason,
        message=message,
        registry=registry,
        conditions=[ready, *conditions],
    )


def _weights(routed: Mapping[str, int], variants: Mapping[str, str], run: RunStatus | None) -> Counter[str]:
    """Weights by variant; by stable and canary if two revisions of a variant have weight."""
    sides = {run.stable: "stable", run.canary: "canary"} if run else {}
    revisions = Counter(variants[name] for name, weight in routed.items() if weight)
    weights: Counter[str] = Counter()
    for name, weight in routed.items():
        alone = revisions[variants[name]] < 2
        weights[variants[name] if alone else sides.get(name, variants[name])] += weight
    return weights


def _incomplete_reason(variants: Sequence[VariantStatus], errors: Mapping[str, WriteError]) -> str:
    """The reason for which a rollout is not complete."""
    if any(isinstance(error, NameConflictError) for error in errors.values()):
        return "NameConflict"
    return "Rejected" if _any_rejected(variants, errors) else "Waiting"


def _any_rejected(variants: Sequence[VariantStatus], errors: Mapping[str, WriteError]) -> bool:
    return any(error.rejected for error in errors.values()) or any(variant.phase == "Rejected" for variant in variants)
