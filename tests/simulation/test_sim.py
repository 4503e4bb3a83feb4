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
    said = sim(results, "--quick", "--only", ONE, "--processes", "1")
    return said, json.loads((results / "rollouts.json").read_text()), results


def test_the_last_line_has_all_figures(quick: tuple[str, dict, Path]) -> None:
    said, found, _ = quick
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
    assert re.fullmatch(pattern, said.splitlines()[-1])
    assert list(found["headline"]) == names


def test_raw_numbers_and_plots_are_written(quick: tuple[str, dict, Path]) -> None:
    said, found, results = quick
    assert [each["title"] for each in found["scenarios"]] == [
        f"2.0% at 10 %, ×{ratio}" for ratio in ("1", "1.5", "2", "5")
    ]
    for each in found["scenarios"]:
        assert f"errors: {each['title']}" in said
        ours = each["rules"]["tandem"]
        assert ours["rollouts"] == 400
        assert ours["promoted"] + ours["rolled_back"] + ours["taken_back"] + ours["undecided"] == 400
    for plot in ("rollouts.png", "rollouts-cost.png"):
        assert (results / plot).read_bytes().startswith(b"\x89PNG")


def test_the_figures_are_the_adverse_ends_of_wilsons_intervals(quick: tuple[str, dict, Path]) -> None:
    _, found, _ = quick
    good, _, double, _ = (each["rules"]["tandem"] for each in found["scenarios"])

    def ends(count: int) -> tuple[float, float]:
        interval = binomtest(count, 400).proportion_ci(method="wilson")
        return interval.low, interval.high

    figures = found["headline"]
    assert figures["false_rollback"] == pytest.approx(ends(good["rolled_back"] + good["taken_back"])[1], abs=1e-6)
    assert figures["healthy_promoted"] == pytest.approx(ends(good["promoted"])[0], abs=1e-6)
    assert figures["false_promote"] == pytest.approx(ends(double["promoted"] + double["taken_back"])[1], abs=1e-6)
    assert figures["bad_detected"] == pytest.approx(ends(double["rolled_back"])[0], abs=1e-6)
    assert found["scenarios"][0]["vs_sprt"][2] <= figures["samples_vs_sprt"]


def test_latency_takes_at_most_twice_the_requests_whatever_its_limit_was_before(tmp_path: Path) -> None:
    said = sim(tmp_path, "--quick", "--only", "limit before the run", "--processes", "1")
    found = json.loads((tmp_path / "rollouts.json").read_text())
    known = [each for each in found["scenarios"] if each["main"]]
    assert len(known) == 16
    for each in known:
        ratio, low, high = each["vs_quantile"]
        assert low <= ratio <= 2.0, each["title"]
        assert ratio <= high <= 2.1, each["title"]  # of 400 rollouts
        assert each["rules"]["quantile"]["rollouts"] == 400
    assert found["headline"]["latency_vs_quantile"] == max(each["vs_quantile"][2] for each in known)
    assert f"latency_vs_quantile={found['headline']['latency_vs_quantile']:.2f}" in said
    for name, bar in (("false_rollback", 0.03), ("false_promote", 0.03)):
        assert found["headline"][name] <= bar


def test_two_processes_find_what_one_finds(quick: tuple[str, dict, Path], tmp_path: Path) -> None:
    _, found, _ = quick
    sim(tmp_path, "--quick", "--only", ONE, "--processes", "2")
    assert json.loads((tmp_path / "rollouts.json").read_text())["scenarios"] == found["scenarios"]


def test_a_scenario_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.rollouts", "--only", "nothing of the kind", "--results", str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (found.returncode, "no scenario has" in found.stdout) == (2, True)
