"""``tandem render``: what it prints, and its errors for invalid manifests."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tandem_cli.__main__ import app

GOOD = """\
apiVersion: tandem-serving.io/v1alpha1
kind: InferenceRollout
metadata: {name: est}
spec: {bundle: {image: "athlete:v1"}}
"""


def test_all_rollouts_of_files_and_of_stdin() -> None:
    result = CliRunner().invoke(
        app, ["render", "-n", "models", "-"], input=f"{GOOD}---\n{GOOD.replace('est}', 'two}')}"
    )
    assert result.exit_code == 0
    objects = list(yaml.safe_load_all(result.stdout))
    assert {entry["metadata"]["namespace"] for entry in objects} == {"models"}
    assert {entry["metadata"]["name"] for entry in objects if entry["kind"] == "PodMonitor"} == {"est", "two"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD, "a: [1", "not valid YAML"),
        (GOOD, "", "contains no InferenceRollout"),
        (GOOD, "- a", "contains no InferenceRollout"),
        ("bundle:", "bundel:", "est: spec: unknown field 'bundel'; did you mean 'bundle'?"),
        ('"athlete:v1"', "6", "est: spec.bundle.image: must be a string, not a whole number; put it in quotes"),
        ("{name: est}", "est", "metadata: must be a map"),
        ("{name: est}", "", "metadata.name"),
        ("{name: est}", "{name: est, namespace: 5}", "est: metadata.namespace: must be a string"),
        ("v1alpha1", "v2", "apiVersion must be tandem-serving.io/v1alpha1, not tandem-serving.io/v2"),
        ('"}}', '"}, template: {spec: {transformer: null}}}', "spec.template.spec.transformer: must be a map"),
    ],
)
def test_manifests_that_make_no_sense(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(GOOD.replace(old, new))
    result = CliRunner().invoke(app, ["render", str(file)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {file}: ")
    assert message in result.stderr


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF\xff\xfe")
    assert "not valid YAML" in CliRunner().invoke(app, ["render", str(binary)]).stderr
    assert CliRunner().invoke(app, ["render", str(tmp_path / "nowhere.yaml")]).exit_code == 2
