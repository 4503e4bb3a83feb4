"""Conditions of a status, as in ``metav1.Condition``."""

from __future__ import annotations

from typing import Literal

from tandem_rollout.api.status import Condition, RolloutStatus
from tandem_rollout.api.times import stamp


def set_condition(
    before: RolloutStatus, kind: str, holds: bool, *, reason: str, message: str, generation: int, now: float
) -> Condition:
    """A condition that remembers when it changed last.

    Args:
        before: The status until now.
        kind: Type of the condition.
        holds: Whether it holds.
        reason: Why, machine-readable.
        message: Why, human-readable.
        generation: Generation of the rollout that it is about.
        now: Seconds since the epoch.
    """
    status: Literal["True", "False"] = "True" if holds else "False"
    old = next((each for each in before.conditions if each.type == kind), None)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=old.last_transition_time if old and old.status == status else stamp(now),
        observed_generation=generation,
    )
