"""The status of each variant, from what was observed and decided. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import Phase, RolloutStatus, VariantStatus
from tandem_rollout.api.times import stamp
from tandem_rollout.controller import objects
from tandem_rollout.controller.interface import WriteError
from tandem_rollout.controller.observation import Observed
from tandem_rollout.controller.weights import WeightPlan
from tandem_rollout.render.revision import Revision

_PROVEN: Final = Cause("Verified", "")


_SERVES: Final = Cause("SuccessorNotReady", "serves until its successor is ready")


_KEPT: Final = Cause("Retained", "")


_GONE: Final = Cause("NoReadyPods", "has no ready pods: a rollback to it is not possible")


_QUIET: Final[frozenset[str]] = frozenset({_PROVEN.reason, _SERVES.reason})
"""Reasons of variants that serve as desired."""


def variant_statuses(
    revisions: Sequence[Revision],
    observed: Sequence[Observed],
    plan: WeightPlan,
    errors: Mapping[str, WriteError],
    before: RolloutStatus,
    now: float,
) -> list[VariantStatus]:
    """The status of each variant: the desired revisions, the retired ones, then others that still serve.

    Args:
        revisions: The revisions of the spec.
        observed: All revisions that exist.
        plan: The decided weights.
        errors: Failed writes, by the name of the InferenceService or of the rollout.
        before: The previous status.
        now: Seconds since the epoch.
    """
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
    revision: Revision, observed: Observed, plan: WeightPlan, error: WriteError | None, exists: bool
) -> tuple[Phase, Cause]:
    """The phase of a desired revision, and its cause."""
    if observed.name in plan.rejected:
        return "Rejected", plan.rejected[observed.name]
    if observed.name in plan.waits:
        return "Pending", plan.waits[observed.name]
    if observed.phase == "Ready":
        return "Ready", error.cause if error is not None else _PROVEN
    if error is not None:
        return ("Rejected" if error.rejected or observed.fatal else "Pending"), error.cause
    waits = objects.waits_for(revision, observed.transformers, observed.predictors, exists)
    return ("Rejected" if observed.fatal else "Pending"), observed.problem or waits


def _variant_status(
    revision: Observed, phase: Phase, cause: Cause, plan: WeightPlan, earlier: Mapping[str, VariantStatus], now: float
) -> VariantStatus:
    old = earlier.get(revision.name)
    return VariantStatus(
        name=revision.variant,
        inference_service=revision.name,
        phase=phase,
        weight=plan.weights.get(revision.name, 0),
        # a controller that has just started has not repeated the verification yet
        version=revision.verification.version if revision.verification else (old.version if old else ""),
        digest=revision.verification.digest if revision.verification else (old.digest if old else ""),
        reason=cause.reason,
        message=cause.message,
        since=old.since if old and old.phase == phase else stamp(now),
    )


def worst_variant(variants: Sequence[VariantStatus]) -> tuple[str, str]:
    """Reason and message of the variant with the worst phase; empty if all variants serve as desired."""
    for phase in ("Rejected", "Pending", "Ready"):
        for variant in variants:
            if variant.phase == phase and variant.reason not in _QUIET:
                return variant.reason, f"{variant.name}: {variant.message}"
    return "", ""
