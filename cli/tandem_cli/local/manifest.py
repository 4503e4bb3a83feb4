"""The InferenceRollout of a local stack: what a model package says of rollouts, as a manifest for a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tandem_cli.local.processes import StackError
from tandem_rollout import API_VERSION, KIND
from tandem_rollout.fields import InvalidSpecError
from tandem_rollout.manifest import parse
from tandem_rollout.messages import did_you_mean

NAMESPACE: Final = "local"

CANARY: Final[dict[str, Any]] = {
    "steps": [{"weight": 10, "hold": "10s"}, {"weight": 50, "hold": "10s"}],
    "bake": "10s",
    "progressDeadline": "1m",
}
"""Nobody waits for minutes at a laptop."""

ANALYSIS: Final[dict[str, Any]] = {"interval": "2s", "warmup": "2s", "timeout": "15m", "source": "pods"}

_LONGEST_NAME: Final = 22


def rollout_name(model: str) -> str:
    """The name of a model as the name of a rollout: lower case, letters first, not too long."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"m-{plain}")[:_LONGEST_NAME].strip("-")


def make(settings: Mapping[str, Any], *, name: str, model: str, version: str) -> dict[str, Any]:
    """The manifest of a package's rollout.

    Args:
        settings: ``[tool.tandem]`` of the package. Its table ``rollout`` may have ``strategy`` and ``analysis``, in the
            words of an InferenceRollout; what it leaves out is as in :data:`CANARY` and :data:`ANALYSIS`.
        name: Name of the rollout.
        model: Name of the model.
        version: The version that is wanted.

    Raises:
        StackError: if the table makes no sense.
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
    """A manifest that asks for another version, as a further generation; the same one where it asks for it already."""
    if manifest["spec"]["bundle"]["image"] == version:
        return dict(manifest)
    metadata = {**manifest["metadata"], "generation": manifest["metadata"]["generation"] + 1}
    return {**manifest, "metadata": metadata, "spec": {**manifest["spec"], "bundle": {"image": version}}}


def _table(value: Any, name: str, known: set[str] | None = None) -> Mapping[str, Any]:
    """A table of the settings, with no other keys than those that are known here."""
    if not isinstance(value, Mapping):
        raise StackError(f"[tool.tandem.{name}] must be a table")
    if known is not None and (strange := sorted(set(value) - known)):
        hint = did_you_mean(strange[0], known)
        names = " and ".join(sorted(known))
        raise StackError(f"[tool.tandem.{name}] may have {names} here, not {', '.join(strange)}{hint}")
    return value
