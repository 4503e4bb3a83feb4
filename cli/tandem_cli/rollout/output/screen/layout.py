"""What all tables have in common: widths, colours, columns, and how they are printed."""

from __future__ import annotations

import io
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tandem_cli.output import Console, Format, print_document
from tandem_cli.rollout.output.documents.base import DocumentPart, RunVersion

WIDTH: Final = 100
"""Columns that all tables fit, except with ``-o wide``."""

WIDE: Final = 200
"""Columns with ``-o wide``."""

NOT_DECIDING: Final = Text("* only reported, does not decide", "dim")
"""The note below a table with metrics that do not decide."""

_STYLES: Final = {
    "pass": "green",
    "Promoted": "green",
    "Completed": "green",
    "fail": "red",
    "Aborting": "red",
    "Aborted": "red",
    "RollingBack": "red",
    "RolledBack": "red",
    "Paused": "yellow",
    "AwaitingApproval": "yellow",
    "no-data": "yellow",
    "provider-error": "yellow",
}


def styled(word: str, default: str = "") -> Text:
    """A state or a verdict in its colour."""
    return Text(word, _STYLES.get(word, default))


def build_facts() -> Table:
    """An empty table of names and values."""
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    return facts


def build_table(*columns: str) -> Table:
    """An empty table.

    Args:
        columns: Headings; those that begin with ``>`` are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def full_name(name: str, namespace: str) -> Text:
    """The name of a rollout with its namespace, if it has one."""
    return Text(f"{namespace}/{name}" if namespace else name, "bold")


def version_name(version: RunVersion, *, wide: bool = False) -> str:
    """A version of a run; if wide, with its InferenceService."""
    if version.version in ("", version.service):
        return version.service
    return f"{version.version} ({version.service})" if wide else version.version


def render_text(shown: RenderableType, *, width: int = WIDTH) -> str:
    """The output on a terminal of this width, without colours."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(shown)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def print_result(document: DocumentPart, table: RenderableType, output: Format) -> None:
    """Print a document with ``-o json`` and ``-o yaml``, else the table.

    Args:
        document: The machine-readable result.
        table: The same for people.
        output: The format.
    """
    if output.is_document:
        print_document(document, output)
        return
    console = Console(highlight=False)
    if output is Format.WIDE:
        console = Console(highlight=False, width=max(console.width, WIDE))
    # without a terminal rich takes 80 columns, which is too narrow for the tables
    elif not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(table)
