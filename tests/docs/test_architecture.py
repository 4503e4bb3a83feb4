"""The page about the architecture: its diagrams are import-linter's layers, and its journeys can be followed."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from .blocks import ROOT

PAGE = ROOT / "docs/architecture.md"
ROOTS = {
    "tandem": ROOT / "core",
    "tandem_transformer": ROOT / "transformer",
    "tandem_predictor": ROOT / "predictor",
    "tandem_rollout": ROOT / "rollout",
    "tandem_offline": ROOT / "offline",
    "tandem_stream": ROOT / "stream",
    "tandem_cli": ROOT / "cli",
}
LONGEST = 12
"""Files of a journey at most."""

STEP = re.compile(r"^(\d+)\. `(\S+\.py)`(?: \*\(([^)]+)\)\*)?", re.MULTILINE)
JOURNEYS = re.findall(r"^### (.+)$", PAGE.read_text().partition("## Three journeys\n")[2], re.MULTILINE)


def steps(journey: str) -> list[tuple[int, Path, str]]:
    """Number, file and mark of each step of a journey."""
    text = PAGE.read_text().partition(f"### {journey}\n")[2].partition("\n### ")[0]
    return [(int(number), ROOT / file, mark) for number, file, mark in STEP.findall(text)]


def module_path(name: str) -> Path | None:
    """The file of a module; None where it is not ours."""
    folder = ROOTS.get(name.partition(".")[0])
    path = folder.joinpath(*name.split(".")) if folder else None
    candidates = (path.with_suffix(".py"), path / "__init__.py") if path else ()
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def imports(path: Path) -> Iterator[Path]:
    """Files of ours that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from filter(None, map(module_path, names))


def reached(path: Path) -> set[Path]:
    """What a file imports, and what the packages among that import."""
    direct = set(imports(path))
    packages = {file for file in direct if file.name == "__init__.py"}
    return direct | {file for package in packages for file in imports(package)}


def defines(path: Path, name: str) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in ast.parse(path.read_text()).body)


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_journey_can_be_followed(journey: str) -> None:
    """Each file is imported by an earlier one, or the step names the border or the interface that is crossed."""
    listed = steps(journey)
    assert [number for number, _, _ in listed] == [*range(1, len(listed) + 1)]
    assert 1 < len(listed) <= LONGEST
    files = [file for _, file, _ in listed]
    assert len(set(files)) == len(files)
    assert [file for file in files if not file.is_file()] == []
    for index, (_, file, mark) in enumerate(listed[1:], 1):
        before = set().union(*map(reached, files[:index]))
        if mark == "other process":
            assert file.relative_to(ROOT).parts[0] != files[index - 1].relative_to(ROOT).parts[0]
        elif mark:
            # a class of this name is imported by an earlier file, and the package that defines it owns this file
            (interface,) = (module for module in before if defines(module, mark.removeprefix("by ")))
            assert interface.parent == file.parent
        else:
            assert file in before, f"no earlier file imports {file.relative_to(ROOT)}"


def test_there_are_three_journeys() -> None:
    assert JOURNEYS == ["A request", "A manifest", "A run"]


def test_every_file_that_is_named_exists() -> None:
    names = re.findall(r"`([\w./]+/[\w.]+\.\w+)`", PAGE.read_text())
    assert names and [name for name in names if not (ROOT / name).is_file()] == []


def test_every_package_is_described_and_no_other() -> None:
    described = re.findall(r"^\| `([\w.]+)` \|", PAGE.read_text(), re.MULTILINE)
    packages = list(ROOTS)
    for name, folder in ROOTS.items():
        packages += [f"{name}.{init.parent.name}" for init in (folder / name).glob("*/__init__.py")]
    assert sorted(described) == sorted(packages)


def test_diagrams_are_the_layers_of_import_linter() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {
        (contract.get("containers") or [""])[0]: [layer.split(" | ") for layer in contract["layers"]]
        for contract in contracts
        if contract["type"] == "layers"
    }
    drawn = {}
    for title, diagram in re.findall(r"^([^\n]+)\n\n```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        container = re.fullmatch(r"Inside `(\w+)`:", title)
        rows = [re.findall(r"\w+", line) for line in diagram.splitlines()]
        drawn[container[1] if container else ""] = [row for row in rows if row]
    assert set(drawn) == {"", "tandem_rollout", "tandem_offline", "tandem_cli"}
    for container, rows in drawn.items():
        assert rows == layers[container]
