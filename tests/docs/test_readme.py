"""The README does what it says: its files are written and run, its requests are sent, its answers compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tandem.check import check
from tandem.package import ModelPackage

from .blocks import ROOT, Block, blocks, run_python, same_shape
from .conftest import Served

README = ROOT / "README.md"
ADDRESS = "127.0.0.1:8080"
REQUESTS = [block for block in blocks(README, "bash") if block.code.startswith("curl")]
FILES = [block for block in blocks(README, "toml", "python") if block.file]
SNIPPETS = [block for block in blocks(README, "python") if not block.file]


def test_the_package_is_trained_and_predicts(tmp_path: Path) -> None:
    printed = {}
    for block in FILES:
        file = tmp_path / str(block.file)
        file.parent.mkdir(exist_ok=True)
        file.write_text(block.code)
        if file.parent == tmp_path and file.suffix == ".py":
            printed[file.name] = subprocess.run(
                [sys.executable, file.name], cwd=tmp_path, check=True, capture_output=True, text=True
            ).stdout
    assert not [finding for finding in check(ModelPackage.read(tmp_path)) if finding.status == "failed"]
    assert printed["train.py"].startswith("bundles/time-estimator-")
    (shown,) = [block.shown for block in FILES if block.file == "predict.py"]
    # scikit-learn's last digits depend on the machine, a second of a race time hardly
    assert printed["predict.py"] == shown


def test_the_package_is_the_example_shortened() -> None:
    shortened = {block.file: block.code for block in FILES}["athlete/__init__.py"]
    example = ROOT / "examples" / "athlete"
    for name in ModelPackage.read(example).load().contract.inputs:
        assert name in shortened


@pytest.mark.parametrize("block", REQUESTS, ids=str)
def test_a_request_is_answered_as_shown(block: Block, served: Served) -> None:
    (command,) = block.commands
    command = [word.replace(f"http://{ADDRESS}", served.url) for word in command]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert block.shown is not None
    assert not list(same_shape(answer, json.loads(block.shown)))


@pytest.mark.parametrize("block", SNIPPETS, ids=str)
def test_a_snippet_prints_what_is_shown(block: Block, served: Served) -> None:
    own = Block(block.page, block.line, "python", block.code.replace(ADDRESS, served.url[7:]), block.shown)
    run_python(own, {})


def test_every_protocol_has_an_example() -> None:
    text = README.read_text()
    assert {f"/v{number}/models" in text for number in (1, 2)} == {True}
    assert SNIPPETS
    assert len(REQUESTS) >= 4
