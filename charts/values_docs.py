"""A chart's README.md, made of its README.md.gotmpl and the comments in its ``values.yaml``.

Both have the format of helm-docs, and the README is what ``helm-docs --sort-values-order file`` writes. That program
comes as a binary for some platforms or by way of a Go compiler; this one needs what is installed anyway. Of the format
it knows ``# --`` before the description of a value, ``# @default --`` and ``# @section --`` after that, and of the
templates ``chart.valuesSection``. Every value must have a section, and none may be null.

Run it as ``python charts/values_docs.py charts/tandem charts/model``; with ``--check`` it writes nothing and ends with
code 1 where a README is not what it should be.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

TEMPLATE: Final = '{{ template "chart.valuesSection" . }}'
"""Where the tables go."""

_KEY: Final = re.compile(r"( *)([A-Za-z_][A-Za-z0-9_]*):")
_TAG: Final = re.compile(r"# @(default|section) -- (.+)")
_TYPES: Final = {str: "string", bool: "bool", int: "int", float: "float", list: "list", dict: "object"}


class Value(NamedTuple):
    """One row of a table.

    Attributes:
        section: Title above the table.
        path: As after ``--set``.
        type: As helm-docs names types.
        default: What the chart has, as code, or what is said in its place.
        text: What it is for.
    """

    section: str
    path: str
    type: str
    default: str
    text: str


def values(text: str) -> Iterator[Value]:
    """The documented values of a ``values.yaml``, in its order.

    Raises:
        ValueError: if a value has a description and no section.
    """
    defaults = yaml.safe_load(text)
    description, tags, path = list[str](), dict[str, str](), list[tuple[int, str]]()
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            description = [stripped[5:]]
        elif tag := _TAG.fullmatch(stripped):
            tags[tag[1]] = tag[2]
        elif stripped.startswith("# ") and description:
            description.append(stripped[2:])
        elif key := _KEY.match(line):
            depth = len(key[1])
            path = [*((indent, name) for indent, name in path if indent < depth), (depth, key[2])]
            if description:
                names = [name for _, name in path]
                yield _value(".".join(names), _at(defaults, names), " ".join(description), tags)
            description, tags = [], {}
        elif not stripped.startswith("#"):
            description, tags = [], {}


def undocumented(text: str) -> list[str]:
    """Paths of values without a description, those below a described one excepted."""
    described = {value.path for value in values(text)}

    def missing(value: Any, path: str) -> Iterator[str]:
        if path in described:
            return
        if isinstance(value, dict) and value:
            for key, below in value.items():
                yield from missing(below, f"{path}.{key}" if path else key)
        else:
            yield path

    return list(missing(yaml.safe_load(text), ""))


def tables(text: str) -> str:
    """The values as Markdown: a heading, and a table for each section."""
    sections: dict[str, list[Value]] = {}
    for value in values(text):
        sections.setdefault(value.section, []).append(value)
    return "\n\n".join(["## Values", *(_table(section, rows) for section, rows in sections.items())])


def readme(chart: Path) -> str:
    """A chart's README as it should be."""
    template = (chart / "README.md.gotmpl").read_text()
    return template.replace(TEMPLATE, tables((chart / "values.yaml").read_text()))


def _table(section: str, rows: list[Value]) -> str:
    head = [f"### {section}", "", "| Key | Type | Default | Description |", "|-----|------|---------|-------------|"]
    return "\n".join([*head, *(f"| {row.path} | {row.type} | {row.default} | {row.text} |" for row in rows)])


def _value(path: str, default: Any, text: str, tags: dict[str, str]) -> Value:
    if "section" not in tags:
        raise ValueError(f"{path} has no section: write a line '# @section -- TITLE' below its description")
    code = json.dumps(default, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return Value(tags["section"], path, _TYPES[type(default)], tags.get("default", f"`{code}`"), text)


def _at(tree: Any, names: list[str]) -> Any:
    for name in names:
        tree = tree[name]
    return tree


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the READMEs of charts")
    parser.add_argument("charts", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing, end with code 1 if anything would change")
    options = parser.parse_args()
    stale = [chart for chart in options.charts if (chart / "README.md").read_text() != readme(chart)]
    for chart in stale:
        if options.check:
            print(f"{chart}/README.md is not what values.yaml and README.md.gotmpl make it; run make manifests")
        else:
            (chart / "README.md").write_text(readme(chart))
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
