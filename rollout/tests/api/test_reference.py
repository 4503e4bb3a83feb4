"""The reference says all there is to say about each field, and the page in the documentation is not stale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tandem_rollout.api.crd import build_crd
from tandem_rollout.api.reference import write_reference

PAGE = Path(__file__).parents[3] / "docs/kubernetes/inferencerollout.md"
SCHEMA: dict[str, Any] = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def names(schema: dict[str, Any]) -> Iterator[str]:
    """Names of all fields below a schema."""
    for name, own in schema.get("properties", {}).items():
        yield name
        yield from names(own)
    yield from names(schema.get("items", {})) if "items" in schema else ()


def rows() -> list[list[str]]:
    """Cells of each row about a field."""
    table = [line.replace("\\|", "/").split(" | ") for line in write_reference().splitlines() if line.startswith("| `")]
    return [[cell.strip("| ") for cell in row] for row in table]


def test_the_page_is_what_the_structs_say() -> None:
    assert PAGE.read_text() == write_reference(), "run make manifests"


def test_every_field_of_the_crd_is_in_it() -> None:
    listed = {row[0].strip("`") for row in rows()}
    fields = {*names(SCHEMA["spec"]), *names(SCHEMA["status"])}
    assert len(fields) > 80
    assert fields <= listed


def test_every_field_is_described() -> None:
    assert [row for row in rows() if not row[-1] or row[-1].startswith(("One of", "Matches", "At most"))] == []


def test_defaults_and_bounds_are_those_of_the_schema() -> None:
    table = {row[0]: row for row in rows()}
    assert table["`scaleDownDelay`"][1:3] == ["duration", "`2m`"]
    assert table["`storePort`"][1:] == [
        "integer",
        "`6379`",
        "Port of the online store if store.urlFrom is set, or if store.url names Sentinels. 1 to 65535.",
    ]
    assert table["`claimName`"][2] == "required"
    assert table["`policies`"][2] == "`true`"
    assert "One of `onnxruntime`, `triton`." in table["`runtime`"][3]


def test_links_lead_to_headings() -> None:
    text = write_reference()
    headings = {re.sub(r"[^a-z]", "", heading.lower()) for heading in re.findall(r"^## (.*)$", text, re.MULTILINE)}
    targets = set(re.findall(r"\(#(\w+)\)", text))
    assert len(targets) > 20
    assert targets <= headings
