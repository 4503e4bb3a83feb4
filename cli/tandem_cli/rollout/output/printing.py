"""Prints the result of a command of ``tandem rollout``, as a table or as a document."""

from __future__ import annotations

from rich.console import RenderableType

from tandem_cli.output import Console, Format, print_document
from tandem_cli.rollout.output.documents.base import DocumentPart
from tandem_cli.rollout.output.screen.layout import WIDE, WIDTH


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
    elif not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(table)
