"""``tandem rollout simulate``: what it shows of good and bad versions, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from tandem_cli.errors import ErrorPrintingGroup
from tandem_cli.rollout.commands.simulate import simulate_rollouts

app = typer.Typer(cls=ErrorPrintingGroup, pretty_exceptions_enable=False)
app.command("simulate")(simulate_rollouts)
app.command("other")(lambda: None)

FEW = ("--rollouts", "60", "--rps", "200", "--error-rate", "0.02")
MANIFEST: dict[str, Any] = {
    "apiVersion": "tandem-serving.io/v1alpha1",
    "kind": "InferenceRollout",
    "metadata": {"name": "est"},
    "spec": {
        "bundle": {"image": "athlete:v1"},
        "strategy": {"canary": {"steps": [{"weight": 5, "minDuration": "30s"}, {"weight": 20, "pause": True}]}},
        "analysis": {"metrics": [{"type": "errors"}], "timeout": "6h", "onTimeout": "abort"},
    },
}


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *words])


def manifest(tmp_path: Path, **spec: object) -> str:
    file = tmp_path / "rollout.yaml"
    file.write_text(yaml.safe_dump({**MANIFEST, "spec": {**MANIFEST["spec"], **spec}}))
    return str(file)


def test_good_versions_and_bad_ones_in_a_table() -> None:
    result = run(*FEW, "--degraded-rate", "0.02")
    assert result.exit_code == 0
    rows = {line.split("  ")[0].strip(): line for line in result.stdout.splitlines()[-4:]}
    assert list(rows) == ["as good", "×1.5", "×2", "×5"]
    assert "100.0%" in rows["×5"]
    assert "errors 2.000%" in result.stdout


def test_steps_and_limits_are_those_of_the_manifest(tmp_path: Path) -> None:
    document = json.loads(run(manifest(tmp_path), *FEW, "-o", "json").stdout)
    assert (document["name"], document["weights"]) == ("est", [5, 20])
    assert (document["timeoutSeconds"], document["onTimeout"]) == (6 * 3600.0, "abort")
    assert document["rates"] == {"errors": 0.02}
    good, *_, bad = document["canaries"]
    assert (good["ratio"], bad["ratio"]) == (1.0, 5.0)
    assert good["promoted"] > 0.9
    assert bad["rolledBack"] == 1.0
    assert bad["requests"]["median"] <= bad["requests"]["p90"]
    assert bad["minutes"]["median"] < good["minutes"]["median"]


def test_the_same_seed_gives_the_same_numbers() -> None:
    output, rerun, other_seed = (run(*FEW, "--seed", seed, "-o", "json").stdout for seed in ("3", "3", "4"))
    assert output == rerun
    assert output != other_seed


def test_versions_may_be_worse_by_another_metric() -> None:
    document = json.loads(run(*FEW, "--worse", "latency", "--slow-rate", "0.1", "-o", "json").stdout)
    assert document["worse"] == "latency"
    assert document["rates"]["latency"] == 0.1
    assert document["canaries"][-1]["rolledBack"] == 1.0


def test_predictions_may_be_apart(tmp_path: Path) -> None:
    assert run("--worse", "drift", "--rollouts", "30", "--rps", "200").exit_code == 0
    file = manifest(tmp_path, analysis={"metrics": [{"type": "drift", "limit": 0.2}], "timeout": "6h"})
    document = json.loads(run(file, *FEW, "-o", "json").stdout)
    assert (document["worse"], document["decides"], document["limit"], document["rates"]) == ("drift", True, 0.2, {})
    ends = {canary["ratio"]: (canary["promoted"], canary["rolledBack"]) for canary in document["canaries"]}
    assert ends == {0.0: (1.0, 0.0), 0.6: (1.0, 0.0), 1.5: (0.0, 1.0), 2.0: (0.0, 1.0), 5.0: (0.0, 1.0)}


def test_what_is_only_reported_rolls_nothing_back(tmp_path: Path) -> None:
    metrics = [{"type": "errors"}, {"type": "drift", "gate": False}]
    file = manifest(tmp_path, analysis={"metrics": metrics, "timeout": "6h"})
    words = (file, *FEW, "--worse", "drift")
    assert {canary["rolledBack"] for canary in json.loads(run(*words, "-o", "json").stdout)["canaries"]} == {0.0}
    assert "drift is only reported (gate: false)" in run(*words).stdout


def test_ratios_of_ones_own_need_a_rate(tmp_path: Path) -> None:
    requests, events = (f'{name}_total{{service="$inferenceservice"}}' for name in ("orders", "refunds"))
    metric = {"type": "ratio", "name": "refunds", "requests": requests, "events": events}
    file = manifest(tmp_path, analysis={"metrics": [metric], "timeout": "6h"})
    result = run(file, *FEW)
    assert result.exit_code == 2
    assert "--rate refunds=RATE" in result.stderr
    rates = json.loads(run(file, *FEW, "--rate", "refunds=0.05", "-o", "json").stdout)["rates"]
    assert rates == {"refunds": 0.05}


def test_what_was_not_decided_in_time_is_said(tmp_path: Path) -> None:
    slow = manifest(tmp_path, analysis={"metrics": [{"type": "errors"}], "timeout": "5m"})
    document = json.loads(run(slow, "--rollouts", "30", "--rps", "1", "-o", "json").stdout)
    assert [canary["undecided"] for canary in document["canaries"][:2]] == [1.0, 1.0]
    assert document["canaries"][0]["requests"] is None
    assert run(slow, "--rollouts", "30", "--rps", "1").exit_code == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"strategy": {"blueGreen": {"active": "blue"}}}, "only the strategy canary can be simulated"),
        ({"analysis": {"metrics": [{"type": "errors", "gate": False}]}}, "no metric decides"),
    ],
)
def test_manifests_that_cannot_be_simulated(tmp_path: Path, spec: dict[str, Any], message: str) -> None:
    if "blueGreen" in spec.get("strategy", {}):
        spec = {
            **spec,
            "bundle": None,
            "variants": [{"name": colour, "bundle": {"image": colour}} for colour in ("blue", "green")],
        }
        spec = {**spec, "analysis": None}
    result = run(manifest(tmp_path, **spec), *FEW)
    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", "nothing=0.1"], "must be one of degraded, errors"),
        (["--rate", "errors=2"], "with a rate from 0 to 0.9"),
        (["--rate", "errors"], "with a rate from 0 to 0.9"),
        (["--worse", "nothing"], "must be one of errors"),
        (["nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_command_lines_that_make_no_sense(words: list[str], message: str) -> None:
    result = run(*words, *FEW)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
