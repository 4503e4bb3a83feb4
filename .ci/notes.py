"""Prints what the changelog says about the version in ``pyproject.toml``; ends with code 1 if it says nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

import version

HEADING: Final = re.compile(r"^## (\S+)", re.MULTILINE)


def notes(changelog: str, number: str) -> str:
    """The section of a version, without its heading; empty if there is none."""
    _, *parts = HEADING.split(changelog)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    return sections.get(number, "").partition("\n")[2].strip()


if __name__ == "__main__":
    text = notes((version.ROOT / "CHANGELOG.md").read_text(), version.read())
    if not text:
        sys.exit(f"CHANGELOG.md has no section about {version.read()}")
    print(text)
