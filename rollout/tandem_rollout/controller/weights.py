"""The weights of revisions, and the obsolete revisions. Pure.

The rules:

- Only usable revisions get weight. If the desired revision of a variant is not usable, the revision that serves the
  variant keeps its weight. A change replaces a version only when the new version is verified and has as many pods as
  the old one. The same applies to the variant that blue/green switches to, and to variants that replace removed
  variants.
- If no revision is usable, the present weights are kept.
- A revision that is no longer desired is kept for ``scaleDownDelay``, without weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.fields import seconds
from tandem_rollout.api.spec import Rollout
from tandem_rollout.controller.contracts import ContractVerdicts, judge_contracts
from tandem_rollout.controller.observation import Observed
from tandem_rollout.engine.desired import Desired
from tandem_rollout.render.revision import Revision, shares


@dataclass(frozen=True, slots=True)
class WeightPlan:
    """The planned weights. Revisions are identified by the names of their InferenceServices.

    Attributes:
        weights: Weight of each revision with weight.
        reachable: Revisions in the route, with or without weight.
        rejected: Why a desired revision that runs gets no weight, by name.
        waits: What a verified desired revision still waits for, by name.
        min_pods: Minimum numbers of transformer and predictor pods of a desired revision before it gets weight.
        retired: Revisions that are not desired and have no weight.
        obsolete: Retired revisions that may be deleted now.
    """

    weights: dict[str, int]
    reachable: tuple[str, ...]
    rejected: dict[str, Cause]
    waits: dict[str, Cause]
    min_pods: dict[str, tuple[int, int]]
    retired: tuple[str, ...]
    obsolete: tuple[str, ...]


def plan_weights(
    rollout: Rollout, specified: Sequence[Revision], observed: Sequence[Observed], now: float
) -> WeightPlan:
    """Plan the weights of the spec.

    Args:
        rollout: The rollout.
        specified: The revisions of the spec, one for each variant.
        observed: All revisions that exist.
        now: Seconds since the epoch.
    """
    states = {state.name: state for state in observed}
    against = judge_contracts(rollout, specified, observed)
    rejected, waits = against.rejected, dict(against.waits)
    part = shares(rollout)
    carriers = {
        revision.name: _carrier(revision, specified, observed, part[revision.variant.name]) for revision in specified
    }
    min_pods = {
        revision.name: _min_pods(rollout, old, _portion(revision, old, part))
        for revision in specified
        if (old := carriers[revision.name]) and old.name != revision.name
    }
    weights: dict[str, int] = {}
    own: dict[str, str] = {}
    for revision in specified:
        variant, new, old = revision.variant.name, states.get(revision.name), carriers[revision.name]
        fit = new is not None and new.usable and new.name not in rejected and new.name not in waits
        small = new is not None and new.usable and _fewer(new, min_pods.get(new.name, (0, 0)))
        if small:
            needed = " and ".join(map(str, min_pods[revision.name]))
            message = f"waiting for as many pods as the replaced version has ({needed})"
            waits.setdefault(revision.name, Cause("FewerPodsThanPredecessor", message))
        taker = revision.name if fit and not small else old.name if old else None
        if taker and part[variant]:
            weights[taker] = weights.get(taker, 0) + part[variant]
        if old and old.variant == variant and taker:
            own[variant] = taker
        elif fit:
            # it serves the requests that choose this variant, even if another revision has its weight
            own[variant] = revision.name
        elif there := _within_reach(revision, observed):
            own[variant] = there.name
    # nothing can serve: no other weights would be better, and these are right when the pods are back
    if not weights:
        weights = {state.name: state.weight for state in observed if state.weight}
    reachable = tuple(dict.fromkeys([*weights, *own.values()]))
    names = {revision.name for revision in specified}
    retired = [state for state in observed if state.name not in names and state.name not in reachable]
    return WeightPlan(
        weights,
        reachable,
        rejected,
        waits,
        min_pods,
        tuple(state.name for state in retired),
        tuple(state.name for state in retired if _expired(rollout, state, now)),
    )


def plan_run(
    rollout: Rollout,
    specified: Sequence[Revision],
    observed: Sequence[Observed],
    desired: Desired,
    verdicts: ContractVerdicts,
    now: float,
) -> WeightPlan:
    """Plan the weights of a run.

    Args:
        rollout: The rollout.
        specified: The revisions that must exist: stable, canary, and variants at a preview host.
        observed: All revisions that exist.
        desired: The desired state of the run.
        verdicts: Verdicts about contracts.
        now: Seconds since the epoch.
    """
    states = {state.name: state for state in observed}
    weights = {name: weight for name, weight in desired.weights.items() if name in states}
    fit = [
        revision.name
        for revision in specified
        if (state := states.get(revision.name)) and state.usable and not verdicts.against(revision.name)
    ]
    reachable = tuple(dict.fromkeys([*weights, *fit]))
    names = {revision.name for revision in specified}
    retired = [state for state in observed if state.name not in names and state.name not in reachable]
    return WeightPlan(
        weights,
        reachable,
        verdicts.rejected,
        verdicts.waits,
        desired.min_pods,
        tuple(state.name for state in retired),
        tuple(state.name for state in retired if _expired(rollout, state, now)),
    )


def _expired(rollout: Rollout, state: Observed, now: float) -> bool:
    """Whether a retired revision may be deleted."""
    return (
        # the weight in the cluster, which may lag behind the plan
        not state.weight
        and state.retired_at is not None
        and state.retired_at + seconds(rollout.spec.scale_down_delay) <= now
    )


def _serving(revision: Revision, observed: Sequence[Observed]) -> Observed | None:
    """The revision that serves a variant now, unless it is the desired one with a fatal problem."""
    own = [
        state
        for state in observed
        if state.variant == revision.variant.name
        and state.weight
        and state.running
        and not (state.fatal and state.name == revision.name)
    ]
    return max(own, key=lambda state: state.weight, default=None)


def _carrier(
    revision: Revision, specified: Sequence[Revision], observed: Sequence[Observed], share: int
) -> Observed | None:
    """The revision that has the weight of a variant until the desired revision can take it.

    For a new variant it is the revision that serves before blue/green switches, or that of a removed variant: otherwise
    the other variants would get the share of a renamed variant.
    """
    if own := _serving(revision, observed):
        return own
    if not share:
        return None
    names = {candidate.variant.name for candidate in specified}
    switches = revision.rollout.spec.strategy.blue_green is not None
    serving = [
        state for state in observed if state.weight and state.running and (switches or state.variant not in names)
    ]
    return max(serving, key=lambda state: state.weight, default=None)


def _within_reach(revision: Revision, observed: Sequence[Observed]) -> Observed | None:
    """The revision that serves requests that choose a variant, until the desired revision can."""
    own = [
        state
        for state in observed
        if state.variant == revision.variant.name and state.reached and state.running and not state.fatal
    ]
    return next(iter(own), None)


def _portion(revision: Revision, old: Observed, part: Mapping[str, int]) -> float:
    """The share of an earlier revision's requests that a revision takes over."""
    return 1.0 if old.variant == revision.variant.name else part[revision.variant.name] / sum(part.values())


def _min_pods(rollout: Rollout, old: Observed, portion: float) -> tuple[int, int]:
    """The pods that the replaced revision has for its share, limited by maxReplicas."""
    scaling = rollout.spec.autoscaling
    return (
        # a version must not wait for more pods than its autoscaler may create
        min(math.ceil(old.transformers * portion), scaling.transformer.max_replicas),
        min(math.ceil(old.predictors * portion), scaling.predictor.max_replicas),
    )


def _fewer(state: Observed, min_pods: tuple[int, int]) -> bool:
    return state.transformers < min_pods[0] or state.predictors < min_pods[1]
