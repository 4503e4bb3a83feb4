"""Rollouts of a cluster, over a socket."""

from __future__ import annotations

import base64
import getpass
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.tests.rollout.apiserver import EVIDENCE, ROLLOUTS, ApiServer, serving
from cli.tests.rollout.world import manifest, record
from typer.testing import CliRunner, Result

from tandem_cli.__main__ import app
from tandem_cli.rollout.context import CommandContext
from tandem_cli.rollout.targets.cluster import ClusterTarget
from tandem_cli.rollout.targets.target import NoRolloutError, TargetError
from tandem_rollout.analysis.packing import pack
from tandem_rollout.api.manifest import parse
from tandem_rollout.engine.run import Command
from tandem_rollout.engine.serialization import COMMAND, parse_command
from tandem_rollout.render.revision import Revision

EST = f"{ROLLOUTS}/est"
ABORT = Command(id="7", verb="abort", by="ann", comment="it is slow")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    api_server = ApiServer()
    api_server.objects[EST] = manifest(run={})
    with serving(api_server):
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": api_server.url}}],
            "users": [{"name": "kube-ann", "user": {"token": "a-secret"}}],
            "contexts": [
                {"name": "here", "context": {"cluster": "c", "user": "kube-ann", "namespace": "models"}},
                {"name": "elsewhere", "context": {"cluster": "c", "user": "kube-ann", "namespace": "empty"}},
            ],
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        yield api_server


def run(*words: str, **options: Any) -> Result:
    return CliRunner().invoke(app, ["rollout", *words], **options)


def test_a_rollout_and_its_evidence(server: ApiServer) -> None:
    evidence = record(manifest(run={}))
    packed = base64.b64encode(pack(evidence)).decode()
    server.objects[f"{EVIDENCE}/est.run-1"] = {
        "apiVersion": "tandem-serving.io/v1alpha1",
        "kind": "RolloutEvidence",
        "metadata": {"name": "est.run-1", "namespace": "models"},
        "spec": {"record": packed},
    }
    target = ClusterTarget.open()
    assert target.get("est") == server.objects[EST]
    assert target.record("est", 1) == evidence
    assert (target.record("est", 2), target.names(), target.place) == (None, ["est"], "namespace models")
    document = json.loads(run("status", "est", "-o", "json").stdout)
    assert (document["metrics"][0]["canaryRequests"], document["namespace"]) == (8000, "models")


@pytest.mark.parametrize("data", [{}, {"record": "AAAA"}, {"record": "A"}, {"record": None}])
def test_evidence_that_is_damaged_is_none(server: ApiServer, data: dict[str, Any]) -> None:
    server.objects[f"{EVIDENCE}/est.run-1"] = {"metadata": {"name": "est.run-1"}, "spec": data}
    assert ClusterTarget.open().record("est", 1) is None


def test_a_command_is_an_annotation_that_the_controller_reads(server: ApiServer) -> None:
    server.objects[EST]["metadata"]["annotations"] = {"mine": "stays"}
    ClusterTarget.open().send("est", ABORT)
    annotations = server.objects[EST]["metadata"]["annotations"]
    assert parse_command(annotations[COMMAND]) == ABORT
    assert annotations["mine"] == "stays"
    assert [(method, path) for method, path, _ in server.calls] == [("PATCH", EST)]


def test_another_bundle_takes_the_place_of_what_was_there(server: ApiServer) -> None:
    server.objects[EST]["spec"]["bundle"] = {"pvc": {"claimName": "a", "path": "b"}, "version": "v1"}
    ClusterTarget.open().set_bundle("est", "registry.example.com/est:v3", Command(id="8", verb="start"))
    assert server.objects[EST]["spec"]["bundle"] == {"image": "registry.example.com/est:v3"}
    assert server.objects[EST]["spec"]["strategy"] == manifest()["spec"]["strategy"]
    (call,) = server.calls
    assert call[2]["metadata"]["annotations"].keys() == {COMMAND}


def test_a_revision_is_named_as_the_controller_names_it(server: ApiServer) -> None:
    target = ClusterTarget.open()
    resource = target.get("est")
    rollout = parse(resource)
    (variant,) = rollout.spec.all_variants
    assert target.revision(resource) == Revision.of(rollout, variant).name
    target.set_bundle("est", "registry.example.com/est:v3", Command(id="8", verb="start"))
    after = target.get("est")
    assert (
        target.revision(after) == target.revision(resource, "registry.example.com/est:v3") != target.revision(resource)
    )


def test_an_image_that_cannot_be_one(server: ApiServer) -> None:
    result = run("plan", "est", "--bundle", "not an image", "--rps", "10")
    assert result.exit_code == 1
    assert "'not an image' is not a valid image" in result.stderr


def test_stable_is_not_started_over_a_run(server: ApiServer) -> None:
    resource = manifest(run={})
    resource["status"]["run"]["stable"] = ClusterTarget.open().revision(resource, "registry.example.com/est:v1")
    server.objects[EST] = resource
    result = run("start", "est", "--bundle", "registry.example.com/est:v1")
    assert result.exit_code == 1
    assert "already serves: it is stable in run 1" in result.stderr
    assert not [call for call in server.calls if call[0] == "PATCH"]


def test_who_asks_is_who_the_api_server_knows(server: ApiServer) -> None:
    server.user = "ann@example.com"
    assert ClusterTarget.open().user() == "ann@example.com"
    server.user = ""
    assert ClusterTarget.open().user() == "kube-ann"


def test_a_name_that_says_nothing_is_not_taken(server: ApiServer) -> None:
    config = Path(server_config())
    config.write_text(config.read_text().replace("kube-ann", "default"))
    assert ClusterTarget.open().user().startswith(f"{getpass.getuser()}@")


def server_config() -> str:
    return os.environ["KUBECONFIG"]


def test_nothing_secret_is_written(server: ApiServer) -> None:
    run("abort", "est", "--reason", "bad", "--no-wait")
    assert "a-secret" not in json.dumps(server.objects)


def test_a_command_from_end_to_end(server: ApiServer) -> None:
    def hear(seconds: float) -> None:
        command = parse_command(server.objects[EST]["metadata"]["annotations"][COMMAND])
        assert command is not None and command.by == "kube-ann"
        server.objects[EST]["status"]["run"].update(
            lastCommand={"id": command.id, "verb": command.verb, "result": "Accepted"}, state="Paused"
        )

    result = run("pause", "est", "--reason", "lunch", obj=CommandContext(sleep=hear))
    assert (result.exit_code, result.stdout) == (0, "pause accepted: est is Paused\n")


def test_advice_leads_to_the_same_cluster(server: ApiServer) -> None:
    assert "tandem rollout watch est -n models" in run("explain", "est").stdout
    output = run("explain", "est", "--context", "elsewhere", "-n", "models").stdout
    assert "tandem rollout watch est --context elsewhere -n models" in output


# what does not work


def test_a_rollout_that_is_not_there(server: ApiServer) -> None:
    result = run("status", "nobody")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is no InferenceRollout 'nobody' in namespace models\nhint: ")
    with pytest.raises(NoRolloutError):
        ClusterTarget.open(context="elsewhere").get("est")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (401, "log in"),
        (403, "get a role"),
        (429, "try again in a moment"),
        (500, "the API server rejected the request: no"),
    ],
)
def test_an_api_server_that_refuses(server: ApiServer, code: int, message: str) -> None:
    server.refusal = (code, "no")
    result = run("abort", "est")
    assert (result.exit_code, message in result.stderr) == (1, True)


def test_a_cluster_without_the_kind(server: ApiServer) -> None:
    server.refusal, server.plain = (404, "404 page not found\n"), True
    for words in (("status",), ("status", "est")):
        result = run(*words)
        assert (result.exit_code, "hint: install the chart tandem" in result.stderr) == (1, True)


def test_no_such_context(server: ApiServer) -> None:
    result = run("status", "est", "--context", "nowhere")
    assert result.exit_code == 1
    assert "'nowhere' not found\nhint: set KUBECONFIG" in result.stderr


def test_a_cluster_that_does_not_answer(server: ApiServer) -> None:
    config = Path(server_config())
    config.write_text(config.read_text().replace(server.url, "http://127.0.0.1:1"))
    with pytest.raises(TargetError, match="does not respond"):
        ClusterTarget.open().get("est")


def test_no_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    result = run("status", "est")
    assert (result.exit_code, "hint: set KUBECONFIG" in result.stderr) == (1, True)
