"""PodDisruptionBudgets: a drained node takes one pod of a half at a time."""

from __future__ import annotations

from tandem_rollout.render.metadata import Object, made
from tandem_rollout.revision import Revision


def disruption_budgets(revision: Revision) -> list[Object]:
    """Budgets of transformer and predictor: how many may be missing, so that a single pod can be moved too."""
    return [
        made(
            "policy/v1",
            "PodDisruptionBudget",
            name,
            revision.rollout.namespace,
            revision.labels,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": {"app": f"isvc.{name}"}}},
        )
        for name in (revision.transformer, revision.predictor)
    ]
