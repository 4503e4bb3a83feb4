"""Notes of a release are the changelog's section about it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHANGELOG = """# Changelog

## Unreleased

- Later.

## 0.2.0 - 2026-12-01

### Added

- This.

## 0.1.0 - 2026-11-01

- That.
"""


def notes(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    (folder / ".ci").mkdir()
    for name in ("notes.py", "version.py"):
        shutil.copy(ROOT / ".ci" / name, folder / ".ci")
    (folder / "pyproject.toml").write_text(f'version = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    return subprocess.run([sys.executable, folder / ".ci/notes.py"], capture_output=True, text=True)


@pytest.mark.parametrize("version, text", [("0.2.0", "### Added\n\n- This.\n"), ("0.1.0", "- That.\n")])
def test_the_section_of_the_version(tmp_path: Path, version: str, text: str) -> None:
    assert notes(tmp_path, version).stdout == text


def test_a_version_without_a_section_is_refused(tmp_path: Path) -> None:
    process = notes(tmp_path, "0.3.0")
    assert process.returncode == 1
    assert "no section about 0.3.0" in process.stderr
