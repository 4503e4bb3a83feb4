"""What ``make manifests`` makes is what is committed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from charts.dashboards.__main__ import DIRECTORY, files
from tests.charts.rendered import CHARTS, MANIFESTS, ROOT, Objects, kustomize, overlays, template

from tandem_cli.output import dump_yaml
from tandem_rollout import KIND
from tandem_rollout.api.crd import build_crds


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def identity(manifest: dict[str, Any]) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def without_helm(node: Any) -> Any:
    """An object without the labels and annotations that only mean something to Helm."""
    helm = ("helm.sh/chart", "app.kubernetes.io/managed-by", "helm.sh/resource-policy")
    if isinstance(node, dict):
        members = {key: without_helm(value) for key, value in node.items() if key not in helm}
        return {key: value for key, value in members.items() if not (key == "annotations" and value == {})}
    return [without_helm(own) for own in node] if isinstance(node, list) else node


def test_the_crd() -> None:
    assert (CHARTS / "tandem" / "files" / "crd.yaml").read_text() == dump_yaml(build_crds()), "run make manifests"


def test_the_schema_of_the_model() -> None:
    assert (CHARTS / "model" / "values.schema.json").read_text() == script(CHARTS / "model_schema.py").text()


def test_the_dashboards() -> None:
    committed = {path.name: path.read_text() for path in DIRECTORY.iterdir()}
    assert committed == files(), "run make manifests"


def test_the_manifests() -> None:
    rendered = script(MANIFESTS / "generate.py").files()
    there = {
        str(path.relative_to(MANIFESTS)): path.read_text()
        for folder in ("platform", "plain")
        for path in (MANIFESTS / folder).rglob("*.yaml")
    }
    assert there.keys() == rendered.keys()
    for name, text in rendered.items():
        assert there[name] == text, f"manifests/{name} is not up to date: run make manifests"


def test_the_readmes_of_the_charts() -> None:
    command = [sys.executable, CHARTS / "values_docs.py", CHARTS / "tandem", CHARTS / "model", "--check"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout


@pytest.mark.parametrize("chart", ["tandem", "model"])
def test_every_value_is_described(chart: str) -> None:
    module = script(CHARTS / "values_docs.py")
    assert module.undocumented((CHARTS / chart / "values.yaml").read_text()) == []


# what `helm-docs --sort-values-order file` (1.14) wrote of a chart with these values
VALUES = """\
image:
  # -- Its tag,
  # in two lines.
  # @section -- Images
  tag: 1.5
  # -- Its name.
  # @section -- Images
  name: "x<y>&"
# -- Names.
# @section -- More
more: [1, {z: "ü", a: 0.05}]
# -- Whether.
# @default -- as `image` says
# @section -- Images
flag: false
"""
TABLES = """\
## Values

### Images

| Key | Type | Default | Description |
|-----|------|---------|-------------|
| image.tag | float | `1.5` | Its tag, in two lines. |
| image.name | string | `"x<y>&"` | Its name. |
| flag | bool | as `image` says | Whether. |

### More

| Key | Type | Default | Description |
|-----|------|---------|-------------|
| more | list | `[1,{"a":0.05,"z":"ü"}]` | Names. |
"""


def test_a_readme_that_is_not_up_to_date_is_found(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(VALUES)
    (tmp_path / "README.md.gotmpl").write_text('# x\n\n{{ template "chart.valuesSection" . }}\n')
    (tmp_path / "README.md").write_text("# x\n")
    command = [sys.executable, CHARTS / "values_docs.py", tmp_path]
    assert subprocess.run([*command, "--check"], check=False, capture_output=True).returncode == 1
    assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run([*command, "--check"], check=False).returncode == 0
    assert (tmp_path / "README.md").read_text() == f"# x\n\n{TABLES}"


def test_a_value_without_a_section_is_refused() -> None:
    with pytest.raises(ValueError, match="a has no section"):
        script(CHARTS / "values_docs.py").tables("# -- What.\na: 1\n")


@pytest.mark.parametrize("chart", ["tandem", "model"])
def test_helm_docs_would_write_the_same(chart: str) -> None:
    """No part of its format is used that ours does not know, and no text that is a template or breaks a table."""
    module = script(CHARTS / "values_docs.py")
    values = (CHARTS / chart / "values.yaml").read_text()
    tags = set(re.findall(r"^ *# (@\w+)", values, re.MULTILINE))
    assert tags <= {"@default", "@section"}
    assert not any("|" in value.text + value.default for value in module.values(values))
    assert (CHARTS / chart / "README.md.gotmpl").read_text().count("{{") == 1


# what is in them, seen from the other side


def test_the_platform_is_the_chart() -> None:
    objects = {identity(manifest): without_helm(manifest) for manifest in kustomize(MANIFESTS / "platform")}
    namespace = objects.pop(("Namespace", "", "tandem-system"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert objects == {identity(manifest): without_helm(manifest) for manifest in template("tandem")}
    assert "helm" not in (MANIFESTS / "platform" / "controller.yaml").read_text().lower()


@pytest.mark.parametrize("overlay", ["single", "ab"])
def test_plain_objects_are_what_tandem_render_prints(overlay: str) -> None:
    rollouts = [manifest for manifest in overlays()[overlay] if manifest["kind"] == KIND]
    command = [Path(sys.executable).with_name("tandem"), "render", "-"]
    process = subprocess.run(command, input=dump_yaml(rollouts), capture_output=True, text=True, check=True)
    rendered = [manifest for manifest in yaml.safe_load_all(process.stdout) if manifest]
    plain = [manifest for manifest in kustomize(MANIFESTS / "plain" / overlay) if manifest["kind"] != "Namespace"]
    assert sorted(map(identity, plain)) == sorted(map(identity, rendered))
    by_identity = {identity(manifest): manifest for manifest in plain}
    assert all(by_identity[identity(manifest)] == manifest for manifest in rendered)
    assert KIND not in {manifest["kind"] for manifest in plain}


@pytest.mark.parametrize("overlay", ["single", "ab"])
def test_plain_objects_route_versioned_paths(overlay: str) -> None:
    objects: Objects = kustomize(MANIFESTS / "plain" / overlay)
    routes = [manifest for manifest in objects if manifest["kind"] == "HTTPRoute"]
    rules = [rule for route in routes for rule in route["spec"]["rules"]]
    paths = {match["path"]["value"] for rule in rules for match in rule["matches"]}
    variants = [manifest for manifest in objects if manifest["kind"] == "InferenceService"]
    for number, _ in enumerate(variants, start=1):
        assert f"/v2/models/time-estimator/versions/v{number}" in paths


def test_make_runs_every_script() -> None:
    text = (ROOT / "Makefile").read_text().partition("\nmanifests:")[2].partition("\n\n")[0]
    scripts = [*CHARTS.glob("*.py"), MANIFESTS / "generate.py"]
    assert all(str(path.relative_to(ROOT)) in text for path in scripts)
    assert "python -m charts.dashboards" in text
