"""Between a run and a cluster: which revisions it is about, what is seen of them, where they are counted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import PastRun
from tandem_rollout.controller import objects
from tandem_rollout.controller.contracts import ContractVerdicts
from tandem_rollout.controller.observation import Observed
from tandem_rollout.controller.resources import HTTPRoute
from tandem_rollout.engine.inputs import RevisionState, RunInputs
from tandem_rollout.engine.run import RETURNS, Command, Run, State
from tandem_rollout.engine.schedule import Schedule, plan_hash
from tandem_rollout.render.revision import Revision


def candidate(rollout: Rollout, specified: Sequence[Revision]) -> Revision:
    """The revision that the spec wants to have the requests; of an A/B test or a shadow, what is compared."""
    strategy = rollout.spec.strategy
    name = strategy.blue_green.active if strategy.blue_green else strategy.shadow.variant if strategy.shadow else ""
    if name:
        return next(revision for revision in specified if revision.variant.name == name)
    if strategy.ab_test:
        return next(revision for revision in reversed(specified) if revision.variant.weight)
    return specified[0]


def baseline(rollout: Rollout, specified: Sequence[Revision]) -> Revision:
    """What an A/B test or a shadow compares with: the first revision that the spec gives any weight."""
    return next(revision for revision in specified if revision.variant.weight)


def serving(
    rollout: Rollout,
    schedule: Schedule,
    specified: Sequence[Revision],
    observed: Sequence[Observed],
    verdicts: ContractVerdicts,
) -> str:
    """The revision that clients meet; empty if there is none.

    Where weights stay as written, it is what is compared with, once clients meet both: a horizon that begins before
    that would end with less than was asked for.
    """
    if not schedule.observes:
        best = max(
            (revision for revision in observed if revision.weight), key=lambda revision: revision.weight, default=None
        )
        return best.name if best else ""
    by_name = {revision.name: revision for revision in observed}
    stable, compared = by_name.get(baseline(rollout, specified).name), by_name.get(candidate(rollout, specified).name)
    if stable is None or compared is None or not (stable.weight and stable.running):
        return ""
    shadow = rollout.spec.strategy.shadow is not None
    serves = compared.usable and not verdicts.against(compared.name) if shadow else compared.weight and compared.running
    return stable.name if serves else ""


def rules(schedule: Schedule | None, run: Run | None) -> bool:
    """Whether a run says which weights there are, and not the spec.

    Args:
        schedule: What is planned; None where nothing is decided.
        run: The run; None before the first.
    """
    if schedule is None or run is None or run.state in ("Observing", "Completed"):
        return False
    # what an earlier strategy has decided says nothing once weights are to be as written
    return not (schedule.observes and run.ended)


def effective(
    specified: Sequence[Revision], run: Run | None, earlier: Callable[[str], Revision | None]
) -> list[Revision]:
    """The revisions that must be there.

    Args:
        specified: What the spec asks for.
        run: The run that says which weights there are; None where the spec does.
        earlier: Finds the revision of an InferenceService of an earlier spec; None where it is gone.
    """
    if run is None:
        return list(specified)
    names = {"Promoted": [run.canary], "Aborted": [run.stable], "RolledBack": [run.stable]}.get(
        run.state, [run.stable, run.canary]
    )
    own = {revision.name: revision for revision in specified}
    revisions = [revision for name in names if (revision := own.get(name) or earlier(name)) is not None]
    # variants beside the one that is decided about are served as they are written
    variants = {revision.variant.name for revision in revisions}
    return revisions + [revision for revision in specified if revision.variant.name not in variants]


def given_up(run: Run | None, rollout: Rollout, specified: Sequence[Revision], now: float) -> Run | None:
    """How a run ends whose spec decides nothing any more; None where none is on its way.

    Args:
        run: The run, as it was written down.
        rollout: The rollout.
        specified: What the spec asks for.
        now: Seconds since the epoch.
    """
    if run is None or run.ended:
        return None
    name = rollout.spec.strategy.name
    cause = Cause("AnalysisRemoved", f"{name} has no analysis any more")
    if name == "static":
        cause = Cause("StrategyChanged", "the strategy was changed to static")
    state: State = "Completed"
    reason, message = str(cause.reason), cause.message
    if run.returns:
        state, reason, message = RETURNS[run.state], run.reason, f"{run.message}; {message}"
    elif run.state == "Baking" and any(revision.name == run.canary for revision in specified):
        state = "Promoted"
    return replace(run, state=state, since=now, reason=reason, message=message, paused_from=None)


def counted(history: Sequence[PastRun], command: Command | None) -> Run | None:
    """A run that only says which number comes next, where runs have ended before weights were as written for a while.

    Args:
        history: The runs that have ended, the latest first.
        command: What a person asks for; that was meant for one of those runs.
    """
    if not history:
        return None
    number, answered = max(past.number for past in history), (command.id,) if command else ()
    return Run(
        number=number,
        stable="",
        canary="",
        plan="",
        state="Completed",
        started=0.0,
        since=0.0,
        previous_commands=answered,
    )


def build_inputs(
    rollout: Rollout,
    schedule: Schedule,
    specified: Sequence[Revision],
    observed: Sequence[Observed],
    run: Run | None,
    verdicts: ContractVerdicts,
    *,
    route: HTTPRoute | None,
    command: Command | None,
    deleted: bool,
) -> RunInputs:
    """What a run is decided by.

    Args:
        rollout: The rollout.
        schedule: What is planned.
        specified: What the spec asks for.
        observed: All revisions that there are.
        run: The run so far.
        verdicts: What contracts say.
        route: The HTTPRoute.
        command: What a person asks for.
        deleted: Whether the rollout is being deleted.
    """
    target = candidate(rollout, specified)
    on_its_way = run is not None and not run.ended
    stable = run.stable if run is not None and (on_its_way or run.state == "Promoted") else ""
    serves = serving(rollout, schedule, specified, observed, verdicts)
    stable = stable or serves
    canary = run.canary if run is not None and on_its_way else target.name
    weights = objects.route_weights(route)
    whole = sum(weights.values())
    return RunInputs(
        wanted=target.name,
        plan=plan_hash(rollout.spec, target.name),
        serving=serves,
        stable=_arm(rollout, stable, observed, verdicts),
        canary=_arm(rollout, canary, observed, verdicts),
        routed=round(100 * weights.get(canary, 0) / whole) if whole else None,
        edited=objects.edited(route),
        command=command,
        deleted=deleted,
    )


def _arm(rollout: Rollout, name: str, observed: Sequence[Observed], verdicts: ContractVerdicts) -> RevisionState:
    revision = next((revision for revision in observed if revision.name == name), None)
    scaling = rollout.spec.autoscaling
    most = (scaling.transformer.max_replicas, scaling.predictor.max_replicas)
    if revision is None:
        return RevisionState(most=most)
    # a container that ends may run yet; a proof that failed, and a contract, stay what they are
    failed = revision.problem if revision.fatal and revision.running else None
    return RevisionState(
        pods=(revision.transformers, revision.predictors),
        most=most,
        fit=revision.usable and not verdicts.against(name),
        rejected=verdicts.rejected.get(name) or failed,
        problem=revision.problem or verdicts.waits.get(name),
    )
