"""Conditions of the status, as in ``metav1.Condition``."""

from __future__ import annotations

from typing import Literal

from tandem_rollout.api.status import Condition, RolloutStatus
from tandem_rollout.api.times import stamp


def set_condition(
    before: RolloutStatus, kind: str, holds: bool, *, reason: str, message: str, generation: int, now: float
) -> Condition:
    """A condition with the time of its last transition.

    Args:
        before: The previous status.
        kind: Type of the condition.
        holds: Whether the status of the condition is True.
        reason: Machine-readable reason.
        message: Human-readable message.
        generation: Generation of the rollout that the condition is set for.
        now: Seconds since the epoch.
    """
    status: Literal["True", "False"] = "True" if holds else "False"
    # by the conventions of Kubernetes the time changes with the status only, not with reason or message
    since = {(old.type, old.status): old.last_transition_time for old in before.conditions}
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=since.get((kind, status)) or stamp(now),
        observed_generation=generation,
    )
