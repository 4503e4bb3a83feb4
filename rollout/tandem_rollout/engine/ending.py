"""Why a run ends early: a change of the spec, or a fault of the canary."""

from __future__ import annotations

from typing import Final

from tandem_rollout.analysis.verdict import Verdict
from tandem_rollout.api.cause import Cause
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.run import Run

# paused runs too: a pause must not protect a canary that fails
_WITH_WEIGHT: Final = frozenset({"Analyzing", "AwaitingApproval", "Scaling", "Paused", "Baking"})
"""States in which the canary may have weight."""


def is_superseded(run: Run, inputs: RunInputs) -> bool:
    """Whether the spec specifies another version than the two of the run, or another plan."""
    if inputs.deleted or inputs.specified in ("", run.stable):
        return False
    return (inputs.specified, inputs.plan) != (run.canary, run.plan)


def obsolete_cause(run: Run, inputs: RunInputs) -> Cause | None:
    """Why the spec makes the run obsolete; None if it does not."""
    # the run ends first, and the spec begins another one
    if run.returns:
        return None
    if inputs.deleted:
        return Cause("RolloutDeleted", "the rollout is being deleted")
    if inputs.specified == run.stable:
        return Cause("SpecReverted", f"the spec specifies {run.stable} again")
    if inputs.specified != run.canary:
        return Cause("Superseded", f"superseded by {inputs.specified}")
    return Cause("PlanChanged", "superseded by another plan") if inputs.plan != run.plan else None


def fault_cause(run: Run, inputs: RunInputs) -> Cause | None:
    """Why the canary must lose its weight at once; None if it may keep it."""
    if run.returns or run.state == "Observing":
        return None
    # before the metrics, as clients get errors already
    if run.weight and not inputs.canary.running:
        return Cause("CanaryNotRunning", "the canary has weight and no ready pods")
    if inputs.canary.rejected is not None:
        return inputs.canary.rejected
    failed = inputs.decision is not None and inputs.decision.verdict is Verdict.FAIL
    if failed and inputs.decision is not None and run.state in _WITH_WEIGHT:
        return Cause("MetricsFailed", f"failed by {', '.join(inputs.decision.metrics)}")
    return None
