"""The version is said in one place; all others follow it, or these tests fail."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version as version_of
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci/version.py"
NEXT = "98.7.6"


def tracked() -> list[str]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listing.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("version", SCRIPT)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path: Path, script: ModuleType) -> Iterator[Path]:
    """The files that say the version, and nothing else, in a folder of their own."""
    paths = [ROOT / "pyproject.toml", SCRIPT, *(path for path, _ in script.places())]
    for path in paths:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    yield tmp_path


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, root / ".ci/version.py", *arguments], capture_output=True, text=True)


def test_every_place_says_the_version_of_the_root(script: ModuleType) -> None:
    assert script.differing() == []


def test_the_packages_are_the_workspaces_members(script: ModuleType) -> None:
    members = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
    packages = {path.parent.name for path, _ in script.places() if path.name == "pyproject.toml"}
    assert packages == set(members)
    for member in members:
        name = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]["name"]
        assert version_of(name) == script.read(), f"{name} is installed in another version: run make .venv/.dev"


def test_writing_a_version_leaves_none_behind(script: ModuleType, copy: Path) -> None:
    old = script.read(copy)
    result = run(copy, NEXT)
    assert result.returncode == 0
    assert set(result.stdout.split()) == {"pyproject.toml", *(str(p.relative_to(copy)) for p, _ in script.places(copy))}
    assert run(copy).stdout == f"{NEXT}\n"
    assert run(copy, "--check").returncode == 0
    # every image with the version of today has become one with the next; the scripts' own patterns are not asked
    for path, _ in script.places(copy):
        assert not re.search(rf"tandem-[a-z]+:{re.escape(old)}\b", path.read_text()), path


def test_no_other_file_says_the_version_of_an_image(script: ModuleType) -> None:
    """Generated manifests follow the chart; tests may invent versions."""
    covered = {str(path.relative_to(ROOT)) for path, _ in script.places()}
    files = [name for name in tracked() if not name.startswith(("manifests/p", "tests/", "CHANGELOG"))]
    for name in set(files) - covered:
        text = (ROOT / name).read_bytes().decode(errors="ignore")
        assert not re.search(r"\btandem-(?:transformer|predictor|controller|cli):\d+\.\d+\.\d+", text), name


@pytest.mark.parametrize(
    "name", ["core/pyproject.toml", "charts/model/Chart.yaml", "rollout/Dockerfile", "docs/images.md"]
)
def test_a_place_that_differs_is_named(script: ModuleType, copy: Path, name: str) -> None:
    path = copy / name
    path.write_text(path.read_text().replace(script.read(copy), NEXT, 1))
    result = run(copy, "--check")
    assert result.returncode == 1
    assert re.fullmatch(rf"{name}:\d+: {NEXT}\n", result.stdout)


@pytest.mark.parametrize("wrong", ["1.2", "v1.2.3", "1.2.3rc1", "next"])
def test_what_is_no_version_is_not_written(copy: Path, wrong: str) -> None:
    result = run(copy, wrong)
    assert result.returncode == 2
    assert "not a version such as 0.2.0" in result.stderr
    assert run(copy, "--check").returncode == 0


def test_the_changelog_has_the_version_or_what_comes_after_it() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])
