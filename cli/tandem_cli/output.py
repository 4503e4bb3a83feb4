"""Output: text for a terminal, safe from foreign escape sequences, and JSON with ``-o json``."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import rich.console
import typer
from rich.segment import Segment

from tandem_rollout.api.text import CONTROLS, printable


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]


_ESCAPES = {code: f"\\u{code:04x}" for code in CONTROLS}
"""JSON escapes only the first of them."""


class Console(rich.console.Console):
    """A console that sends only its own escape sequences: those in messages of pods and clusters are made visible."""

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments of a renderable, without control codes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def print_json(value: Any) -> None:
    """Print a value of plain types or structs as indented JSON, in which strings have no control codes."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode().translate(_ESCAPES))
