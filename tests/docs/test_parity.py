"""The command of the page about parity runs, and prints the table that is shown, whatever the last bits are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tandem_cli.parity.modes import MODES

from .blocks import ROOT, blocks

PAGE = ROOT / "docs/parity.md"


def shape(text: str) -> list[str]:
    """Lines without frames, the digest and differences of predictions."""
    lines = [" ".join(re.sub(r"[^\w\s,:%().-]", " ", line).split()) for line in text.splitlines()]
    return [re.sub(r"-[0-9a-f]{8}:|[\d.]+(e-\d+)? \d+%", "…", line) for line in lines if line]


def test_the_command_prints_what_is_shown(bundles: Path) -> None:
    (block,) = blocks(PAGE, "bash")
    (words,) = block.commands
    (bundle,) = bundles.iterdir()
    command = [sys.executable, "-m", "tandem_cli", words[1], bundle, *words[3:]]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "130"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert block.shown is not None and shape(result.stdout) == shape(block.shown)


def test_every_mode_is_described() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \|", PAGE.read_text(), re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`([\w-]+)`", row)] == [mode.name for mode in MODES]
