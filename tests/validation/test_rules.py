"""Alerts fire when they should and only then: unit tests of the rules, run by promtool where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from .everything import of_kind

RULES = Path(__file__).parent / "rules"
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not on PATH")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart's rules as a file of Prometheus', and the tests beside it."""
    path = tmp_path_factory.mktemp("rules")
    (rule,) = [
        manifest for where, manifest in of_kind("PrometheusRule") if where.startswith("chart: tandem/default-values")
    ]
    (path / "all.yaml").write_text(yaml.safe_dump(rule["spec"]))
    # promtool compares texts word for word; what is tested is when an alert fires
    groups = [
        {**group, "rules": [{**entry, "annotations": {}} for entry in group["rules"]]}
        for group in rule["spec"]["groups"]
    ]
    (path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    for file in RULES.glob("*.yaml"):
        shutil.copy(file, path)
    return path


@needs_promtool
def test_rules_are_valid(directory: Path) -> None:
    checked = subprocess.run(
        [str(PROMTOOL), "check", "rules", "all.yaml"], cwd=directory, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
@pytest.mark.parametrize("file", sorted(RULES.glob("*.yaml")), ids=lambda file: file.stem)
def test_alerts(directory: Path, file: Path) -> None:
    run = subprocess.run([str(PROMTOOL), "test", "rules", file.name], cwd=directory, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_is_tested() -> None:
    (rule,) = [
        manifest for where, manifest in of_kind("PrometheusRule") if where.startswith("chart: tandem/default-values")
    ]
    alerts = {entry["alert"] for group in rule["spec"]["groups"] for entry in group["rules"] if "alert" in entry}
    tested = {
        case["alertname"]
        for file in RULES.glob("*.yaml")
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert alerts == tested
