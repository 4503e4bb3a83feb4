"""What the controller says about a rollout. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.conditions import set_condition
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import Condition, Phase, RolloutStatus, RunStatus, VariantStatus
from tandem_rollout.controller import objects
from tandem_rollout.controller.decision import Decision
from tandem_rollout.controller.host_claims import Hosts
from tandem_rollout.controller.interface import NameConflictError, WriteError
from tandem_rollout.controller.observation import Observed
from tandem_rollout.controller.resources import HTTPRoute
from tandem_rollout.controller.run_inputs import candidate
from tandem_rollout.controller.snapshot import Snapshot
from tandem_rollout.controller.weights import Plan
from tandem_rollout.engine.decide import tried
from tandem_rollout.engine.run import RETURNS, Run
from tandem_rollout.engine.schedule import Schedule, plan_hash
from tandem_rollout.render.revision import Revision
from tandem_rollout.runner.analyst import Judgement
from tandem_rollout.runner.progress import TRIED
from tandem_rollout.runner.status_parts import add_run, build_conditions, phase_since

_PROVEN: Final = Cause("Proven", "")
_SERVES: Final = Cause("SuccessorNotReady", "serves until its successor is ready")
_KEPT: Final = Cause("Retained", "")
_GONE: Final = Cause("NoReadyPods", "has no ready pods: it cannot be rolled back to")
_QUIET: Final[frozenset[str]] = frozenset({_PROVEN.reason, _SERVES.reason})
"""Reasons of variants that serve as they should: the rollout waits for nothing."""


def build_status(snapshot: Snapshot, decision: Decision, errors: Mapping[str, WriteError]) -> RolloutStatus:
    """The status of a rollout, from what there is and what was decided.

    Args:
        snapshot: What there is.
        decision: What was decided.
        errors: What the API server did not take of it, by the name of the InferenceService or of the rollout.
    """
    rollout, previous, hosts, now = snapshot.rollout, snapshot.previous, snapshot.hosts, snapshot.now
    revisions, observed, route = decision.revisions, snapshot.observed, snapshot.route
    url = f"http://{hosts.left[0]}" if hosts.left else ""
    status = describe(rollout, revisions, observed, decision.plan, errors, route, url, previous, now)
    status = describe_hosts(status, previous, rollout, hosts, now)
    status = msgspec.structs.replace(status, history=decision.history)
    if snapshot.schedule is None:
        return status
    previous = msgspec.structs.replace(previous, history=decision.history)
    return describe_run(status, previous, rollout, snapshot.schedule, decision.run, decision.judgement, now)


def describe(
    rollout: Rollout,
    revisions: Sequence[Revision],
    observed: Sequence[Observed],
    plan: Plan,
    errors: Mapping[str, WriteError],
    route: HTTPRoute | None,
    url: str,
    before: RolloutStatus,
    now: float,
) -> RolloutStatus:
    """The status of a rollout after one pass.

    Args:
        rollout: The rollout.
        revisions: The revisions that the spec asks for.
        observed: All revisions that there are.
        plan: What was decided.
        errors: What the API server did not take, by the name of the InferenceService or of the rollout.
        route: The HTTPRoute, as the gateway has answered it.
        url: Where clients reach the model.
        before: The status until now.
        now: Seconds since the epoch.
    """
    variants = _variants(revisions, observed, plan, errors, before, now)
    ready = sum(variant.phase == "Ready" for variant in variants[: len(revisions)])
    error = errors.get(rollout.name)
    cause = error.cause if error is not None else objects.route_problem(route)
    reason, message = (cause.reason, cause.message) if cause is not None else _worst(variants)
    complete = ready == len(revisions) and not reason
    summary = _reason(variants, errors)
    conditions = build_conditions(
        before, complete=complete, reason=summary, message=message, generation=rollout.generation, now=now
    )
    names = {revision.name: revision.variant for revision in observed}
    # where the route could not be written, clients meet the weights that were
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
    """The status with what there is to say of a run.

    Args:
        status: The status without.
        before: The status until now.
        rollout: The rollout.
        schedule: What is planned.
        run: The run; None before the first.
        judgement: What the metrics say.
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
    """Whether the spec asks for what a run was about."""
    revisions = [Revision.of(rollout, variant) for variant in rollout.spec.all_variants]
    return tried(run, candidate(rollout, revisions).name, plan_hash(rollout.spec, run.canary))


def describe_hosts(
    status: RolloutStatus, before: RolloutStatus, rollout: Rollout, hosts: Hosts, now: float
) -> RolloutStatus:
    """The status with what there is to say of hosts that others claim, too, or that are not allowed."""
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
    # what clients do not reach is not ready, whatever its pods are
    conditions = [untrue("Ready", cause) if entry.type == "Ready" else entry for entry in conditions]
    status = msgspec.structs.replace(status, conditions=conditions)
    return status if status.reason else msgspec.structs.replace(status, reason=cause.reason, message=cause.message)


def describe_invalid(before: RolloutStatus, message: str, generation: int, now: float) -> RolloutStatus:
    """The status of a rollout whose spec makes no sense; all else stays as it is."""
    valid = set_condition(before, "Valid", False, reason="Invalid", message=message, generation=generation, now=now)
    conditions = [entry for entry in before.conditions if entry.type != "Valid"]
    return msgspec.structs.replace(
        before, observed_generation=generation, reason=valid.reason, message=message, conditions=[*conditions, valid]
    )


def _weights(routed: Mapping[str, int], variants: Mapping[str, str], run: RunStatus | None) -> Counter[str]:
    """Weights by variant; stable and canary where two revisions of one variant have some."""
    sides = {run.stable: "stable", run.canary: "canary"} if run else {}
    revisions = Counter(variants[name] for name, weight in routed.items() if weight)
    weights: Counter[str] = Counter()
    for name, weight in routed.items():
        alone = revisions[variants[name]] < 2
        weights[variants[name] if alone else sides.get(name, variants[name])] += weight
    return weights


def _variants(
    revisions: Sequence[Revision],
    observed: Sequence[Observed],
    plan: Plan,
    errors: Mapping[str, WriteError],
    before: RolloutStatus,
    now: float,
) -> list[VariantStatus]:
    existing = {entry.name: entry for entry in observed}
    earlier = {entry.inference_service: entry for entry in before.variants}
    variants = []
    for revision in revisions:
        entry = existing.get(revision.name) or Observed(variant=revision.variant.name, name=revision.name)
        phase, cause = _phase(revision, entry, plan, errors.get(entry.name), revision.name in existing)
        variants.append(_variant_status(entry, phase, cause, plan, earlier, now))
    variants += [
        _variant_status(existing[name], "Retired", _KEPT if existing[name].running else _GONE, plan, earlier, now)
        for name in plan.retired
    ]
    for name in plan.reachable:
        if name not in {entry.inference_service for entry in variants}:
            variants.append(_variant_status(existing[name], "Ready", _SERVES, plan, earlier, now))
    return variants


def _phase(
    revision: Revision, observed: Observed, plan: Plan, error: WriteError | None, exists: bool
) -> tuple[Phase, Cause]:
    """How far a wanted revision is, and what it waits for or why it is refused."""
    if observed.name in plan.refused:
        return "Rejected", plan.refused[observed.name]
    if observed.name in plan.waits:
        return "Pending", plan.waits[observed.name]
    if observed.phase == "Ready":
        return "Ready", error.cause if error is not None else _PROVEN
    if error is not None:
        return ("Rejected" if error.refused or observed.fatal else "Pending"), error.cause
    waits = objects.waits_for(revision, observed.transformers, observed.predictors, exists)
    return ("Rejected" if observed.fatal else "Pending"), observed.problem or waits


def _variant_status(
    revision: Observed, phase: Phase, cause: Cause, plan: Plan, earlier: Mapping[str, VariantStatus], now: float
) -> VariantStatus:
    old = earlier.get(revision.name)
    return VariantStatus(
        name=revision.variant,
        inference_service=revision.name,
        phase=phase,
        weight=plan.weights.get(revision.name, 0),
        version=revision.proof.version if revision.proof else (old.version if old else ""),
        digest=revision.proof.digest if revision.proof else (old.digest if old else ""),
        reason=cause.reason,
        message=cause.message,
        since=phase_since(old, phase, now),
    )


def _worst(variants: Sequence[VariantStatus]) -> tuple[str, str]:
    """Reason and message of what is worst off; empty where all is as it should be."""
    for phase in ("Rejected", "Pending", "Ready"):
        for variant in variants:
            if variant.phase == phase and variant.reason not in _QUIET:
                return variant.reason, f"{variant.name}: {variant.message}"
    return "", ""


def _reason(variants: Sequence[VariantStatus], errors: Mapping[str, WriteError]) -> str:
    """Why a rollout is not complete."""
    if any(isinstance(error, NameConflictError) for error in errors.values()):
        return "NameConflict"
    return "Rejected" if _any_refused(variants, errors) else "Waiting"


def _any_refused(variants: Sequence[VariantStatus], errors: Mapping[str, WriteError]) -> bool:
    return any(error.refused for error in errors.values()) or any(variant.phase == "Rejected" for variant in variants)
