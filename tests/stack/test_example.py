from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_demo_checks_every_answer_and_trains_the_same_bundles_again(package: Path, bundles: Path) -> None:
    done = subprocess.run(
        [sys.executable, package / "demo.py", "--requests", "400"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything is as it must be" in done.stdout
    assert {bundle.name for bundle in bundles.iterdir()} <= {bundle.name for bundle in (package / "bundles").iterdir()}


def test_the_package_fits_on_one_screen(package: Path) -> None:
    assert len((package / "athlete" / "__init__.py").read_text().splitlines()) <= 60
