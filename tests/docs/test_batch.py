"""The commands of the page about batch run, and print what is shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from .blocks import ROOT, Block, blocks, run_python, same_shape

PAGE = ROOT / "docs/batch.md"


def run(block: Block, bundle: Path, directory: Path) -> str:
    """What the command of a block prints."""
    (words,) = block.commands
    replaced = {"examples/athlete": str(ROOT / "examples/athlete"), words[2]: str(bundle)}
    command = [sys.executable, "-m", "tandem_cli", *(replaced.get(word, word) for word in words[1:])]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout


def test_commands_print_what_is_shown(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    for block in blocks(PAGE, "python"):
        run_python(block, namespace)
    (bundle,) = bundles.iterdir()
    commands = blocks(PAGE, "bash")
    assert [block.shown is not None for block in commands] == [True, True, False, True]
    for block in commands:
        printed = run(block, bundle, tmp_path)
        if block.shown is None:
            assert re.fullmatch(r"run \w{16}: [\d,]+ rows written to daily.*\n", printed), printed
        elif block.shown.startswith("{"):
            shown = json.loads(block.shown)
            document = json.loads(printed)
            assert document["model"] == bundle.name and document["digest"].startswith(bundle.name[-8:])
            different = {name: shown[name] for name in ("model", "digest")}
            assert not list(same_shape(document | different, shown))
        else:
            assert printed == block.shown
    assert pq.read_table(tmp_path / "predictions").num_rows == 4
    assert not (tmp_path / "elsewhere").exists()
