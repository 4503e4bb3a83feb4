"""The floor of coverage: it covers all packages, and a change that lowers it is refused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci/floor.py"
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


def test_every_package_is_measured() -> None:
    packages = set(CONFIGURATION["importlinter"]["root_packages"])
    assert set(CONFIGURATION["coverage"]["run"]["source_pkgs"]) == packages
    assert all(importlib.util.find_spec(package) for package in packages)
    assert CONFIGURATION["coverage"]["report"]["fail_under"] >= 80


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    (tmp_path / "pyproject.toml").write_text("[tool.coverage.report]\nfail_under = 90.5\n")
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/floor.py").write_text(SCRIPT.read_text())
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "a")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize("now, code", [("91", 0), ("90.5", 0), ("90.4", 1), ("0", 1)])
def test_a_lower_floor_is_refused(repository: Path, now: str, code: int) -> None:
    (repository / "pyproject.toml").write_text(f"[tool.coverage.report]\nfail_under = {now}\n")
    process = subprocess.run([sys.executable, repository / ".ci/floor.py", "HEAD"], capture_output=True, text=True)
    assert process.returncode == code
    assert process.stdout == f"the floor of coverage is {now} %, at HEAD it is 90.5 %\n"


def test_no_floor_is_a_lower_one(repository: Path) -> None:
    (repository / "pyproject.toml").write_text("")
    assert subprocess.run([sys.executable, repository / ".ci/floor.py", "HEAD"], capture_output=True).returncode == 1
