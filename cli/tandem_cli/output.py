"""Output for programs: ``-o json``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]


def print_json(value: Any) -> None:
    """Print a value of plain types or structs as indented JSON."""
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
