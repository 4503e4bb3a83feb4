"""`tandem rollout status` and `history`."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tandem_cli.rollout.output.documents.status import MetricEntry
from tandem_cli.rollout.output.screen.layout import render_text
from tandem_cli.rollout.output.screen.status import render_status
from tandem_cli.rollout.snapshot import read_snapshot
from tandem_cli.rollout.status import build_status
from tandem_rollout.analysis.record import Record

from .conftest import Tandem
from .world import NOW, Clock, FakeTarget, manifest, record, spec


@pytest.fixture(autouse=True)
def running(target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={})
    target.records["est", 1] = record(target.manifests["est"])


def row(output: str, name: str) -> str:
    return next(line for line in output.splitlines() if line.startswith(name))


def test_where_a_run_stands(tandem: Tandem) -> None:
    result = tandem("status", "est")
    assert result.exit_code == 0
    for phrase in (
        "models/est",
        "v1 -> v2",
        "Analyzing, step 1 of 2, 2m ago",
        "set to 10 % of the requests, measured 9.8 %",
        "2027-01-15T08:51:00Z, in 51m",
    ):
        assert phrase in result.stdout


def test_the_alias_that_a_rollout_follows(tandem: Tandem, target: FakeTarget) -> None:
    assert json.loads(tandem("status", "est", "-o", "json").stdout)["registry"] is None
    registry = {"model": "est", "alias": "champion", "version": 3, "digest": "0123456789" * 6 + "abcd"}
    target.manifests["est"] = manifest(run={}, status={"registry": registry})
    assert "models:/est@champion is version 3, 01234567\n" in tandem("status", "est").stdout
    cause = {"reason": "RegistryUnreachable", "message": "connection refused"}
    target.manifests["est"] = manifest(run={}, status={"registry": {**registry, **cause}})
    assert "version 3, 01234567; connection refused" in tandem("status", "est").stdout
    assert json.loads(tandem("status", "est", "-o", "json").stdout)["registry"] == {**registry, **cause}


def test_what_each_metric_says(tandem: Tandem, target: FakeTarget) -> None:
    target.records["est", 1] = record(target.manifests["est"], ticks=10, bad=1.5)
    errors = row(tandem("status", "est").stdout, "errors")
    for phrase in ("0.500% (18k)", "0.750% (2000)", "1.50 (", "x2", "inconclusive"):
        assert phrase in errors
    assert int(errors.split()[-1].replace("k", "000").split(".")[0]) > 1000


def test_metrics_that_only_report_are_marked(tandem: Tandem) -> None:
    output = tandem("status", "est").stdout
    assert "degraded*" in output
    assert "* only reported" in output


def test_all_numbers_are_written_out_where_there_is_room(tandem: Tandem) -> None:
    output = tandem("status", "est", "-o", "wide").stdout
    assert "0.500% (72,000)" in output
    assert "v1 (est-main-1111) -> v2 (est-main-2222)" in output


def test_without_evidence_the_status_speaks(tandem: Tandem, target: FakeTarget) -> None:
    target.records.clear()
    target.manifests["est"]["status"]["metrics"] = [
        {"name": "errors", "verdict": "inconclusive", "summary": "1.00% of 20"}
    ]
    assert "errors: inconclusive, 1.00% of 20" in tandem("status", "est").stdout


def test_evidence_for_other_margins_is_not_judged_by_the_present_ones(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"]["spec"] = spec(analysis={"metrics": [{"type": "errors", "margin": 1.2}]})
    target.manifests["est"]["status"]["metrics"] = [{"name": "errors", "verdict": "pass", "summary": "said before"}]
    assert "errors: pass, said before" in tandem("status", "est").stdout


def test_a_rollout_of_a_newer_version_is_shown_all_the_same(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"]["spec"]["novel"] = {}
    result = tandem("status", "est")
    assert (result.exit_code, "novel" in result.stdout, "Analyzing" in result.stdout) == (0, True, True)


def test_a_status_that_makes_no_sense(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"]["status"]["run"]["weight"] = "much"
    result = tandem("status", "est")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the status of est is not valid")
    assert "hint: " in result.stderr


def test_an_old_status_is_told(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"]["metadata"]["generation"] = 4
    assert "has not observed the latest spec" in tandem("status", "est").stdout


def test_before_the_first_run(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(status={"reason": "PodsNotReady", "message": "waiting for a ready transformer"})
    result = tandem("status", "est")
    assert (result.exit_code, "none yet" in result.stdout) == (0, True)
    assert "waiting for a ready transformer" in result.stdout


def test_control_characters_do_not_reach_the_terminal(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"]["status"]["run"]["message"] = "\x1b]0;owned\x07\x1b[2Jgone"
    for output in ("table", "wide"):
        text = tandem("status", "est", "-o", output).stdout
        assert "\x1b" not in text
        assert "gone" in text


def test_markup_is_text(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"]["status"]["run"]["message"] = "[red]no[/red] [/]"
    assert "[red]no[/red] [/]" in tandem("status", "est").stdout


# documents

STATUS_KEYS = {
    "apiVersion",
    "kind",
    "name",
    "namespace",
    "strategy",
    "weights",
    "reason",
    "message",
    "current",
    "registry",
    "run",
    "metrics",
    "exitCode",
}


def test_the_document(tandem: Tandem) -> None:
    document = json.loads(tandem("status", "est", "-o", "json").stdout)
    assert document.keys() == STATUS_KEYS
    assert (document["apiVersion"], document["kind"]) == ("cli.tandem-serving.io/v1", "RolloutStatus")
    assert (document["run"]["state"], document["run"]["step"], document["run"]["weight"]) == ("Analyzing", 1, 10)
    assert document["run"]["canary"] == {"service": "est-main-2222", "version": "v2"}
    errors = document["metrics"][0]
    assert (errors["name"], errors["verdict"], errors["canaryRequests"]) == ("errors", "pass", 8000)
    assert errors["ratioLow"] < errors["ratio"] < errors["ratioHigh"]
    assert yaml.safe_load(tandem("status", "est", "-o", "yaml").stdout) == document


def test_what_is_not_known_is_null(tandem: Tandem, target: FakeTarget) -> None:
    target.records["est", 1] = Record(run=1, plan="p")
    document = json.loads(tandem("status", "est", "-o", "json").stdout)
    assert {metric["verdict"] for metric in document["metrics"]} == {"no-data"}
    assert (
        document["metrics"][0]["ratio"] is document["metrics"][0]["canary"] is document["metrics"][0]["needed"] is None
    )


def test_all_rollouts(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["other"] = manifest(metadata={"name": "other", "namespace": "models"})
    result = tandem("status")
    assert row(result.stdout, "est").split()[1:6] == ["1", "Analyzing", "1/2", "10%", "9.8%"]
    assert "other" in result.stdout
    listed = json.loads(tandem("status", "-o", "json").stdout)
    assert (listed["kind"], len(listed["items"])) == ("RolloutStatusList", 2)
    assert listed["items"][0].keys() == STATUS_KEYS


def test_no_rollouts(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests.clear()
    assert "no rollouts found" in tandem("status").stdout
    assert json.loads(tandem("status", "-o", "json").stdout)["items"] == []


# exit codes


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("Promoted", 0),
        ("Completed", 0),
        ("Aborting", 3),
        ("Aborted", 3),
        ("RollingBack", 3),
        ("RolledBack", 3),
        ("Preparing", 4),
        ("Analyzing", 4),
        ("Scaling", 4),
        ("Baking", 4),
        ("Observing", 4),
        ("Paused", 5),
        ("AwaitingApproval", 5),
    ],
)
def test_the_exit_code_tells_the_state_when_asked_to(tandem: Tandem, target: FakeTarget, state: str, code: int) -> None:
    target.manifests["est"] = manifest(run={"state": state})
    assert tandem("status", "est").exit_code == 0
    assert tandem("status", "est", "--exit-code").exit_code == code
    assert json.loads(tandem("status", "est", "-o", "json").stdout)["exitCode"] == code


def test_a_rollout_that_is_not_there(tandem: Tandem) -> None:
    result = tandem("status", "nobody")
    assert (result.exit_code, result.stderr) == (1, "error: there is no nobody\nhint: look elsewhere\n")


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--exit-code"),
        ("status", "--wait-for", "promoted"),
        ("status", "est", "--wait-for", "happiness"),
        ("status", "est", "--wait-for", "promoted", "--timeout", "soon"),
        ("status", "est", "-o", "xml"),
        ("status", "est", "--every", "1s"),
        ("destroy", "est"),
    ],
)
def test_command_lines_that_make_no_sense(tandem: Tandem, words: tuple[str, ...]) -> None:
    assert tandem(*words).exit_code == 2


# waiting


def later(target: FakeTarget, clock: Clock, **run: Any) -> None:
    def change() -> None:
        target.manifests["est"]["status"]["run"].update(run)

    clock.after(30, change)


@pytest.mark.parametrize(
    ("goal", "becomes", "code"),
    [
        ("promoted", "Promoted", 0),
        ("promoted", "Aborted", 3),
        ("promoted", "RolledBack", 3),
        ("rolled-back", "RolledBack", 0),
        ("rolled-back", "RollingBack", 4),
        ("rolled-back", "Aborted", 3),
        ("ended", "RolledBack", 3),
        ("promoted", "Paused", 5),
        ("promoted", "AwaitingApproval", 5),
        ("promoted", "Scaling", 4),
        ("promoted", "Baking", 4),
        ("promoted", "Completed", 1),
        ("baking", "Baking", 0),
        ("baking", "Promoted", 0),
        ("aborted", "Aborted", 0),
        ("aborted", "Promoted", 1),
        ("paused", "Paused", 0),
        ("analyzing", "Analyzing", 0),
        ("awaiting-approval", "AwaitingApproval", 0),
        ("ended", "Promoted", 0),
        ("ended", "Aborted", 3),
        ("completed", "Completed", 0),
    ],
)
def test_waiting_for_a_state(
    tandem: Tandem, target: FakeTarget, clock: Clock, goal: str, becomes: str, code: int
) -> None:
    later(target, clock, state=becomes)
    result = tandem("status", "est", "--wait-for", goal, "--timeout", "1m")
    assert result.exit_code == code
    assert becomes in result.stdout
    assert clock.now <= NOW + 60


def test_a_run_of_an_older_spec_is_not_taken_for_the_one_that_is_waited_for(
    tandem: Tandem, target: FakeTarget, clock: Clock
) -> None:
    target.manifests["est"] = manifest(run={"state": "Promoted"}, status={"observedGeneration": 2})

    def see() -> None:
        target.manifests["est"]["status"]["observedGeneration"] = 3
        target.manifests["est"]["status"]["run"].update(number=2, state="Aborted")

    clock.after(20, see)
    assert tandem("status", "est", "--wait-for", "promoted", "--timeout", "1m").exit_code == 3


# history


def test_who_started_a_run_and_why(tandem: Tandem, target: FakeTarget) -> None:
    begun = {"startedBy": "bob", "startComment": "new features"}
    past = {"number": 1, "outcome": "RolledBack", "stable": "est-main-1111", "canary": "est-main-0000", **begun}
    target.manifests["est"] = manifest(run={"number": 2, **begun}, status={"history": [past]})
    assert "by bob: new features" in tandem("status", "est").stdout
    assert tandem("history", "est", "-o", "wide").stdout.count("started by bob: new features") == 2
    run = json.loads(tandem("status", "est", "-o", "json").stdout)["run"]
    runs = json.loads(tandem("history", "est", "-o", "json").stdout)["runs"]
    assert {(entry["startedBy"], entry["startComment"]) for entry in (run, *runs)} == {("bob", "new features")}
    for number in ("1", "2"):
        report = tandem("report", "est", number).stdout
        assert "| started by | bob |" in report and "| why it was started | new features |" in report


def test_history(tandem: Tandem, target: FakeTarget) -> None:
    past = {
        "number": 1,
        "outcome": "Aborted",
        "stable": "est-main-1111",
        "canary": "est-main-0000",
        "version": "v1.5",
        "started": "2027-01-15T06:00:00Z",
        "ended": "2027-01-15T06:05:00Z",
        "reason": "AbortedByUser",
        "message": "aborted by ann: it is slow",
        "by": "ann",
    }
    target.manifests["est"] = manifest(run={"number": 2}, status={"history": [past]})
    lines = tandem("history", "est").stdout.splitlines()
    assert lines[1].split()[:4] == ["2", "Analyzing", "v1", "v2"]
    assert lines[2].split()[:4] == ["1", "Aborted", "v1", "v1.5"]
    assert "5m" in lines[2] and "aborted by ann: it is slow" in lines[2]
    document = json.loads(tandem("history", "est", "-o", "json").stdout)
    assert document["kind"] == "RolloutHistory"
    assert [(run["number"], run["ended"], run["seconds"]) for run in document["runs"]] == [
        (2, None, None),
        (1, "2027-01-15T06:05:00Z", 300),
    ]


def test_history_before_the_first_run(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest()
    assert tandem("history", "est").stdout == "no run yet\n"


# the width

finite = st.floats(0, 1, allow_nan=False)
rows = st.builds(
    MetricEntry,
    name=st.from_regex(r"[a-z][-a-z0-9]{0,38}[a-z0-9]", fullmatch=True),
    type=st.sampled_from(["errors", "latency", "drift", "assignment"]),
    verdict=st.sampled_from(["pass", "fail", "inconclusive", "no-data", "provider-error"]),
    gate=st.booleans(),
    stable=st.none() | finite,
    canary=st.none() | finite,
    stable_requests=st.none() | st.floats(0, 1e12),
    canary_requests=st.none() | st.floats(0, 1e12),
    ratio=st.none() | st.floats(0, 100),
    ratio_low=st.none() | st.floats(0, 100),
    ratio_high=st.none() | st.floats(0, 100),
    limit=st.sampled_from(["x2", "x2 > 250 ms", "x100 > 12.5 ms", "PSI 0.1", "share 10.0%"]),
    needed=st.none() | st.integers(0, 10**11),
    message=st.text(max_size=200),
)


@given(st.lists(rows, max_size=6), st.text(max_size=300))
def test_a_status_fits_100_columns(forms: list[MetricEntry], words: str) -> None:
    status = build_status(read_snapshot(manifest(run={"message": words, "by": words})), None)
    shown = render_text(render_status(_with(status, forms), now=NOW))
    assert max(map(cell_len, shown.splitlines())) <= 100
    for form in forms:
        assert form.verdict[:8] in shown


def _with(status: Any, forms: list[MetricEntry]) -> Any:
    return msgspec.structs.replace(status, metrics=forms)
