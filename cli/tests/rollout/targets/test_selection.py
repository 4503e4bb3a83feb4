"""Which target is meant, and stacks of this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cli.tests.rollout.world import FakeTarget, manifest, record
from typer.testing import CliRunner

from tandem_cli.__main__ import app
from tandem_cli.rollout.context import CommandContext
from tandem_cli.rollout.targets.local import LocalTarget
from tandem_cli.rollout.targets.selection import Targets, TargetSelection
from tandem_cli.rollout.targets.stack_files import Stack, StackFiles
from tandem_cli.rollout.targets.target import NoRolloutError, Target, TargetError
from tandem_rollout.engine.run import Command

START = Command(id="1", verb="start", by="ann", comment="r")


@pytest.fixture
def stack(tmp_path: Path) -> StackFiles:
    files = StackFiles("est", tmp_path)
    files.begin(Stack(os.getpid(), "http://127.0.0.1:1", versions=("v1", "v2")), manifest(run={}))
    return files


@pytest.fixture
def targets(tmp_path: Path) -> Targets:
    def cluster(namespace: str, context: str) -> Target:
        return FakeTarget(by=f"{context}/{namespace}")

    return Targets(local=lambda: LocalTarget(tmp_path), cluster=cluster)


def test_a_stack_that_runs_here_comes_first(targets: Targets, stack: StackFiles) -> None:
    assert targets.choose(TargetSelection(), "est").place == "this machine"
    assert targets.choose(TargetSelection()).place == "this machine"
    assert targets.choose(TargetSelection(), "other").place == "a fake"


def test_a_stack_that_has_stopped_does_not(targets: Targets, stack: StackFiles) -> None:
    stack.end(os.getpid())
    assert targets.choose(TargetSelection(), "est").place == targets.choose(TargetSelection()).place == "a fake"


@pytest.mark.parametrize(
    ("where", "place"),
    [
        (TargetSelection(cluster=True), "/"),
        (TargetSelection(namespace="models"), "/models"),
        (TargetSelection(context="prod"), "prod/"),
    ],
)
def test_what_is_said_counts(targets: Targets, stack: StackFiles, where: TargetSelection, place: str) -> None:
    assert targets.choose(where, "est").user() == place


def test_a_stack_that_has_stopped_can_be_read(targets: Targets, stack: StackFiles) -> None:
    stack.write_record(record(manifest(run={})))
    stack.end(os.getpid())
    local = targets.choose(TargetSelection(local=True), "est")
    assert local.get("est")["metadata"]["name"] == "est"
    assert local.record("est", 1) is not None
    with pytest.raises(TargetError, match="is not running"):
        local.send("est", START)


def test_a_name_that_no_stack_has(targets: Targets, stack: StackFiles) -> None:
    local = targets.choose(TargetSelection(local=True), "other")
    with pytest.raises(NoRolloutError) as error:
        local.get("other")
    assert error.value.advice == "choose one of est"


def test_a_stack_hears_who_and_why(targets: Targets, stack: StackFiles) -> None:
    local = targets.choose(TargetSelection(), "est")
    local.send("est", START)
    command = stack.command()
    assert command is not None
    assert (command.command, command.version) == (START, "")
    assert "@" in local.user()


def test_a_stack_starts_versions_that_it_has(targets: Targets, stack: StackFiles) -> None:
    local = targets.choose(TargetSelection(), "est")
    local.set_bundle("est", "v2", START)
    command = stack.command()
    assert command is not None and command.version == "v2"
    with pytest.raises(TargetError, match="has no version 'v3'") as error:
        local.set_bundle("est", "v3", START)
    assert error.value.advice == "choose one of v1, v2"


def test_a_stack_has_the_versions_that_it_says(targets: Targets, stack: StackFiles, tmp_path: Path) -> None:
    local = LocalTarget(tmp_path)
    resource = manifest(run={}, status={"variants": [{"name": version} for version in ("v1", "v2")]})
    resource["spec"]["bundle"] = {"image": "v2"}
    assert (local.revision(resource), local.revision(resource, "v1")) == ("v2", "v1")
    with pytest.raises(TargetError, match="has no version 'v3'") as error:
        local.revision(resource, "v3")
    assert error.value.advice == "choose one of v1, v2"
    assert local.alive("est")
    stack.end(os.getpid())
    assert not local.alive("est")


def test_a_plan_of_a_version_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    variant = {"inferenceService": "v1", "name": "v1", "phase": "Ready", "weight": 100}
    resource = manifest(status={"variants": [variant]})
    StackFiles("est").begin(Stack(os.getpid(), "http://127.0.0.1:1", versions=("v1",)), resource)
    result = CliRunner().invoke(app, ["rollout", "plan", "est", "--version", "v9", "--rps", "10"])
    assert result.exit_code == 1
    assert "the stack 'est' has no version 'v9'\nhint: choose one of v1" in result.stderr
    assert CliRunner().invoke(app, ["rollout", "plan", "est", "--version", "v1", "--rps", "10"]).exit_code == 0


def test_the_commands_on_a_stack_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    files = StackFiles("est")
    resource = manifest(run={})
    files.begin(Stack(os.getpid(), "http://127.0.0.1:1"), resource)
    files.write_record(record(resource))
    result = CliRunner().invoke(app, ["rollout", "status", "est", "-o", "json"])
    assert json.loads(result.stdout)["metrics"][0]["canaryRequests"] == 8000
    assert "tandem rollout watch est --local" in CliRunner().invoke(app, ["rollout", "explain", "est"]).stdout

    def hear(seconds: float) -> None:
        command = files.command()
        assert command is not None
        resource["status"]["run"].update(
            lastCommand={"id": command.id, "verb": command.verb, "result": "Accepted"}, state="Aborting"
        )
        files.write_rollout(resource)

    setting = CommandContext(sleep=hear)
    aborted = CliRunner().invoke(app, ["rollout", "abort", "est", "--reason", "bad"], obj=setting)
    assert (aborted.exit_code, aborted.stdout) == (0, "abort accepted: est is Aborting\n")


def test_a_stack_is_in_no_namespace() -> None:
    assert CliRunner().invoke(app, ["rollout", "status", "est", "--local", "-n", "models"]).exit_code == 2
