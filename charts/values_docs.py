"""The table of values in a chart's README, made of the comments in its ``values.yaml``.

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

BEGIN: Final = "<!-- values: made by charts/values_docs.py -->"
END: Final = "<!-- end of values -->"

_LONGEST: Final = 60
_KEY: Final = re.compile(r"( *)([A-Za-z_][A-Za-z0-9_]*):")


class Value(NamedTuple):
    """One row of the table.

    Attributes:
        section: Title above it.
        path: As after ``--set``.
        default: What the chart has.
        text: What it is for.
    """

    section: str
    path: str
    default: Any
    text: str


def values(text: str) -> Iterator[Value]:
    """The documented values of a ``values.yaml``, in its order."""
    defaults = yaml.safe_load(text)
    section, comment, path = "", list[str](), list[tuple[int, str]]()
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("## "):
            section = stripped[3:]
        elif stripped.startswith("# -- "):
            comment = [stripped[5:]]
        elif stripped.startswith("# ") and comment:
            comment.append(stripped[2:])
        elif key := _KEY.match(line):
            depth = len(key[1])
            path = [*(each for each in path if each[0] < depth), (depth, key[2])]
            if comment:
                names = [name for _, name in path]
                yield Value(section, ".".join(names), _at(defaults, names), " ".join(comment))
            comment = []
        elif not stripped.startswith("#"):
            comment = []


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


def table(text: str) -> str:
    """The values as Markdown."""
    lines, section = list[str](), None
    for value in values(text):
        if value.section != section:
            section = value.section
            lines += ["", f"### {section}", "", "| value | default | what |", "|---|---|---|"]
        lines.append(f"| `{value.path}` | {_default(value.default)} | {value.text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines).strip()


def readme(chart: Path) -> str:
    """A chart's README with the table as it should be."""
    old = (chart / "README.md").read_text()
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table((chart / 'values.yaml').read_text())}\n\n{END}{after}"


def _at(tree: Any, names: list[str]) -> Any:
    for name in names:
        tree = tree[name]
    return tree


def _default(value: Any) -> str:
    if value == "":
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`" if len(text) <= _LONGEST else "see values.yaml"


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the tables of values into the READMEs of charts")
    parser.add_argument("charts", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing, end with code 1 if anything would change")
    options = parser.parse_args()
    stale = [chart for chart in options.charts if (chart / "README.md").read_text() != readme(chart)]
    for chart in stale:
        if options.check:
            print(f"{chart}/README.md: the table of values is not that of values.yaml; run make manifests")
        else:
            (chart / "README.md").write_text(readme(chart))
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
