"""`tandem rollout plan`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tandem_cli.rollout.output.words import span
from tandem_cli.rollout.training_predictions import TrainingPredictions
from tandem_rollout.api.manifest import parse
from tandem_rollout.engine.schedule import plan_hash
from tandem_rollout.runner.progress import TRIED

from .conftest import Tandem
from .world import CANARY, FakeTarget, manifest, record, spec


def warnings(document: dict[str, Any]) -> list[str]:
    """Warnings of a plan in words."""
    return [warning["message"] for warning in document["warnings"]]


@pytest.fixture(autouse=True)
def before_the_start(target: FakeTarget) -> None:
    target.manifests["est"] = manifest()


def plan(tandem: Tandem, *words: str) -> dict[str, Any]:
    result = tandem("plan", "est", *words, "-o", "json")
    assert result.exit_code == 0, result.stderr
    read: dict[str, Any] = json.loads(result.stdout)
    return read


def metric(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in document["metrics"] if entry["name"] == name)


def test_nothing_is_written(tandem: Tandem, target: FakeTarget) -> None:
    assert tandem("plan", "est", "--bundle", "a:v3", "--rps", "50").exit_code == 0
    assert (target.asked, target.bundles) == ([], [])


def test_steps_and_what_they_take(tandem: Tandem) -> None:
    document = plan(tandem, "--rps", "100", "--error-rate", "0.01")
    assert [(step["weight"], step["minDurationSeconds"], step["canaryRequests"]) for step in document["steps"]] == [
        (10, 60, 600),
        (50, 300, 15_000),
    ]
    errors = metric(document, "errors")
    assert (errors["rate"], errors["rateFrom"], errors["margin"], errors["floor"]) == (0.01, "given", 2.0, 0.002)
    assert errors["toPassMinutes"] == pytest.approx(errors["toPass"] / 50 / 60, rel=1e-3)
    assert (document["requestsPerSecond"], document["rateFrom"], document["share"]) == (100, "given", 0.5)


def test_rarer_events_and_thinner_traffic_take_longer(tandem: Tandem) -> None:
    often, seldom = (plan(tandem, "--rps", "20", "--error-rate", rate) for rate in ("0.02", "0.005"))
    assert metric(often, "errors")["toPass"] < metric(seldom, "errors")["toPass"]
    fast, slow = (plan(tandem, "--rps", rps, "--error-rate", "0.005") for rps in ("50", "5"))
    assert metric(fast, "errors")["toPass"] == metric(slow, "errors")["toPass"]
    assert fast["minutes"] < slow["minutes"]
    assert (fast["inTime"], slow["inTime"]) == (True, False)
    assert any("longer than the time-out of 1h; then: pause" in warning for warning in warnings(slow))
    assert not any("time-out" in warning for warning in warnings(fast))


SMALL = {"canary": {"steps": [{"weight": 10, "minDuration": "1m"}]}}


def warned(document: dict[str, Any], phrase: str) -> str:
    (warning,) = [message for message in warnings(document) if phrase in message]
    return str(warning)


def test_too_little_traffic_is_said_and_what_would_help(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(spec=spec(strategy=SMALL, analysis={}))
    document = plan(tandem, "--rps", "5", "--error-rate", "0.001")
    assert document["inTime"] is False
    assert warned(document, "then: pause").startswith("at 5 requests/s a good version takes about ")
    help_ = warned(document, "what would help")
    for remedy in (
        "analysis.timeout: ",
        "a last step of 50% (then about ",
        "a margin of 3 for ",
        "if such a rate is acceptable",
    ):
        assert remedy in help_


def test_what_would_help_helps(tandem: Tandem, target: FakeTarget) -> None:
    analysis: dict[str, Any] = {"metrics": [{"type": "errors"}]}
    rollout_spec = spec(strategy=SMALL, analysis=analysis)
    target.manifests["est"] = manifest(spec=rollout_spec)
    words = ("--rps", "5", "--error-rate", "0.005")
    before = plan(tandem, *words)
    help_ = warned(before, "what would help")
    hours = help_.partition("analysis.timeout: ")[2].partition("h")[0]
    changes: list[dict[str, Any]] = [
        {"strategy": {"canary": {"steps": [{"weight": 50, "minDuration": "1m"}]}}},
        {"analysis": {"metrics": [{"type": "errors", "margin": 3}]}},
        {"analysis": {"metrics": [{"type": "errors", "floor": 0.01}]}},
    ]
    for change in changes:
        target.manifests["est"] = manifest(spec={**rollout_spec, **change})
        after = plan(tandem, *words)
        assert after["minutes"] < before["minutes"]
        assert span(after["minutes"] * 60) in help_
    target.manifests["est"] = manifest(spec={**rollout_spec, "analysis": {**analysis, "timeout": f"{hours}h"}})
    after = plan(tandem, *words)
    assert after["inTime"] is True
    assert not any("time-out" in warning for warning in warnings(after))


def test_a_decision_that_hardly_comes_in_time(tandem: Tandem, target: FakeTarget) -> None:
    rollout_spec = spec(analysis={"metrics": [{"type": "errors"}]})
    target.manifests["est"] = manifest(spec=rollout_spec)
    words = ("--rps", "50", "--error-rate", "0.005")
    seconds = math.ceil(plan(tandem, *words)["minutes"] * 60) + 1
    target.manifests["est"] = manifest(
        spec={**rollout_spec, "analysis": {**rollout_spec["analysis"], "timeout": f"{seconds}s"}}
    )
    document = plan(tandem, *words)
    assert document["inTime"] is True
    assert "not much less than the time-out" in warned(document, "then: pause")


@pytest.mark.parametrize("rate", ["0", "0.3", "0.9"])
def test_there_is_always_something_that_would_help(tandem: Tandem, target: FakeTarget, rate: str) -> None:
    target.manifests["est"] = manifest(spec=spec(analysis={"metrics": [{"type": "errors"}]}))
    document = plan(tandem, "--rps", "0.01", "--error-rate", rate)
    assert "analysis.timeout: " in warned(document, "what would help")


def test_holds_are_the_least_that_it_takes(tandem: Tandem) -> None:
    # 1m and 5m of holds after 15s in which nothing is counted
    assert plan(tandem, "--rps", "100000", "--error-rate", "0.05")["minutes"] == pytest.approx(6.25)


def test_rates_are_those_of_the_last_run(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"state": "Promoted"})
    target.records["est", 1] = record(target.manifests["est"])
    document = plan(tandem)
    assert (document["requestsPerSecond"], document["rateFrom"]) == (pytest.approx(200), "measured")
    errors = metric(document, "errors")
    assert (errors["rate"], errors["rateFrom"]) == (pytest.approx(0.005, rel=0.01), "measured")
    assert metric(plan(tandem, "--error-rate", "0.1"), "errors")["rate"] == 0.1


def test_what_is_not_known_is_said(tandem: Tandem) -> None:
    document = plan(tandem)
    assert (document["requestsPerSecond"], document["minutes"], document["inTime"]) == (None, None, None)
    assert metric(document, "errors")["rateFrom"] == "assumed"
    assert any("use --rps" in warning for warning in warnings(document))
    assert any("use --error-rate" in warning for warning in warnings(document))


def test_a_metric_that_can_never_pass(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(spec=spec(analysis={"metrics": [{"type": "errors", "floor": 0.0}]}))
    document = plan(tandem, "--rps", "100", "--error-rate", "0")
    assert (metric(document, "errors")["toPass"], document["minutes"]) == (None, None)
    assert any("without a floor, a version without events never passes" in warning for warning in warnings(document))


def test_the_least_number_of_requests_counts(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(
        spec=spec(analysis={"metrics": [{"type": "errors", "minRequests": 10**6}, {"type": "drift"}]})
    )
    document = plan(tandem, "--rps", "100", "--error-rate", "0.05")
    assert (metric(document, "errors")["toPass"], metric(document, "drift")["toPass"]) == (10**6, 1000)


def test_another_bundle_is_a_diff(tandem: Tandem, target: FakeTarget) -> None:
    document = plan(tandem, "--bundle", "registry.example.com/est:v3")
    assert [line for line in document["diff"] if line[0] in "+-"] == [
        "-    image: registry.example.com/est:v2",
        "+    image: registry.example.com/est:v3",
    ]
    assert plan(tandem, "--bundle", "registry.example.com/est:v2")["diff"] == plan(tandem)["diff"] == []
    target.manifests["est"]["spec"]["bundle"] = {"pvc": {"claimName": "a", "path": "b"}, "version": "v1"}
    document = plan(tandem, "--bundle", "a:v3")
    assert {"-    version: v1", "+    image: a:v3"} <= set(document["diff"])


def test_a_run_on_its_way_would_end(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={})
    assert any("run 1 is Analyzing" in warning for warning in warnings(plan(tandem)))


def test_gates_and_promotion_without_evidence_are_pointed_out(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(
        spec=spec(
            strategy={"canary": {"steps": [{"weight": 5, "pause": True}, {"weight": 20}]}},
            analysis={"onTimeout": "promote"},
        )
    )
    document = plan(tandem)
    assert "step 1 waits for approval" in warnings(document)
    assert any("onTimeout is promote" in warning for warning in warnings(document))


def test_other_strategies_that_decide(tandem: Tandem, target: FakeTarget) -> None:
    variants = [{"name": "a", "bundle": {"image": "a:v1"}}, {"name": "b", "bundle": {"image": "a:v2"}}]
    for strategy, on_timeout in (({"blueGreen": {"active": "a"}}, "pause"), ({"shadow": {"variant": "b"}}, "report")):
        rollout_spec = {"variants": [{**variants[0], "weight": 1}, variants[1]], "strategy": strategy, "analysis": {}}
        target.manifests["est"] = manifest(spec=rollout_spec)
        document = plan(tandem, "--rps", "10")
        assert (document["onTimeout"], document["minutes"]) == (on_timeout, None)
        assert any("half of the requests" in warning for warning in warnings(document))


@pytest.mark.parametrize(
    ("rollout_spec", "message"),
    [({"bundle": {"image": "a:v1"}}, "strategy static, which has no runs"), ({"novel": 1}, "does not understand")],
)
def test_there_is_nothing_to_plan(
    tandem: Tandem, target: FakeTarget, rollout_spec: dict[str, Any], message: str
) -> None:
    target.manifests["est"] = manifest(spec=rollout_spec)
    result = tandem("plan", "est")
    assert (result.exit_code, message in result.stderr, "hint: " in result.stderr) == (1, True, True)


def test_a_plan_for_people_fits_100_columns(tandem: Tandem) -> None:
    output = tandem("plan", "est", "--rps", "100", "--error-rate", "0.01", "--bundle", "a:v3").stdout
    assert max(map(len, output.splitlines())) <= 100
    for phrase in ("canary requests", "to pass", "to fail", "+    image: a:v3", "in time"):
        assert phrase in output


def test_a_default_that_was_written_down_is_no_other_plan() -> None:
    explicit_spec = spec(strategy={"canary": {"steps": [{"weight": 10}], "bake": "".join(("5", "m"))}}, analysis=None)
    left_out = spec(strategy={"canary": {"steps": [{"weight": 10, "minDuration": "".join(("1", "m"))}]}}, analysis=None)
    plans = {plan_hash(parse(manifest(spec=rollout_spec)).spec, CANARY) for rollout_spec in (explicit_spec, left_out)}
    assert len(plans) == 1
    longer_bake = spec(strategy={"canary": {"steps": [{"weight": 10}], "bake": "6m"}}, analysis=None)
    assert plan_hash(parse(manifest(spec=longer_bake)).spec, CANARY) not in plans


def test_a_version_that_was_tried_does_not_begin_by_itself(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={"state": "Aborted"})
    target.manifests["est"]["status"] |= {"reason": "VersionTried", "message": "in whatever words"}
    assert {"reason": "VersionTried", "message": TRIED.message} in plan(tandem)["warnings"]
    assert "tandem rollout start" in TRIED.message
    assert TRIED.message not in warnings(plan(tandem, "--bundle", "a:v3"))
    target.manifests["est"]["status"] |= {"reason": "MetricsFailed", "message": TRIED.message}
    assert TRIED.message not in warnings(plan(tandem))


TRAINED = {
    "v1": TrainingPredictions((1.0, 2.0, 3.0), (2500, 2500, 2500, 2500)),
    "v2": TrainingPredictions((1.0, 2.0, 3.0), (2300, 2600, 2400, 2700)),
    "v3": TrainingPredictions((1.0, 2.0, 3.0), (900, 1900, 2900, 4300)),
    "v4": TrainingPredictions((1.0, 2.0, 5.0), (900, 1900, 2900, 4300)),
}


def of_stack(target: FakeTarget) -> None:
    """A stack whose version v1 serves."""
    serving = {"name": "v1", "inferenceService": "v1", "phase": "Ready", "weight": 100}
    target.manifests["est"] = manifest(status={"variants": [serving]})
    target.images, target.trained = False, TRAINED


def test_the_distance_to_expect_is_that_of_the_training_predictions(tandem: Tandem, target: FakeTarget) -> None:
    of_stack(target)
    near, far = (metric(plan(tandem, "--version", version), "drift") for version in ("v2", "v3"))
    assert near["distance"] == pytest.approx(0.0042, abs=1e-3)
    assert far["distance"] == pytest.approx(0.2835, abs=1e-3)
    assert (near["toPass"], near["toFail"], far["toPass"]) == (1000, None, None)
    assert far["toFail"] >= 1000
    (warning,) = (message for message in warnings(plan(tandem, "--version", "v3")) if message.startswith("drift"))
    assert "the limit is 0.1" in warning
    assert "expected" in tandem("plan", "est", "--version", "v2").stdout


@pytest.mark.parametrize("version", ["v1", "v4", "v5"])
def test_no_distance_is_expected_of_what_is_not_comparable(tandem: Tandem, target: FakeTarget, version: str) -> None:
    of_stack(target)
    drift = metric(plan(tandem, "--version", version), "drift")
    assert (drift["distance"], drift["toPass"]) == (None, 1000)


def test_one_bundle_has_no_distance(tandem: Tandem, tmp_path: Path) -> None:
    result = tandem("plan", "est", "--from-bundle", str(tmp_path))
    assert result.exit_code == 2
    assert "both bundles are required" in " ".join(result.stderr.replace("│", " ").split())
