from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def demo(package: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the demo."""
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, package / "demo.py", *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    return run


def test_the_demo_checks_answers_promotes_v2_and_trains_the_same_bundles_again(
    demo: Callable[..., subprocess.CompletedProcess[str]], package: Path, bundles: Path
) -> None:
    process = demo("--requests", "400")
    assert process.returncode == 0, process.stdout + process.stderr
    assert "everything is as it must be, v2 is promoted" in process.stdout
    assert process.stdout.count("vectors equal offline bit for bit") == 2
    assert {bundle.name for bundle in bundles.iterdir()} <= {bundle.name for bundle in (package / "bundles").iterdir()}


def test_a_demo_of_a_faulty_version_ends_well_when_it_is_caught(
    demo: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    process = demo("--bad", "errors")
    assert process.returncode == 0, process.stdout + process.stderr
    assert "v2-errors was caught and rolled back: failed by errors" in process.stdout


def test_a_demo_that_is_interrupted_says_so(package: Path, tmp_path: Path) -> None:
    command = [sys.executable, package / "demo.py"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        assert "Train" in demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        output, complained = demo.communicate()
    assert (demo.returncode, complained) == (130, "")
    assert output.splitlines()[-1] == "interrupted: what was started is stopped"


def test_the_package_fits_on_one_screen(package: Path) -> None:
    assert len((package / "athlete" / "__init__.py").read_text().splitlines()) <= 60
