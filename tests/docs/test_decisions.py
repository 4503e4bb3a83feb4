"""Decision records: numbered without gaps, short, in one form, listed in the table and in the menu of the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .blocks import ROOT

RECORDS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_is_short_and_has_its_parts(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 60
    assert re.match(rf"# {path.stem[:4]}: \S", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences", "Alternatives"]


def test_records_are_numbered_without_gaps_and_listed() -> None:
    assert [int(path.stem[:4]) for path in RECORDS] == [*range(1, len(RECORDS) + 1)]
    table = (ROOT / "docs/decisions/README.md").read_text()
    assert re.findall(r"^\| \[\d{4}\]\((\S+)\)", table, re.MULTILINE) == [path.name for path in RECORDS]
