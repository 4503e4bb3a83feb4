"""`docs/dependencies.md` lists what is needed at run time, and nothing else."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from .conftest import ROOT

PAGE = (ROOT / "docs" / "dependencies.md").read_text()
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/pyproject.toml"))
ROW = re.compile(r"^\| `([a-z0-9-]+)`(?: \(extras? ([^)]+)\))? \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
RELEASE = re.compile(r"(\S+), (\d{4}-\d{2}-\d{2})")


def project(package: str) -> dict[str, object]:
    content: dict[str, object] = tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]
    return content


def chapter(name: str) -> str:
    _, heading, rest = PAGE.partition(f"\n## `{name}`\n")
    assert heading, f"docs/dependencies.md has no chapter about {name}"
    return rest.partition("\n## ")[0]


def needed(package: str) -> dict[str, set[str]]:
    """Libraries of others, each with the extras that need it; without any it is needed in any case."""
    metadata = project(package)
    extras = {"": metadata["dependencies"], **metadata.get("optional-dependencies", {})}  # type: ignore[dict-item]
    libraries: dict[str, set[str]] = {}
    for extra, requirements in extras.items():
        for requirement in map(Requirement, requirements):  # type: ignore[arg-type]
            if not requirement.name.startswith("tandem-"):
                libraries.setdefault(requirement.name, set()).add(extra)
    return {name: used - {""} if "" not in used else set() for name, used in libraries.items()}


def test_there_are_packages() -> None:
    assert {"core", "transformer", "predictor", "rollout", "cli"} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_dependency_is_listed_and_no_other(package: str) -> None:
    rows = ROW.findall(chapter(str(project(package)["name"])))
    listed = {name: set(re.findall(r"`([a-z]+)`", extras)) for name, extras, *_ in rows}
    assert listed == needed(package)
    assert len(rows) == len(listed)


def test_every_row_has_a_licence_and_a_release() -> None:
    rows = ROW.findall(PAGE.partition("\n## Images\n")[0])
    assert len(rows) > 30
    releases: dict[str, tuple[str, str]] = {}
    for name, _, why, licence, release in rows:
        assert why.endswith("."), name
        version, date = RELEASE.fullmatch(release).groups()  # type: ignore[union-attr]
        assert Version(version) and date > "2024"
        assert releases.setdefault(name, (licence, release)) == (licence, release), f"{name} is told of in two ways"


def test_every_image_is_listed_with_its_lock() -> None:
    table = PAGE.partition("\n## Images\n")[2].partition("\n## ")[0]
    locks = set(re.findall(r"requirements/([a-z-]+)\.txt", table))
    copied = {
        lock
        for path in ROOT.glob("*/Dockerfile")
        for lock in re.findall(r"requirements/([a-z-]+)\.txt", path.read_text())
    }
    assert locks == copied - {"build"}
