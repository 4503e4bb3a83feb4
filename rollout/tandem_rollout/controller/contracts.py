"""Verdicts about the contracts of revisions: whether a revision would break clients of those that serve. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tandem.compatibility import compare
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.spec import Rollout
from tandem_rollout.controller.observation import Observed
from tandem_rollout.render.revision import Revision


@dataclass(frozen=True, slots=True)
class ContractVerdicts:
    """Verdicts about the contracts of desired revisions, by name.

    Attributes:
        rejected: Why a revision is rejected.
        waits: What a verified revision still waits for.
    """

    rejected: dict[str, Cause]
    waits: dict[str, Cause]

    def against(self, name: str) -> Cause | None:
        """Why a revision may not serve; None if it may."""
        return self.rejected.get(name) or self.waits.get(name)


def judge_contracts(rollout: Rollout, specified: Sequence[Revision], observed: Sequence[Observed]) -> ContractVerdicts:
    """Compare the contracts of desired revisions with those of the revisions that serve."""
    if rollout.spec.allow_breaking_contract:
        return ContractVerdicts({}, {})
    states = {state.name: state for state in observed}
    return ContractVerdicts(_breaking(specified, states), _uncompared(specified, states))


def _uncompared(specified: Sequence[Revision], states: Mapping[str, Observed]) -> dict[str, Cause]:
    """Desired revisions that cannot be compared yet, as the contract of a serving revision is not known."""
    unknown = [
        state
        for state in states.values()
        if state.weight and state.running and not state.verification and not state.fatal
    ]
    if not unknown:
        return {}
    candidates = [
        state
        for revision in specified
        if (state := states.get(revision.name)) and state.verification and not state.weight
    ]
    cause = Cause("ContractUnknown", f"waiting for the contract of {unknown[0].name}, which serves")
    return {state.name: cause for state in candidates}


def _breaking(specified: Sequence[Revision], states: Mapping[str, Observed]) -> dict[str, Cause]:
    """Desired revisions whose contract would break clients of serving revisions, and why."""
    serving = [state for state in states.values() if state.weight and state.verification]
    if not serving:
        # no revision serves yet: the first variant of the spec sets the contract
        first = states.get(specified[0].name) if specified else None
        serving = [first] if first and first.verification else []
    rejected = {}
    for revision in specified:
        candidate = states.get(revision.name)
        # clients of a revision with weight use its contract already
        if candidate is None or candidate.verification is None or candidate.weight:
            continue
        cause = next(filter(None, (_breaks(old, candidate) for old in serving if old is not candidate)), None)
        if cause is not None:
            rejected[revision.name] = cause
    return rejected


def _breaks(old: Observed, new: Observed) -> Cause | None:
    if old.verification is None or new.verification is None:
        return None
    breaking = [
        f"{change.field}: {change.what}"
        for change in compare(old.verification.contract, new.verification.contract)
        if change.breaking
    ]
    if not breaking:
        return None
    more = f" (and {len(breaking) - 1} more)" if len(breaking) > 1 else ""
    return Cause("ContractBroken", f"its contract breaks clients of {old.name}: {breaking[0]}{more}")
