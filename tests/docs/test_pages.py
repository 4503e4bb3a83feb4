"""Python on the pages runs, and prints what is shown; shell commands exist and are spelled as shown."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

import tandem_predictor.config
import tandem_transformer.config

from .blocks import PAGES, ROOT, Block, blocks, run_python

WITH_PYTHON = [page for page in PAGES if page.parent != ROOT and blocks(page, "python")]
COMMANDS = [(block, words) for page in PAGES for block in blocks(page, "bash") for words in block.commands]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for block in blocks(page, "python"):
        run_python(block, namespace)


@pytest.mark.parametrize("block, words", COMMANDS, ids=lambda value: str(value) if isinstance(value, Block) else "")
def test_a_command_is_spelled_right(block: Block, words: list[str]) -> None:
    match words:
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text()
            for target in targets:
                variable, value, _ = target.partition("=")
                assert (f"$({variable})" if value else f"\n{target}:") in makefile
        case [".venv/bin/python", "-m", "tandem_transformer", *flags]:
            tandem_transformer.config.parse(flags)
        case [".venv/bin/python", "-m", "tandem_predictor", *flags]:
            tandem_predictor.config.parse(flags)
        case [".venv/bin/python", script, *_] if script.endswith(".py"):
            assert (ROOT / script).exists()
        case [".venv/bin/python", "-m", module, *_] if module.partition(".")[0] in ("tandem_predictor", "benchmarks"):
            assert importlib.util.find_spec(module)
        case [".venv/bin/tandem", "check", *rest]:
            assert tandem("check", *rest) == 0
        case [".venv/bin/tandem", *rest]:
            check_options(rest)
        case ["helm", "install" | "upgrade", *rest]:
            check_chart(rest)
        case ["docker", "build", *rest]:
            assert {"-f", "-t"} <= set(rest) and (ROOT / rest[rest.index("-f") + 1]).exists()
        case ["kubectl", *rest] if "-k" in rest:
            assert (ROOT / rest[rest.index("-k") + 1] / "kustomization.yaml").exists()
        case ["helm" | "docker" | "kubectl" | "GATEWAY=$(kubectl", *_]:
            pass
        case ["curl" | "git" | "python3" | ".venv/bin/pre-commit" | ".venv/bin/pytest", *_]:
            pass
        case _:
            pytest.fail(f"{block}: unknown command {words[0]}")


def check_chart(words: Sequence[str]) -> None:
    """The chart takes the values that are set."""
    (chart,) = [word for word in words if word.startswith("charts/")]
    values: dict[str, Any] = {}
    for word, setting in itertools.pairwise(words):
        if word == "--set":
            path, _, value = setting.partition("=")
            *parents, name = path.split(".")
            at = values
            for parent in parents:
                at = at.setdefault(parent, {})
            at[name] = yaml.safe_load(value)
    with helm_python.Chart.load(ROOT / chart) as loaded:
        assert loaded.render(values, name="tandem", namespace="tandem-system")


def tandem(*arguments: str) -> int:
    command = [sys.executable, "-m", "tandem_cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode


def check_options(words: Sequence[str]) -> None:
    """The command and each of its options are in the help."""
    command = (
        words[:2]
        if words[0] in ("bundle", "rollout") or words[:2] == ["stream", "features"]
        else [word for word in words[:1] if word[0] != "-"]
    )
    shown = subprocess.run(
        [sys.executable, "-m", "tandem_cli", *command, "--help"], capture_output=True, text=True, check=True
    )
    assert not [word for word in words if word.startswith("-") and word not in shown.stdout]
