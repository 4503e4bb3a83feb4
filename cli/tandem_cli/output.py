"""Output: text for a terminal, safe from foreign escape sequences, and documents with ``-o json`` and ``-o yaml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import rich.console
import typer
import yaml
from rich.segment import Segment

from tandem_rollout.api.text import CONTROLS, printable


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"

    @property
    def is_document(self) -> bool:
        """Whether the result is printed as a machine-readable document."""
        return self in (Format.JSON, Format.YAML)


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="Output format.")]


_ESCAPES = {code: f"\\u{code:04x}" for code in CONTROLS}
"""JSON escapes only the first of them."""


class Console(rich.console.Console):
    """A console that sends only its own escape sequences: those in messages of pods and clusters are made visible."""

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments of a renderable, without control codes."""
        for segment in super().render(renderable, options):
            # after rendering, so that the console's own sequences are not among the text
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


class _Dumper(yaml.SafeDumper):
    """YAML without anchors and aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Text with control codes in double quotes, where they can be escaped."""
    style = '"' if any(ord(letter) in CONTROLS for letter in text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def dump_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Values of plain types as YAML documents, in which strings have no control codes."""
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text.translate(_ESCAPES)


def print_document(value: Any, output: Format) -> None:
    """Print a value of plain types or structs as YAML, or else as indented JSON.

    Strings have no control codes in either.
    """
    if output is Format.YAML:
        values = msgspec.to_builtins(value)
        typer.echo(dump_yaml([values]), nl=False)
    else:
        typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode().translate(_ESCAPES))
