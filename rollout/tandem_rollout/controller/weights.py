"""Which revisions get which weights, and which may go. Pure: from what is wanted and what is seen.

The rules:

- Weight goes only to revisions that are usable. Where the revision that is wanted is not, the one that serves its
  variant now keeps the variant's weight: an edit replaces a version only when the new one has proved itself, and has
  as many pods as the old one. So it is with the variant that blue/green switches to, and with variants that take the
  place of those that are in the spec no more.
- Where nothing is usable, the present weights stay: nothing better is known.
- A revision that is not wanted any more stays for ``scaleDownDelay``, without weight.
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
    """What should be.

    Attributes:
        weights: Weight of each InferenceService that has any.
        reachable: InferenceServices that the route names, by header or version, with or without weight.
        rejected: Why a wanted InferenceService that runs gets no weight, by name.
        waits: What a wanted InferenceService that has proved itself still waits for, by name.
        min_pods: Fewest pods of transformer and predictor that a wanted InferenceService needs before it takes over.
        retired: InferenceServices that are not wanted and have no weight.
        obsolete: Those of them that may be deleted now.
    """

    weights: dict[str, int]
    reachable: tuple[str, ...]
    rejected: dict[str, Cause]
    waits: dict[str, Cause]
    min_pods: dict[str, tuple[int, int]]
    retired: tuple[str, ...]
    obsolete: tuple[str, ...]


def plan_weights(rollout: Rollout, wanted: Sequence[Revision], observed: Sequence[Observed], now: float) -> WeightPlan:
    """Weights, and what may go.

    Args:
        rollout: The rollout.
        wanted: The revisions that the spec asks for, one for each variant.
        observed: All revisions that there are.
        now: Seconds since the epoch.
    """
    states = {state.name: state for state in observed}
    against = judge_contracts(rollout, wanted, observed)
    rejected, waits = against.rejected, dict(against.waits)
    part = shares(rollout)
    carriers = {revision.name: _carrier(revision, wanted, observed, part[revision.variant.name]) for revision in wanted}
    min_pods = {
        revision.name: _min_pods(rollout, old, _portion(revision, old, part))
        for revision in wanted
        if (old := carriers[revision.name]) and old.name != revision.name
    }
    weights: dict[str, int] = {}
    own: dict[str, str] = {}
    for revision in wanted:
        variant, new, old = revision.variant.name, states.get(revision.name), carriers[revision.name]
        fit = new is not None and new.usable and new.name not in rejected and new.name not in waits
        small = new is not None and new.usable and _fewer(new, min_pods.get(new.name, (0, 0)))
        if small:
            needed = " and ".join(map(str, min_pods[revision.name]))
            message = f"waits for as many pods as the version that it replaces has ({needed})"
            waits.setdefault(revision.name, Cause("FewerPodsThanPredecessor", message))
        taker = revision.name if fit and not small else old.name if old else None
        if taker and part[variant]:
            weights[taker] = weights.get(taker, 0) + part[variant]
        if old and old.variant == variant and taker:
            own[variant] = taker
        elif fit:
            # nobody else answers those who ask for this variant, WHOEVER has its weight meanwhile
            own[variant] = revision.name
        elif there := _within_reach(revision, observed):
            own[variant] = there.name
    if not weights:
        weights = {state.name: state.weight for state in observed if state.weight}
    reachable = tuple(dict.fromkeys([*weights, *own.values()]))
    names = {revision.name for revision in wanted}
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
    wanted: Sequence[Revision],
    observed: Sequence[Observed],
    desired: Desired,
    verdicts: ContractVerdicts,
    now: float,
) -> WeightPlan:
    """The same while a run says which weights there are.

    Args:
        rollout: The rollout.
        wanted: The revisions that must be there: stable and canary, and variants that are served at a preview host.
        observed: All revisions that there are.
        desired: What the run says.
        verdicts: What keeps wanted revisions from being served.
        now: Seconds since the epoch.
    """
    states = {state.name: state for state in observed}
    weights = {name: weight for name, weight in desired.weights.items() if name in states}
    fit = [
        revision.name
        for revision in wanted
        if (state := states.get(revision.name)) and state.usable and not verdicts.against(revision.name)
    ]
    reachable = tuple(dict.fromkeys([*weights, *fit]))
    names = {revision.name for revision in wanted}
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
    """Whether a revision that is not wanted any more may be deleted."""
    return (
        not state.weight
        and state.retired_at is not None
        and state.retired_at + seconds(rollout.spec.scale_down_delay) <= now
    )


def _serving(revision: Revision, observed: Sequence[Observed]) -> Observed | None:
    """The revision that serves a variant now; what is wanted and refuted does not."""
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
    revision: Revision, wanted: Sequence[Revision], observed: Sequence[Observed], share: int
) -> Observed | None:
    """The revision that has the weight of a variant until the wanted one can take it.

    For a variant that is new that is what has all the traffic before blue/green switches to it, or what serves and is
    in the spec no more: else the other variants would get the share of one that was renamed.
    """
    if own := _serving(revision, observed):
        return own
    if not share:
        return None
    names = {wanted_revision.variant.name for wanted_revision in wanted}
    switches = revision.rollout.spec.strategy.blue_green is not None
    serving = [
        state for state in observed if state.weight and state.running and (switches or state.variant not in names)
    ]
    return max(serving, key=lambda state: state.weight, default=None)


def _within_reach(revision: Revision, observed: Sequence[Observed]) -> Observed | None:
    """The revision that those reach who ask for a variant without weight, until the wanted one can answer them."""
    own = [
        state
        for state in observed
        if state.variant == revision.variant.name and state.reached and state.running and not state.fatal
    ]
    return next(iter(own), None)


def _portion(revision: Revision, old: Observed, part: Mapping[str, int]) -> float:
    """How much a revision takes over of what an earlier one serves."""
    return 1.0 if old.variant == revision.variant.name else part[revision.variant.name] / sum(part.values())


def _min_pods(rollout: Rollout, old: Observed, portion: float) -> tuple[int, int]:
    """As many pods as the revision that is replaced has for its part, or the most that are allowed."""
    scaling = rollout.spec.autoscaling
    return (
        min(math.ceil(old.transformers * portion), scaling.transformer.max_replicas),
        min(math.ceil(old.predictors * portion), scaling.predictor.max_replicas),
    )


def _fewer(state: Observed, min_pods: tuple[int, int]) -> bool:
    return state.transformers < min_pods[0] or state.predictors < min_pods[1]
