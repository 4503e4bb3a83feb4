"""What the Dockerfiles copy, and what builds of them get to see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted(ROOT.glob("*/Dockerfile"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_build_sees_what_its_dockerfile_copies(dockerfile: Path) -> None:
    sources = re.findall(r"^COPY (?!--from)(\S+) ", dockerfile.read_text(), re.MULTILINE)
    assert sources
    # all is ignored but what has an exclamation mark
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    for source in sources:
        assert (ROOT / source).exists()
        assert any(Path(source).match(rule) for rule in allowed), source
