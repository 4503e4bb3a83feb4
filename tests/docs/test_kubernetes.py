"""The pages about Kubernetes: manifests parse, fields and values exist, and nothing that there is goes unsaid."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from tests.charts.rendered import template

from tandem_rollout import KIND
from tandem_rollout.api.cause import Reason
from tandem_rollout.api.crd import build_crd
from tandem_rollout.api.manifest import parse
from tandem_rollout.controller.metrics import ControllerMetrics
from tandem_rollout.render.platform import Platform

from .blocks import PAGES, ROOT, Block, blocks

OPERATIONS = ROOT / "docs/kubernetes/operations.md"
CHART = ROOT / "charts/tandem"
DOCUMENTS = [(block, yaml.safe_load(block.code)) for page in PAGES for block in blocks(page, "yaml")]
MANIFESTS = [(block, document) for block, document in DOCUMENTS if "spec" in document]
VALUES = [(block, document) for block, document in DOCUMENTS if "spec" not in document]
"""Values of the chart ``model``."""

PAGES_AND_CHARTS = [*PAGES, *sorted(ROOT.glob("charts/**/*.md")), ROOT / "manifests/README.md"]


def section(title: str) -> str:
    """A section of the page about operations, up to the next heading."""
    return OPERATIONS.read_text().partition(f"# {title}\n")[2].partition("\n#")[0]


# manifests


@pytest.mark.parametrize("block, values", VALUES, ids=lambda value: str(value) if isinstance(value, Block) else "")
def test_values_are_those_of_the_chart(block: Block, values: dict[str, Any]) -> None:
    objects = template("model", {"spec": {"bundle": {"image": "athlete:v1"}}, **values})
    assert {manifest["kind"] for manifest in objects} > {KIND}, block


@pytest.mark.parametrize("block, manifest", MANIFESTS, ids=lambda value: str(value) if isinstance(value, Block) else "")
def test_a_manifest_is_an_inferencerollout(block: Block, manifest: dict[str, Any]) -> None:
    """Whole, or a part of a spec that is merged into one."""
    if "kind" in manifest:
        assert manifest["kind"] == KIND
        assert manifest["apiVersion"] == f"{build_crd()['spec']['group']}/v1alpha1"
        parse(manifest)
        return
    assert manifest.keys() == {"spec"}, block
    whole = {} if "variants" in manifest["spec"] else {"bundle": {"image": "registry.example.com/a:v1"}}
    parse({"metadata": {"name": "time-estimator"}, "spec": whole | manifest["spec"]})


def test_the_manifest_of_the_readme_has_fifteen_lines_and_is_that_of_the_tutorial() -> None:
    (first,) = blocks(ROOT / "README.md", "yaml")
    assert len(first.code.splitlines()) == 15
    assert first.code == blocks(ROOT / "docs/kubernetes/ship-a-model.md", "yaml")[0].code


# names of fields and values in running text


@cache
def fields() -> frozenset[str]:
    """Paths of all fields of a spec."""
    schema = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    def below(own: Mapping[str, Any], path: str) -> Iterator[str]:
        yield path
        for name, inner in own.get("properties", {}).items():
            yield from below(inner, f"{path}.{name}")
        if "items" in own:
            yield from below(own["items"], path)

    return frozenset(below(schema, "spec"))


@cache
def values(chart: str) -> frozenset[str]:
    """Paths of all values of a chart."""

    def below(own: Any, path: str) -> Iterator[str]:
        yield path
        if isinstance(own, dict):
            for name, inner in own.items():
                yield from below(inner, f"{path}.{name}".lstrip("."))

    return frozenset(below(yaml.safe_load((ROOT / "charts" / chart / "values.yaml").read_text()), ""))


@pytest.mark.parametrize("page", PAGES_AND_CHARTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_fields_and_values_that_are_named_exist(page: Path) -> None:
    roots = {name.partition(".")[0] for name in values("tandem")} - {""}
    for name in set(re.findall(r"`([a-z]\w*(?:\.[a-z]\w*)+)`", page.read_text())):
        if name.endswith((".py", ".md", ".yaml", ".txt", ".json")):
            continue
        if name.startswith("spec."):
            assert name in fields(), name
        elif name.partition(".")[0] in roots:
            assert name in values("tandem")


@pytest.mark.parametrize("page", PAGES_AND_CHARTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_values_that_are_set_exist(page: Path) -> None:
    for name in re.findall(r"--set[ =]([\w.]+)=", page.read_text()):
        names = fields() if name.startswith("spec.") else values("tandem") | values("model")
        # the device plugin's chart is not ours
        assert name in names or name == "config.name", name


# the page about operations


def test_every_flag_of_the_controller_is_described_with_its_default() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tandem_rollout", "--help"], capture_output=True, text=True, check=True
    ).stdout
    flags = set(re.findall(r"--\w+", shown)) - {"--help"}
    rows = re.findall(r"^\| `(--\w+)` \| (\S+) \|", section("Flags of the controller"), re.MULTILINE)
    assert {flag for flag, _ in rows} == flags
    wanted_defaults = {
        f"--{field.name}": f"`{field.default}`" if field.default else "-" for field in dataclasses.fields(Platform)
    }
    own_defaults = {"--namespace": "all", "--lease": "`tandem-controller`", "--metrics_port": "8080"}
    assert dict(rows) == wanted_defaults | own_defaults
    source = (ROOT / "rollout/tandem_rollout/__main__.py").read_text()
    assert '"--metrics_port", type=int, default=8080' in source
    assert 'default="tandem-controller"' in source


def test_every_metric_of_the_controller_is_listed_and_no_other() -> None:
    collected = [metric for metric in ControllerMetrics().registry.collect() if metric.name.startswith("tandem_")]
    exported = {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in collected}
    listed = set(re.findall(r"^\| `(tandem_\w+)` \|", OPERATIONS.read_text(), re.MULTILINE))
    assert listed == exported != set()


def test_every_panel_of_the_dashboards_is_told_of_and_no_other() -> None:
    tables = ("\n" + section("Dashboards")).split("\n*Tandem / ")[1:]
    boards = {board["title"]: board for path in (CHART / "dashboards").glob("*.json") for board in [_json(path)]}
    assert len(tables) == len(boards)
    for table in tables:
        title, _, rest = table.partition("*")
        panels = [panel["title"] for panel in boards[f"Tandem / {title}"]["panels"] if panel["type"] != "row"]
        titles = re.findall(r"^\| (.+?) \|", rest, re.MULTILINE)
        assert [cell for cell in titles if cell not in ("panel", "---") and not cell.startswith("-")] == panels


def test_every_alert_is_listed_with_its_severity() -> None:
    template = (CHART / "templates/_rules.tpl").read_text()
    severities = re.findall(r"^(Tandem\w+):\n  severity: (\w+)$", template, re.MULTILINE)
    assert re.findall(r"^\| `(Tandem\w+)` \| (\w+) \|", section("Alerts"), re.MULTILINE) == severities != []


def test_phases_conditions_and_reasons_are_those_of_the_code() -> None:
    text = section("The status")
    status = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    for phase in status["variants"]["items"]["properties"]["phase"]["enum"]:
        assert f"| `{phase}` |" in text
    sources = ("controller/describe.py", "runner/status_parts.py")
    described = "".join((ROOT / "rollout/tandem_rollout" / source).read_text() for source in sources)
    for reason in re.findall(r"\| `(?:Ready|Valid)` \| \w+ \| `(\w+)` \|", text):
        assert f'"{reason}"' in described


def test_every_reason_is_described() -> None:
    reasons = {code for kind in get_args(Reason) for code in get_args(kind)}
    rows = re.findall(r"^\| (`[^|]+) \|", section("Reasons"), re.MULTILINE)
    assert {code for row in rows for code in re.findall(r"`(\w+)`", row)} == reasons
    # the convention of metav1.Condition
    assert all(re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", code) for code in reasons)


def test_messages_are_those_of_the_code() -> None:
    """What stands before the first word of someone else's in a message is said by the controller or a pod."""
    sources = [
        *ROOT.glob("rollout/tandem_rollout/**/*.py"),
        ROOT / "core/tandem/predictor_messages.py",
    ]
    code = " ".join(path.read_text() for path in sources)
    table = section("The status").rpartition("| message | what to do |")[2]
    beginnings = [
        re.split(r"…|: |\(|[A-Z]{4,}", message)[0].strip()
        for message in re.findall(r"^\| `(.+?)`", table, re.MULTILINE)
    ]
    messages = [message for message in beginnings if message]
    assert len(messages) >= 8
    assert [
        message for message in messages if message not in code and message != "waiting for a ready transformer"
    ] == []


def test_the_environment_of_the_cluster_tests_is_described() -> None:
    named = {
        name
        for path in (ROOT / "tests/cluster").glob("*.py")
        for name in re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", path.read_text())
    }
    listed = set(re.findall(r"^\| `([A-Z_\d]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    # make sets the first
    assert named - {"TANDEM_E2E"} <= listed


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
