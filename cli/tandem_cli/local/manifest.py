"""The InferenceRollout of a local stack: the rollout settings of a model package, as a manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tandem_cli.local.processes import StackError
from tandem_rollout import API_VERSION, KIND
from tandem_rollout.api.fields import InvalidSpecError
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.messages import did_you_mean

NAMESPACE: Final = "local"

CANARY: Final[dict[str, Any]] = {
    "steps": [{"weight": 10, "minDuration": "10s"}, {"weight": 50, "minDuration": "10s"}],
    "bake": "10s",
    "progressDeadline": "1m",
}
"""Shorter than on a cluster, since the user waits for it."""

ANALYSIS: Final[dict[str, Any]] = {"interval": "2s", "warmup": "2s", "timeout": "15m", "source": "pods"}

_LONGEST_NAME: Final = 22


def rollout_name(model: str) -> str:
    """The name of a model as the name of a rollout: lower case, letters first, not too long."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"m-{plain}")[:_LONGEST_NAME].strip("-")


def build_manifest(settings: Mapping[str, Any], *, name: str, model: str, version: str) -> dict[str, Any]:
    """The manifest of a package's rollout.

    Args:
        settings: ``[tool.tandem]`` of the package. Its table ``rollout`` may have ``strategy`` and ``analysis``, as
            in the spec of an InferenceRollout; their defaults are :data:`CANARY` and :data:`ANALYSIS`.
        name: Name of the rollout.
        model: Name of the model.
        version: The desired version.

    Raises:
        StackError: if the table is invalid.
    """
    table = _table(settings.get("rollout", {}), "rollout", {"strategy", "analysis"})
    strategy = _table(table.get("strategy", {}), "rollout.strategy", {"canary"})
    canary = _table(strategy.get("canary", {}), "rollout.strategy.canary")
    analysis = _table(table.get("analysis", {}), "rollout.analysis")
    manifest = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": NAMESPACE, "generation": 1},
        "spec": {
            "model": model,
            "bundle": {"image": version},
            "strategy": {"canary": {**CANARY, **canary}},
            "analysis": {**ANALYSIS, **analysis},
        },
    }
    try:
        spec = parse(manifest).spec
    except InvalidSpecError as error:
        raise StackError(f"[tool.tandem.rollout]: {error}") from None
    if spec.analysis is not None and any(metric.type in ("ratio", "assignment") for metric in spec.analysis.metrics):
        raise StackError("[tool.tandem.rollout.analysis]: metrics of type ratio and assignment need Prometheus")
    return manifest


def with_version(manifest: Mapping[str, Any], version: str) -> dict[str, Any]:
    """A manifest with another desired version, as the next generation; unchanged if it has this version already."""
    if manifest["spec"]["bundle"]["image"] == version:
        return dict(manifest)
    # counted as by an API server: whoever waits can tell whether the status is about this version
    metadata = {**manifest["metadata"], "generation": manifest["metadata"]["generation"] + 1}
    return {**manifest, "metadata": metadata, "spec": {**manifest["spec"], "bundle": {"image": version}}}


def _table(value: Any, name: str, keys: set[str] | None = None) -> Mapping[str, Any]:
    """A table of the settings, which may have only some keys."""
    if not isinstance(value, Mapping):
        raise StackError(f"[tool.tandem.{name}] must be a table")
    if keys is not None and (unknown := sorted(set(value) - keys)):
        hint = did_you_mean(unknown[0], keys)
        names = " and ".join(sorted(keys))
        raise StackError(f"[tool.tandem.{name}] may have {names} here, not {', '.join(unknown)}{hint}")
    return value
