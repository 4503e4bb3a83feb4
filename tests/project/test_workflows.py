"""The workflows parse, are pinned, and name only commands, targets and files that exist."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([-a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PROGRAMS = {
    "make",
    "python",
    "bash",
    "helm",
    "kubectl",
    "cosign",
    "gh",
    "git",
    "test",
    "mkdir",
    "tee",
    "tail",
    "eval",
    "true",
}


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans: the key ``on`` is a word. A key that is given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, "a key is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool" or first in "tTfF"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(path.read_text(), _Loader)
    return document


@dataclass(frozen=True)
class Step:
    """A step of a workflow's job."""

    workflow: str
    job: str
    values: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.workflow}:{self.job}:{self.values.get('name') or self.values.get('run') or self.values['uses']}"


def steps() -> Iterator[Step]:
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            yield from (Step(path.name, name, values) for values in job["steps"])


STEPS = list(steps())


def test_there_are_workflows_for_checks_the_cluster_a_release_and_the_docs() -> None:
    assert [path.stem for path in WORKFLOWS] == ["check", "cluster", "pages", "release"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_a_name_limits_and_no_more_rights_than_it_says(path: Path) -> None:
    workflow = load(path)
    assert workflow["name"] == path.stem
    assert workflow["on"]
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    # without it a pipeline fails only where its last command does
    assert workflow["defaults"] == {"run": {"shell": "bash"}}
    for name, job in workflow["jobs"].items():
        assert job["runs-on"] == "ubuntu-24.04", name
        assert 0 < job["timeout-minutes"] <= 120, name
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= set(workflow["jobs"]), name


def test_tests_run_on_every_supported_python() -> None:
    matrix = load(ROOT / ".github/workflows/check.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert required == f">={matrix['python'][0]}"


@pytest.mark.parametrize("step", [step for step in STEPS if "uses" in step.values], ids=str)
def test_an_action_is_pinned_by_commit_and_says_its_version(step: Step) -> None:
    reference = step.values["uses"]
    assert re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", reference)
    line = next(
        line for line in (ROOT / ".github/workflows" / step.workflow).read_text().splitlines() if reference in line
    )
    assert re.search(r"# v\d+\.\d+\.\d+$", line)


def test_an_action_has_one_version_everywhere() -> None:
    references = {step.values["uses"] for step in STEPS if "uses" in step.values}
    names = [reference.partition("@")[0] for reference in references]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("step", [step for step in STEPS if "uses" in step.values], ids=str)
def test_files_that_an_action_is_given_exist(step: Step) -> None:
    values = step.values.get("with", {})
    if step.values["uses"].startswith("helm/kind-action"):
        assert load(ROOT / values["config"])["kind"] == "Cluster"
    if "artifact" in step.values["uses"]:
        assert values["path"].startswith("build/")
    if step.values["uses"].startswith("actions/checkout"):
        assert values["persist-credentials"] is False


def commands(script: str) -> Iterator[list[str]]:
    """Words of each command of a script: of a pipeline, a list, a loop, and what is within ``$(…)``."""
    script = re.sub(r"\\\n", " ", script)
    inner = re.findall(r"\$\(((?:[^()])*)\)", script)
    for part in [*re.split(r"\n|&&|\|\||[|;]", script), *inner]:
        words = shlex.split(part.split(" # ")[0])
        while words and (words[0] in ("do", "for", "done", "{", "}") or "=" in words[0]):
            words = [] if words[0] in ("for", "done", "}") else words[1:]
        if words:
            yield words


@pytest.mark.parametrize("step", [step for step in STEPS if "run" in step.values], ids=str)
def test_commands_targets_and_files_of_a_step_exist(step: Step) -> None:
    script = step.values["run"]
    # what somebody else chose reaches a script as a variable, never as its text
    assert "${{" not in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    for words in commands(script):
        program, *arguments = words
        assert program in PROGRAMS or (ROOT / program).is_file(), words
        if program == "make":
            names = {word for word in arguments if "=" not in word and not word.startswith(("-", "$"))}
            assert names <= TARGETS, words
        if program in ("python", "bash"):
            assert (ROOT / arguments[0]).is_file(), words
        if program == "helm" and arguments[0] == "package":
            assert all((ROOT / word / "Chart.yaml").is_file() for word in arguments if word.startswith("charts/"))


def test_the_targets_of_the_cluster_tests_exist() -> None:
    workflow = load(ROOT / ".github/workflows/cluster.yml")
    assert set(workflow["on"]["workflow_dispatch"]["inputs"]["target"]["options"]) == {"e2e-core", "e2e"} <= TARGETS
    job = workflow["jobs"]["kind"]
    assert set(re.findall(r"'(e2e[-a-z]*)'", job["env"]["TARGET"])) <= TARGETS
    program, path = job["env"]["TANDEM_BUILD_IMAGE"].split()
    assert program == "bash"
    assert (ROOT / path).is_file()
    for pattern in workflow["on"]["pull_request"]["paths"]:
        assert (ROOT / pattern.removesuffix("/**")).is_dir()


def test_a_release_signs_what_it_pushes() -> None:
    jobs = load(ROOT / ".github/workflows/release.yml")["jobs"]
    assert jobs["release"]["needs"] == "verify"
    assert jobs["release"]["permissions"] == {"contents": "write", "packages": "write", "id-token": "write"}
    script = "\n".join(step.get("run", "") for step in jobs["release"]["steps"])
    assert ".ci/release " in script
    assert "cosign sign-blob" in script
    build = (ROOT / ".ci/release").read_text()
    assert "--sbom=true" in build
    assert "cosign sign " in build


def test_dependency_updates_cover_every_lock_image_and_workflow() -> None:
    updates = {update["package-ecosystem"]: update for update in load(ROOT / ".github/dependabot.yml")["updates"]}
    assert set(updates) == {"pip", "docker", "github-actions"}
    python = {f"/{path.parent.relative_to(ROOT)}".removesuffix(".") for path in ROOT.glob("*/pyproject.toml")}
    assert set(updates["pip"]["directories"]) == python | {"/", "/requirements"}
    dockerfiles = {f"/{path.parent.relative_to(ROOT)}" for path in ROOT.glob("[!.]*/**/Dockerfile")}
    assert set(updates["docker"]["directories"]) == dockerfiles


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_a_form_of_issues_has_what_github_asks_for(path: Path) -> None:
    form = load(path)
    assert {"name", "description", "body"} <= set(form)
    identifiers = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert len(identifiers) == len(set(identifiers)) > 0
    for field in form["body"]:
        assert field["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert field["attributes"].get("label") or field["type"] == "markdown"


def test_the_dev_container_makes_what_development_needs() -> None:
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert re.search(r":3\.\d+-\w+$", container["image"])
    target, hook = container["postCreateCommand"].split(" && ")
    assert target == "make .venv/.dev"
    assert hook == ".venv/bin/pre-commit install"


def test_hooks_before_a_commit_run_the_tools_of_the_environment() -> None:
    repositories = load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    for hook in repositories[0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
        program, *arguments = hook["entry"].split()
        assert (ROOT / program).exists(), program
        assert all((ROOT / word).exists() for word in arguments if word.endswith(".py"))


def test_an_image_for_kind_is_built_and_put_on_its_nodes(tmp_path: Path) -> None:
    for name in ("docker", "kind"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\n')
        program.chmod(0o755)
    command = [ROOT / "tests/cluster/kind/image", "-t", "a:e2e", "-f", "Dockerfile", "--build-arg=K=V", "."]
    subprocess.run(command, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (tmp_path / "calls").read_text().splitlines() == [
        "docker build -t a:e2e -f Dockerfile --build-arg=K=V .",
        "kind load docker-image --name tandem a:e2e",
    ]


@pytest.mark.parametrize("name", ["platform", "env", "image"])
def test_scripts_for_kind_are_right_bash(name: str) -> None:
    path = ROOT / "tests/cluster/kind" / name
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)


def test_versions_on_kind_are_those_that_the_install_guide_names() -> None:
    script = (ROOT / "tests/cluster/kind/platform").read_text()
    guide = (ROOT / "docs/kubernetes/install.md").read_text().partition("## Where it was run")[2]
    for name, shown in [
        ("KSERVE", "KServe"),
        ("ENVOY_GATEWAY", "Envoy Gateway"),
        ("KEDA", "KEDA"),
        ("PROMETHEUS_OPERATOR", "operator"),
    ]:
        (version,) = re.findall(rf"^{name}=v?(\S+)$", script, re.MULTILINE)
        assert f"{shown} {version}" in guide.replace("\n", " ")


def test_the_ranges_of_the_kind_cluster_have_routes() -> None:
    networking = load(ROOT / "tests/cluster/kind/cluster.yaml")["networking"]
    script = (ROOT / "tests/cluster/kind/env").read_text()
    assert f"{networking['podSubnet']} {networking['serviceSubnet']}" in script
