"""Fenced blocks of Markdown files, and how each kind is run."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem import TandemError

ROOT = Path(__file__).parents[2]
_AT_THE_ROOT = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
PAGES = [*(ROOT / name for name in _AT_THE_ROOT), *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n+```(text|json)\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/.]+\.(?:py|toml))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block, and the ``text`` or ``json`` block right after it, which says what it prints or answers."""

    page: str
    line: int
    language: str
    code: str
    shown: str | None

    @property
    def file(self) -> str | None:
        """Name of the file that it is, from its first line."""
        match = _FILE.match(self.code)
        return match[1] if match else None

    @property
    def commands(self) -> list[list[str]]:
        """Words of each shell command; a trailing backslash or an open quote continues a line."""
        commands, pending = [], ""
        for line in self.code.splitlines():
            pending += line.removesuffix("\\") + ("" if line.endswith("\\") else "\n")
            if line.endswith("\\"):
                continue
            try:
                words = shlex.split(pending, comments=True)
            except ValueError:  # a quote is open
                continue
            commands += [words] if words else []
            pending = ""
        assert not pending.strip(), f"{self}: an open quote"
        return commands

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path, *languages: str) -> list[Block]:
    text = page.read_text()
    return [
        Block(page.name, text.count("\n", 0, match.start()) + 1, match[1], match[2], match[4])
        for match in _FENCE.finditer(text)
        if match[1] in languages
    ]


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block as a reader would; an error of Tandem's is printed as ``Type: message``."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile("\n" * block.line + block.code, block.page, "exec"), namespace)
        except TandemError as error:
            if block.shown is None:
                raise
            print(f"{type(error).__name__}: {error}")
    if block.shown is not None:
        assert printed.getvalue().split() == block.shown.split(), block


def same_shape(value: Any, shown: Any, at: str = "$") -> Iterator[str]:
    """Where two JSON values differ in keys, lengths or types; numbers and times of day may differ."""
    if isinstance(shown, dict) and isinstance(value, dict):
        if value.keys() != shown.keys():
            yield f"{at}: {sorted(value)}, shown are {sorted(shown)}"
        for key in value.keys() & shown.keys():
            yield from same_shape(value[key], shown[key], f"{at}.{key}")
    elif isinstance(shown, list) and isinstance(value, list):
        if len(value) != len(shown):
            yield f"{at}: {len(value)} elements, shown are {len(shown)}"
        for index, (element, shown_element) in enumerate(zip(value, shown, strict=False)):
            yield from same_shape(element, shown_element, f"{at}[{index}]")
    elif isinstance(shown, str) and isinstance(value, str):
        if _without_times(value) != _without_times(shown):
            yield f"{at}: {value!r}, shown is {shown!r}"
    elif type(value) is not type(shown):
        yield f"{at}: {value!r}, shown is {shown!r}"


def _without_times(text: str) -> str:
    return re.sub(r"\d+:\d\d:\d\d|^v\d$", "…", text)
