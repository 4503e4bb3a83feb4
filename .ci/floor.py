"""The floor of coverage only rises: ``floor.py REVISION`` ends with code 1 if it was higher at that revision."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


def floor(pyproject: str) -> float:
    """The floor that the text of a root ``pyproject.toml`` states, in per cent; 0 where it states none."""
    report = tomllib.loads(pyproject).get("tool", {}).get("coverage", {}).get("report", {})
    return float(report.get("fail_under", 0))


def main(revision: str, root: Path = ROOT) -> int:
    """Compare the floor with the one at a revision."""
    show = ["git", "show", f"{revision}:pyproject.toml"]
    before = floor(subprocess.run(show, cwd=root, capture_output=True, text=True, check=True).stdout)
    now = floor((root / "pyproject.toml").read_text())
    print(f"the floor of coverage is {now:g} %, at {revision} it is {before:g} %")
    return int(now < before)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: .ci/floor.py REVISION")
    sys.exit(main(sys.argv[1]))
