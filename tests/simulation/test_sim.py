"""``make sim``, in small: one line of figures, raw numbers, plots; and the same whoever computes what."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import binomtest

ROOT = Path(__file__).parents[2]
ONE = "errors: 2.0% at 10 %"


def sim(results: Path, *words: str) -> str:
    command = [sys.executable, "-m", "benchmarks.rollouts", "--results", str(results), *words]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict, Path]:
    results = tmp_path_factory.mktemp("sim")
    output = sim(results, "--quick", "--only", ONE, "--processes", "1")
    return output, json.loads((results / "rollouts.json").read_text()), results


def test_the_last_line_has_all_figures(quick: tuple[str, dict, Path]) -> None:
    output, report, _ = quick
    names = [
        "false_rollback",
        "false_promote",
        "healthy_promoted",
        "bad_detected",
        "samples_vs_sprt",
        "samples_vs_sprt_r5",
        "latency_vs_quantile",
        "outage_rollbacks",
        "drift_false_rollback",
        "drift_detected",
    ]
    pattern = "sim: " + " ".join(rf"{name}=[0-9.]+" for name in names).replace("quantile=[0-9.]+", "quantile=inf")
    assert re.fullmatch(pattern, output.splitlines()[-1])
    assert list(report["headline"]) == names


def test_raw_numbers_and_plots_are_written(quick: tuple[str, dict, Path]) -> None:
    output, report, results = quick
    assert [scenario["title"] for scenario in report["scenarios"]] == [
        f"2.0% at 10 %, ×{ratio}" for ratio in ("1", "1.5", "2", "5")
    ]
    for scenario in report["scenarios"]:
        assert f"errors: {scenario['title']}" in output
        ours = scenario["rules"]["tandem"]
        assert ours["rollouts"] == 400
        assert ours["promoted"] + ours["rolled_back"] + ours["taken_back"] + ours["undecided"] == 400
    for plot in ("rollouts.png", "rollouts-cost.png"):
        assert (results / plot).read_bytes().startswith(b"\x89PNG")


def test_the_figures_are_the_adverse_ends_of_wilsons_intervals(quick: tuple[str, dict, Path]) -> None:
    _, report, _ = quick
    good, _, double, _ = (scenario["rules"]["tandem"] for scenario in report["scenarios"])

    def ends(count: int) -> tuple[float, float]:
        interval = binomtest(count, 400).proportion_ci(method="wilson")
        return interval.low, interval.high

    figures = report["headline"]
    assert figures["false_rollback"] == pytest.approx(ends(good["rolled_back"] + good["taken_back"])[1], abs=1e-6)
    assert figures["healthy_promoted"] == pytest.approx(ends(good["promoted"])[0], abs=1e-6)
    assert figures["false_promote"] == pytest.approx(ends(double["promoted"] + double["taken_back"])[1], abs=1e-6)
    assert figures["bad_detected"] == pytest.approx(ends(double["rolled_back"])[0], abs=1e-6)
    assert report["scenarios"][0]["vs_sprt"][2] <= figures["samples_vs_sprt"]


def test_latency_takes_at_most_twice_the_requests_whatever_its_limit_was_before(tmp_path: Path) -> None:
    output = sim(tmp_path, "--quick", "--only", "limit before the run", "--processes", "1")
    report = json.loads((tmp_path / "rollouts.json").read_text())
    scenarios = [scenario for scenario in report["scenarios"] if scenario["main"]]
    assert len(scenarios) == 16
    for scenario in scenarios:
        ratio, low, high = scenario["vs_quantile"]
        assert low <= ratio <= 2.0, scenario["title"]
        assert ratio <= high <= 2.1, scenario["title"]  # of 400 rollouts
        assert scenario["rules"]["quantile"]["rollouts"] == 400
    assert report["headline"]["latency_vs_quantile"] == max(scenario["vs_quantile"][2] for scenario in scenarios)
    assert f"latency_vs_quantile={report['headline']['latency_vs_quantile']:.2f}" in output
    for name, limit in (("false_rollback", 0.03), ("false_promote", 0.03)):
        assert report["headline"][name] <= limit


def test_two_processes_find_what_one_finds(quick: tuple[str, dict, Path], tmp_path: Path) -> None:
    _, report, _ = quick
    sim(tmp_path, "--quick", "--only", ONE, "--processes", "2")
    assert json.loads((tmp_path / "rollouts.json").read_text())["scenarios"] == report["scenarios"]


def test_a_scenario_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.rollouts", "--only", "nothing of the kind", "--results", str(tmp_path)]
    process = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (process.returncode, "no scenario has" in process.stdout) == (2, True)
