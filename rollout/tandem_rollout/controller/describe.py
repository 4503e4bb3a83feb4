"""What the controller says about a rollout. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tandem_rollout.analyst import Judgement
from tandem_rollout.cause import Cause
from tandem_rollout.conditions import condition
from tandem_rollout.controller import observe
from tandem_rollout.controller.decision import Decision
from tandem_rollout.controller.guide import candidate
from tandem_rollout.controller.hosts import Hosts
from tandem_rollout.controller.interface import NameConflictError, WriteError
from tandem_rollout.controller.snapshot import Snapshot
from tandem_rollout.engine.decide import tried
from tandem_rollout.engine.run import RETURNS, Run
from tandem_rollout.engine.schedule import Schedule, plan_hash
from tandem_rollout.engine.written import write
from tandem_rollout.observation import Observed
from tandem_rollout.plan import Plan
from tandem_rollout.progress import TRIED, history, metric_status, progress
from tandem_rollout.revision import Revision
from tandem_rollout.spec import Rollout
from tandem_rollout.status import Condition, Phase, RolloutStatus, RunStatus, VariantStatus
from tandem_rollout.times import stamp

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
    wanted: Sequence[Revision],
    observed: Sequence[Observed],
    found: Plan,
    errors: Mapping[str, WriteError],
    route: Mapping[str, Any] | None,
    url: str,
    before: RolloutStatus,
    now: float,
) -> RolloutStatus:
    """The status of a rollout after one pass.

    Args:
        rollout: The rollout.
        wanted: The revisions that the spec asks for.
        observed: All revisions that there are.
        found: What was decided.
        errors: What the API server did not take, by the name of the InferenceService or of the rollout.
        route: The HTTPRoute, as the gateway has answered it.
        url: Where clients reach the model.
        before: The status until now.
        now: Seconds since the epoch.
    """
    variants = _variants(wanted, observed, found, errors, before, now)
    ready = sum(each.phase == "Ready" for each in variants[: len(wanted)])
    error = errors.get(rollout.name)
    cause = error.cause if error is not None else observe.route_problem(route)
    reason, message = (cause.reason, cause.message) if cause is not None else _worst(variants)
    complete = ready == len(wanted) and not reason
    summary = "Complete" if complete else _reason(variants, errors)
    words = message if reason else "all variants serve"
    serves = condition(before, "Ready", complete, reason=summary, message=words, generation=rollout.generation, now=now)
    valid = condition(
        before, "Valid", True, reason="Valid", message="the spec is valid", generation=rollout.generation, now=now
    )
    names = {each.name: each.variant for each in observed}
    # where the route could not be written, clients meet the weights that were
    routed = {each.name: each.weight for each in observed if each.weight} if rollout.name in errors else found.weights
    weights = _weights({name: weight for name, weight in routed.items() if name in names}, names, before.run)
    return RolloutStatus(
        observed_generation=rollout.generation,
        ready=f"{ready}/{len(wanted)}",
        weights=" ".join(f"{variant}={weight}" for variant, weight in weights.items()),
        url=url,
        reason=reason,
        message=message,
        variants=variants,
        conditions=[serves, valid],
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
    verdict = judgement.decision.verdict.value if judgement.decision else ""
    moving = not run.ended
    # of a run on its way back nobody asks any more: then the last word is why
    last = before.run is not None and before.run.number == run.number
    kept = before.metrics if last or not moving else []
    words = f"run {run.number}: {run.state}{f': {run.message}' if run.message else ''}"
    reason = run.reason
    if run.state in RETURNS.values() and _asked_for(rollout, run):
        reason, words = TRIED.reason, f"{words}; {TRIED.message}"
    moves = condition(
        before, "Progressing", moving, reason=run.state, message=words, generation=rollout.generation, now=now
    )
    if not status.reason and run.state in ("Gated", "Paused", *RETURNS, *RETURNS.values()):
        status = msgspec.structs.replace(status, reason=reason, message=words)
    return msgspec.structs.replace(
        status,
        progress=progress(run, schedule),
        run=write(run, steps=len(schedule.steps), measured=judgement.measured, verdict=verdict),
        metrics=[metric_status(line) for line in judgement.lines] if judgement.lines else kept,
        history=history(before.history, run, status.version_of(run.canary), limit=rollout.spec.history_limit),
        conditions=[*status.conditions, moves],
    )


def _asked_for(rollout: Rollout, run: Run) -> bool:
    """Whether the spec asks for what a run was about."""
    asked = [Revision.of(rollout, variant) for variant in rollout.spec.all_variants]
    return tried(run, candidate(rollout, asked).name, plan_hash(rollout.spec, run.canary))


def describe_hosts(
    status: RolloutStatus, before: RolloutStatus, rollout: Rollout, hosts: Hosts, now: float
) -> RolloutStatus:
    """The status with what there is to say of hosts that others claim, too, or that are not allowed."""
    if hosts.conflict is None and hosts.forbidden is None:
        return status

    def untrue(kind: str, cause: Cause) -> Condition:
        return condition(
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
    conditions = [untrue("Ready", cause) if each.type == "Ready" else each for each in conditions]
    status = msgspec.structs.replace(status, conditions=conditions)
    return status if status.reason else msgspec.structs.replace(status, reason=cause.reason, message=cause.message)


def describe_invalid(before: RolloutStatus, message: str, generation: int, now: float) -> RolloutStatus:
    """The status of a rollout whose spec makes no sense; all else stays as it is."""
    valid = condition(before, "Valid", False, reason="Invalid", message=message, generation=generation, now=now)
    kept = [each for each in before.conditions if each.type != "Valid"]
    return msgspec.structs.replace(
        before, observed_generation=generation, reason=valid.reason, message=message, conditions=[*kept, valid]
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
    wanted: Sequence[Revision],
    observed: Sequence[Observed],
    found: Plan,
    errors: Mapping[str, WriteError],
    before: RolloutStatus,
    now: float,
) -> list[VariantStatus]:
    seen = {each.name: each for each in observed}
    earlier = {each.inference_service: each for each in before.variants}
    variants = []
    for revision in wanted:
        each = seen.get(revision.name) or Observed(variant=revision.variant.name, name=revision.name)
        phase, cause = _phase(revision, each, found, errors.get(each.name), revision.name in seen)
        variants.append(_variant_status(each, phase, cause, found, earlier, now))
    variants += [
        _variant_status(seen[name], "Retired", _KEPT if seen[name].running else _GONE, found, earlier, now)
        for name in found.retired
    ]
    for name in found.reachable:
        if name not in {each.inference_service for each in variants}:
            variants.append(_variant_status(seen[name], "Ready", _SERVES, found, earlier, now))
    return variants


def _phase(
    revision: Revision, each: Observed, found: Plan, error: WriteError | None, exists: bool
) -> tuple[Phase, Cause]:
    """How far a wanted revision is, and what it waits for or why it is refused."""
    if each.name in found.refused:
        return "Refused", found.refused[each.name]
    if each.name in found.waits:
        return "Pending", found.waits[each.name]
    if each.phase == "Ready":
        return "Ready", error.cause if error is not None else _PROVEN
    if error is not None:
        return ("Refused" if error.refused or each.fatal else "Pending"), error.cause
    waits = observe.waits_for(revision, each.transformers, each.predictors, exists)
    return ("Refused" if each.fatal else "Pending"), each.problem or waits


def _variant_status(
    each: Observed, phase: Phase, cause: Cause, found: Plan, earlier: Mapping[str, VariantStatus], now: float
) -> VariantStatus:
    old = earlier.get(each.name)
    return VariantStatus(
        name=each.variant,
        inference_service=each.name,
        phase=phase,
        weight=found.weights.get(each.name, 0),
        version=each.proof.version if each.proof else (old.version if old else ""),
        digest=each.proof.digest if each.proof else (old.digest if old else ""),
        reason=cause.reason,
        message=cause.message,
        since=old.since if old and old.phase == phase else stamp(now),
    )


def _worst(variants: Sequence[VariantStatus]) -> tuple[str, str]:
    """Reason and message of what is worst off; empty where all is as it should be."""
    for phase in ("Refused", "Pending", "Ready"):
        for each in variants:
            if each.phase == phase and each.reason not in _QUIET:
                return each.reason, f"{each.name}: {each.message}"
    return "", ""


def _reason(variants: Sequence[VariantStatus], errors: Mapping[str, WriteError]) -> str:
    """Why a rollout is not complete."""
    if any(isinstance(each, NameConflictError) for each in errors.values()):
        return "NameConflict"
    return "Refused" if _any_refused(variants, errors) else "Waiting"


def _any_refused(variants: Sequence[VariantStatus], errors: Mapping[str, WriteError]) -> bool:
    return any(each.refused for each in errors.values()) or any(each.phase == "Refused" for each in variants)
