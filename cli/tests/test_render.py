"""``tandem render``: what it prints, and what it says about manifests that make no sense."""

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
    found = CliRunner().invoke(app, ["render", "-n", "models", "-"], input=f"{GOOD}---\n{GOOD.replace('est}', 'two}')}")
    assert found.exit_code == 0
    objects = list(yaml.safe_load_all(found.stdout))
    assert {each["metadata"]["namespace"] for each in objects} == {"models"}
    assert {each["metadata"]["name"] for each in objects if each["kind"] == "PodMonitor"} == {"est", "two"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (GOOD, "a: [1", "this is no YAML"),
        (GOOD, "", "there is no InferenceRollout in it"),
        (GOOD, "- a", "there is no InferenceRollout in it"),
        ("bundle:", "bundel:", "est: spec: unknown field 'bundel'; did you mean 'bundle'?"),
        ('"athlete:v1"', "6", "est: spec.bundle.image: must be a string, not a whole number; put it in quotes"),
        ("{name: est}", "est", "metadata: must be a map"),
        ("{name: est}", "", "metadata.name"),
        ("{name: est}", "{name: est, namespace: 5}", "est: metadata.namespace: must be a string"),
        ("v1alpha1", "v2", "apiVersion must be tandem-serving.io/v1alpha1, not tandem-serving.io/v2"),
        ('"}}', '"}, template: {spec: {transformer: null}}}', "spec.template.spec.transformer: must be a map"),
    ],
)
def test_manifests_that_make_no_sense(tmp_path: Path, old: str, new: str, said: str) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(GOOD.replace(old, new))
    found = CliRunner().invoke(app, ["render", str(file)])
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith(f"error: {file}: ")
    assert said in found.stderr


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF\xff\xfe")
    assert "this is no YAML" in CliRunner().invoke(app, ["render", str(binary)]).stderr
    assert CliRunner().invoke(app, ["render", str(tmp_path / "nowhere.yaml")]).exit_code == 2
