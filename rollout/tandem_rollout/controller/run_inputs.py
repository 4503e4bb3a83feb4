"""The inputs of a run's decision, from the observed revisions. Pure."""

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
    """The revision that the spec specifies for the requests; for an A/B test or a shadow, the compared revision."""
    strategy = rollout.spec.strategy
    name = strategy.blue_green.active if strategy.blue_green else strategy.shadow.variant if strategy.shadow else ""
    if name:
        return next(revision for revision in specified if revision.variant.name == name)
    if strategy.ab_test:
        return next(revision for revision in reversed(specified) if revision.variant.weight)
    return specified[0]


def baseline(rollout: Rollout, specified: Sequence[Revision]) -> Revision:
    """The baseline of an A/B test or a shadow: the first revision with weight in the spec."""
    return next(revision for revision in specified if revision.variant.weight)


def serving(
    rollout: Rollout,
    schedule: Schedule,
    specified: Sequence[Revision],
    observed: Sequence[Observed],
    verdicts: ContractVerdicts,
) -> str:
    """The revision that serves; empty if there is none.

    For a schedule that observes it is the baseline, as soon as both revisions serve. The horizon begins then.
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
    """Whether a run determines the weights, and not the spec.

    Args:
        schedule: The schedule of the spec; None for a rollout without runs.
        run: The run; None before the first.
    """
    # a run that observes has no weights of its own
    if schedule is None or run is None or run.state in ("Observing", "Completed"):
        return False
    # the result of an earlier strategy does not matter if the weights of the spec apply
    return not (schedule.observes and run.ended)


def effective(
    specified: Sequence[Revision], run: Run | None, earlier: Callable[[str], Revision | None]
) -> list[Revision]:
    """The revisions that must exist.

    Args:
        specified: The revisions of the spec.
        run: The run that determines the weights; None if the spec does.
        earlier: Finds the revision of an InferenceService of an earlier spec; None if it does not exist.
    """
    if run is None:
        return list(specified)
    names = {"Promoted": [run.canary], "Aborted": [run.stable], "RolledBack": [run.stable]}.get(
        run.state, [run.stable, run.canary]
    )
    # an active run keeps its revisions, even if the spec specifies others since
    own = {revision.name: revision for revision in specified}
    revisions = [revision for name in names if (revision := own.get(name) or earlier(name)) is not None]
    # the other variants are served as specified
    variants = {revision.variant.name for revision in revisions}
    return revisions + [revision for revision in specified if revision.variant.name not in variants]


def given_up(run: Run | None, rollout: Rollout, specified: Sequence[Revision], now: float) -> Run | None:
    """The end of a run whose spec no longer has runs; None if no run is active.

    Args:
        run: The recorded run.
        rollout: The rollout.
        specified: The revisions of the spec.
        now: Seconds since the epoch.
    """
    if run is None or run.ended:
        return None
    name = rollout.spec.strategy.name
    removed = Cause("AnalysisRemoved", f"the analysis of {name} was removed")
    cause = removed if name != "static" else Cause("StrategyChanged", "the strategy was changed to static")
    state: State = "Completed"
    reason, message = str(cause.reason), cause.message
    if run.returns:
        state, reason, message = RETURNS[run.state], run.reason, f"{run.message}; {message}"
    # a canary that bakes has all requests already, but for the holdback
    elif run.state == "Baking" and any(revision.name == run.canary for revision in specified):
        state = "Promoted"
    return replace(run, state=state, since=now, reason=reason, message=message, paused_from=None)


def counted(history: Sequence[PastRun], command: Command | None) -> Run | None:
    """A placeholder for the last run of the history, which gives the next run its number.

    Args:
        history: The runs that have ended, the latest first.
        command: The last command, which was sent to one of these runs.
    """
    if not history:
        return None
    # one of these runs has answered the command: the next run must not obey it again
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
    """The inputs of a decision.

    Args:
        rollout: The rollout.
        schedule: The schedule of the spec.
        specified: The revisions of the spec.
        observed: All revisions that exist.
        run: The run.
        verdicts: Verdicts about contracts.
        route: The HTTPRoute.
        command: The last command.
        deleted: Whether the rollout is being deleted.
    """
    target = candidate(rollout, specified)
    is_active = run is not None and not run.ended
    # a promoted run can still be rolled back to its stable
    stable = run.stable if run is not None and (is_active or run.state == "Promoted") else ""
    serves = serving(rollout, schedule, specified, observed, verdicts)
    stable = stable or serves
    canary = run.canary if run is not None and is_active else target.name
    weights = objects.route_weights(route)
    whole = sum(weights.values())
    return RunInputs(
        specified=target.name,
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
    # the failure of a container may be temporary; a failed verification or a broken contract is final
    failed = revision.problem if revision.fatal and revision.running else None
    return RevisionState(
        pods=(revision.transformers, revision.predictors),
        most=most,
        fit=revision.usable and not verdicts.against(name),
        rejected=verdicts.rejected.get(name) or failed,
        problem=revision.problem or verdicts.waits.get(name),
    )
