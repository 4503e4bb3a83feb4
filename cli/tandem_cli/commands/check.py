"""``tandem check``: find the mistakes of a model package before it is trained or served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tandem import Bundle, DefinitionError
from tandem.check import Finding, check
from tandem.package import ModelPackage
from tandem_cli.errors import FAILED
from tandem_cli.output import Console, Format, OutputOption, print_document
from tandem_cli.registry import bundle_path
from tandem_cli.settings import check_settings

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def check_package(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, file_okay=False, help="A model package.")],
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            parser=bundle_path,
            help="Bundle of the version that clients use now: a directory, or models:/NAME@ALIAS.",
        ),
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Check a model package: declaration, transforms, settings, and what a new version would break for clients.

    Exit codes: 0 no check failed, 1 a check failed, 2 the command line is invalid.
    """
    findings = _findings(path, against)
    if output.is_document:
        print_document(findings, output)
    else:
        Console().print(_table(findings))
    if any(finding.status == "failed" for finding in findings):
        raise typer.Exit(FAILED)


def _findings(path: Path, against: Path | None) -> list[Finding]:
    bundle = Bundle.open(against) if against else None
    try:
        package = ModelPackage.read(path)
    except DefinitionError as error:
        return [Finding("package", "failed", str(error))]
    return [*check(package, against=bundle), *check_settings(package)]


def _table(findings: list[Finding]) -> Table:
    table = Table("what", "status", "finding")
    for finding in findings:
        style = _STYLES.get(finding.status, "")
        table.add_row(finding.name, Text(finding.status, style), Text(finding.message))
    return table
