"""Rollouts for tests."""

from __future__ import annotations

from typing import Any

from tandem_rollout.api.manifest import parse
from tandem_rollout.api.spec import Rollout


def manifest(**spec: Any) -> dict[str, Any]:
    """An InferenceRollout as the API server has it; by default two variants, 90 to 10."""
    if "bundle" not in spec and "variants" not in spec:
        spec["variants"] = [
            {"name": "v1", "bundle": {"image": "athlete:v1"}, "weight": 90},
            {"name": "v2", "bundle": {"image": "athlete:v2"}, "weight": 10},
        ]
    return {
        "apiVersion": "tandem-serving.io/v1alpha1",
        "kind": "InferenceRollout",
        "metadata": {"name": "time-estimator", "namespace": "models", "uid": "u-1", "generation": 1},
        "spec": spec,
    }


def rollout(**spec: Any) -> Rollout:
    """The same, parsed."""
    return parse(manifest(**spec))
